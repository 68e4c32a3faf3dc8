import json

import pytest

from lm_pipeline.artifacts import Store
from lm_pipeline.errors import InputError, MissingArtifactError
from lm_pipeline.inspection import inspect_corpus, inspect_documents
from lm_pipeline.project import Project


@pytest.fixture
def project(tiny_project):
    return Project(tiny_project.home, tiny_project.declarations, tiny_project.graph)


@pytest.mark.parametrize("corpus", ["tiny_english", "tiny_chinese"])
def test_a_profile_counts_every_document(project, corpus):
    value = inspect_corpus(project, corpus)
    summary, profile = value["summary"], value["profile"]
    for bins in profile["lengths"].values():
        assert sum(number for _, _, number in bins) == summary["kept"]
        assert all(below == 2 * low for low, below, _ in bins)
    for key in ("languages", "profiles"):
        fates = [sum(column) for column in zip(*profile[key].values(), strict=True)]
        assert fates == [summary["kept"], summary["rejected"]]
    assert {language: kept for language, (kept, _) in profile["languages"].items() if kept} == summary["languages"]
    measured = profile["distributions"]["num_words"]
    assert measured["documents"] == summary["kept"]
    assert measured["quantiles"] == sorted(measured["quantiles"])
    assert set(profile["samples"]["rejected"]) == set(summary["reasons"])
    assert set(profile["samples"]["quarantined"]) == set(summary["quarantine_reasons"])


@pytest.mark.parametrize("corpus", ["tiny_english", "tiny_chinese"])
def test_samples_of_every_fate_are_documents_of_that_fate(project, corpus):
    value = inspect_corpus(project, corpus)
    kept = inspect_documents(project, corpus, 4)
    assert len(kept) == 4
    assert all(sample["reasons"] == [] and sample["text"] for sample in kept)
    assert kept == inspect_documents(project, corpus, 4)
    assert kept == value["profile"]["samples"]["kept"][:4]
    for rule in value["summary"]["reasons"]:
        rejected = inspect_documents(project, corpus, 2, rejected=rule)
        assert rejected
        assert all(rule in [reason["rule"] for reason in sample["reasons"]] for sample in rejected)
    for reason, number in value["summary"]["quarantine_reasons"].items():
        assert len(inspect_documents(project, corpus, 99, quarantined=reason)) == number


def test_an_unknown_corpus_or_reason_is_refused_with_what_there_is(project):
    with pytest.raises(MissingArtifactError, match=r"no corpus 'tiny_englsh'\. Did you mean"):
        inspect_corpus(project, "tiny_englsh")
    with pytest.raises(MissingArtifactError, match=r"'tiny' is a dataset: .* Name a corpus of it: tiny_english, tiny_"):
        inspect_corpus(project, "tiny")
    with pytest.raises(InputError, match="No document of 'tiny_english' was rejected by 'gopher'"):
        inspect_documents(project, "tiny_english", 1, rejected="gopher")
    with pytest.raises(InputError, match="is quarantined for 'x'"):
        inspect_documents(project, "tiny_english", 1, quarantined="x")


def test_the_page_of_a_corpus_is_self_contained_and_shows_its_numbers(project):
    artifact = Store(project.home.artifacts).ref("corpus_statistics/tiny_chinese")
    page = artifact.path("statistics.html").read_text("utf-8")
    profile = json.loads(artifact.path("statistics.json").read_text("utf-8"))
    for heading in ("Where every record went", "Lengths", "Languages", "Kept documents", "Rejected documents"):
        assert f">{heading}</h2>" in page
    assert profile["samples"]["kept"][0]["document_id"] in page
    assert "<script" not in page
    assert "http://" not in page.split("</style>")[1].split("<main>")[0]
