import json

import pytest

from lm_pipeline.artifacts import Store
from lm_pipeline.errors import InputError, MissingArtifactError
from lm_pipeline.inspection import inspect_corpus, inspect_documents
from lm_pipeline.project import Project
from lm_pipeline.reports.inspecting import profile_text


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


def test_personal_data_is_counted_by_kind_whatever_was_done_with_it(tiny_fresh):
    texts = {
        "english": ["Write to a@foo.com or b@foo.com, and call no one at all.", "Nobody is named in this text at all."],
        "chinese": ["写信给 wei@bar.com，或者拨打 13800138000，我们会回复。", "手机：13900139000，请在工作时间打来。"],
    }
    for name, lines in texts.items():
        records = "".join(json.dumps({"text": text, "book": None}) + "\n" for text in lines)
        (tiny_fresh.text / name / "b.jsonl").write_text(records, "utf-8")
    tiny_fresh.edit("tiny_chinese", "min_characters: 20}", "min_characters: 20, personal_data: {phone: mask}}")
    tiny_fresh.edit("tiny_english", "min_characters: 20}", "min_characters: 20, personal_data: {email: drop}}")
    shown = {}
    for name in texts:
        for stage in ("raw_documents", "documents"):
            tiny_fresh.materialize(f"{stage}/tiny_{name}")
        value = inspect_corpus(Project(tiny_fresh.home, tiny_fresh.declarations, tiny_fresh.graph), f"tiny_{name}")
        lines = iter(profile_text(value).splitlines())
        shown[name] = [next(lines).split() for line in lines if "personal data" in line for _ in range(3)]
    assert shown["chinese"] == [["Kind", "Found"], ["email", "1"], ["phone", "2"]]
    assert shown["english"] == []  # the document that had it was dropped


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
