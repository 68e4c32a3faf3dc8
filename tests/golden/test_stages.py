import pytest
from cases import CASES, key, recorded

from lm_pipeline.stages.versions import STAGES

UNGUARDED = {
    "raw_documents": "copies or lists files; tests/unit/corpus/raw/test_*source*.py",
    "documents": "an index of document_part; its digest is that of their rows",
    "corpus_statistics": "a page for people, no input of anything; tests/unit/corpus/quality/test_profile.py",
    "statistics": "the same; tests/unit/reports/test_dataset_page.py",
    "baselines": "floats of the n-gram model that `checkpoint` guards",
    "evaluation": "floats of a model; tests/unit/evaluation compares them with a plain computation",
    "report": "a page for people, no input of anything",
    "leaderboard": "the same",
}
"""Stages without a golden output, and what holds them instead."""


def test_every_stage_is_guarded_or_says_why_not():
    assert CASES.keys() | UNGUARDED.keys() == STAGES.keys()
    assert not CASES.keys() & UNGUARDED.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_stage_gives_the_result_its_version_stands_for(name, tmp_path):
    stage, digest_in = CASES[name]
    assert name == stage.name
    assert digest_in(tmp_path) == recorded().get(key(stage)), (
        f"the result of stage {stage.name} changed: raise its version and run `python tests/golden/update.py`"
    )


def test_no_digest_is_on_record_for_a_version_that_is_gone():
    assert set(recorded()) == {key(stage) for stage, _ in CASES.values()}
