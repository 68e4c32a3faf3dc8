"""What fails is shown as failed, what needs it is not built, and the rest is."""

from lm_pipeline.artifacts import Store
from lm_pipeline.freshness import status
from lm_pipeline.project import load_project
from tests.assets import tiny
from tests.servers import free_port


def test_what_fails_stands_on_the_leaderboard_and_the_rest_is_built(project):
    from assets.building import build_names

    tiny.declare(project.defs, "tiny_wild", tiny.neural(learning_rate=1e30, max_gradient_norm="null", num_steps=60))
    outcome = build_names(project.home, ["tiny", "tiny_wild", "tiny_ngram"], quiet=True)
    assert outcome.failed.keys() == {f"tiny_wild/{stage}" for stage in ("checkpoint", "evaluation", "report")}, outcome
    assert "tiny/leaderboard" in outcome.built
    assert "tiny_ngram/report" in outcome.built
    assert "learning rate" in outcome.failed["tiny_wild/checkpoint"]
    assert outcome.failed["tiny_wild/evaluation"] == "not built, for it needs tiny_wild/checkpoint"
    board = Store(project.home.artifacts).ref("tiny/leaderboard")
    assert board is not None
    rows = {row["experiment"]: row for row in board.summary["rows"]}
    assert rows["tiny_ngram"]["status"] == "built"
    assert rows["tiny_wild"]["status"] == "failed"
    assert rows["tiny_gru"]["status"] == "not materialized"  # nobody asked for it
    assert "tiny_wild" in board.path("leaderboard.html").read_text("utf-8")

    tiny.declare(project.defs, "tiny_wild", tiny.neural())  # mended
    outcome = build_names(project.home, ["tiny_wild"], quiet=True)
    assert outcome.failed == {}
    assert "tiny/leaderboard" in outcome.built
    board = Store(project.home.artifacts).ref("tiny/leaderboard")
    assert board is not None
    assert {row["experiment"]: row["status"] for row in board.summary["rows"]}["tiny_wild"] == "built"


def test_a_blocking_check_that_does_not_hold_stops_what_follows_also_the_next_time(project):
    from assets.building import build_names

    # Three documents are too few for three splits: one of them is empty.
    for language, document in (("en", tiny.english), ("zh", tiny.chinese)):
        tiny.write_corpus(project.text / language, document, count=1)
    for _ in range(2):
        outcome = build_names(project.home, ["tiny"], quiet=True)
        assert outcome.failed["tiny/splits"].startswith("CheckFailed: every_split: No split is empty. Seen: {"), outcome
        assert {"tiny/tokenizer", "tiny/token_shards", "tiny/baselines"} <= outcome.failed.keys()
        states = status(load_project().graph, project.home)
        assert states["tiny/splits"].status == "failed"
        assert states["tiny/tokenizer"].status == "missing"

    for language, document in (("en", tiny.english), ("zh", tiny.chinese)):
        tiny.write_corpus(project.text / language, document)
    assert build_names(project.home, ["tiny"], quiet=True).failed == {}


def test_a_corpus_that_cannot_be_fetched_is_reported_by_the_kind_of_its_error(project, monkeypatch):
    from assets.building import build_names

    port = free_port()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    outcome = build_names(project.home, ["chinese_law"], quiet=True)
    assert outcome.failed["raw_documents/chinese_law"].startswith("UnavailableError: ")
    assert outcome.failed["documents/chinese_law"] == "not built, for it needs raw_documents/chinese_law"
