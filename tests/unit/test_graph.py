import json
import shutil

import polars as pl
import pytest

from lm_pipeline.artifacts import Store
from lm_pipeline.artifacts.garbage import collect_garbage, drop
from lm_pipeline.errors import BusyError, MissingArtifactError
from lm_pipeline.graph import assets_of, get_node, topological, upstream


def test_inputs_come_before_what_is_made_from_them(tiny_project):
    graph = tiny_project.graph
    order = list(topological(graph))
    assert sorted(order) == sorted(graph)
    for asset, node in graph.items():
        assert all(order.index(parent) < order.index(asset) for parent in node.inputs.values())
    assert upstream(graph, {"tiny/splits"}) == [
        "raw_documents/tiny_chinese",
        "documents/tiny_chinese",
        "raw_documents/tiny_english",
        "documents/tiny_english",
        "tiny/unique_documents",
        "tiny/splits",
    ]


def test_a_name_stands_for_an_asset_or_for_all_that_it_owns(tiny_project):
    graph = tiny_project.graph
    assert assets_of(graph, "tiny/splits") == {"tiny/splits"}
    assert assets_of(graph, "tiny_gru") == {f"tiny_gru/{stage}" for stage in ("checkpoint", "evaluation", "report")}
    assert assets_of(graph, "tiny_english") == {
        f"{stage}/tiny_english" for stage in ("raw_documents", "documents", "corpus_statistics")
    }
    with pytest.raises(MissingArtifactError, match=r"'tiny_gro'\. Did you mean 'tiny_gru'\?"):
        assets_of(graph, "tiny_gro")
    with pytest.raises(MissingArtifactError, match=r"no asset 'tiny/split'\. Did you mean 'tiny/splits'\?"):
        get_node(graph, "tiny/split")


def test_what_exists_is_reused_with_the_same_digest(tiny_copy):
    before = {asset: state.artifact.digest for asset, state in tiny_copy.states().items()}
    for asset, digest in before.items():
        outcome = tiny_copy.materialize(asset)
        assert outcome.reused, asset
        assert outcome.artifact.digest == digest
        assert outcome.spool_id == outcome.artifact.manifest["provenance"]["spool"]


@pytest.mark.parametrize(("language", "min_characters"), [("english", 320), ("chinese", 60)])
def test_another_threshold_is_decided_from_statistics_without_any_text(tiny_copy, language, min_characters):
    before = tiny_copy.materialize(f"documents/tiny_{language}").artifact
    [part] = Store(tiny_copy.home.artifacts).open_parts(before)
    part.path("documents.parquet").rename(part.path("documents.parquet").with_suffix(".gone"))
    tiny_copy.edit(f"tiny_{language}", "min_characters: 20", f"min_characters: {min_characters}")
    outcome = tiny_copy.materialize(f"documents/tiny_{language}")
    assert not outcome.reused
    summary = outcome.artifact.summary
    assert (summary["num_parts"], summary["num_parts_built"]) == (1, 0)
    assert outcome.artifact.parts == before.parts
    decisions = pl.read_parquet(outcome.artifact.path("decisions/00000.parquet"))
    statistics = pl.read_parquet(part.path("statistics.parquet"))
    assert decisions["kept"].equals((statistics["num_characters"] >= min_characters).alias("kept"))
    assert 0 < summary["kept"] < before.summary["kept"]
    assert summary["records_in"] == summary["kept"] + summary["rejected"] + summary["quarantined"]


def test_what_personal_data_and_terms_reject_is_decided_without_any_text(tiny_copy):
    tiny_copy.edit("tiny_english", "profile: none", "profile: none, blocklist: {terms: [the, shall]}")
    before = tiny_copy.materialize("documents/tiny_english").artifact
    [part] = Store(tiny_copy.home.artifacts).open_parts(before)
    part.path("documents.parquet").rename(part.path("documents.parquet").with_suffix(".gone"))
    hits = pl.read_parquet(part.path("statistics.parquet"))["num_blocklist_hits"]
    most = int(hits.quantile(0.5) or 0)
    tiny_copy.edit(
        "tiny_english", "shall]}", f"shall], max_hits: {most}}}, personal_data: {{email: drop, phone: drop}}"
    )
    after = tiny_copy.materialize("documents/tiny_english").artifact
    assert after.summary["num_parts_built"] == 0
    assert after.parts == before.parts
    assert after.summary["reasons"]["blocklist"] == (hits > most).sum() > 0
    assert after.summary["kept"] > before.summary["kept"]


def test_what_changes_a_text_or_a_statistic_is_cleaned_again(tiny_copy):
    tiny_copy.edit("tiny_english", "profile: none", "profile: english")
    assert tiny_copy.materialize("documents/tiny_english").artifact.summary["num_parts_built"] == 1
    tiny_copy.edit("tiny_english", "profile: english", "profile: english, width: keep")
    assert tiny_copy.materialize("documents/tiny_english").artifact.summary["num_parts_built"] == 1


def test_a_new_file_costs_one_part_and_unchanged_documents_keep_their_split(tiny_fresh):
    def splits():
        for asset in ("raw_documents/tiny_english", "raw_documents/tiny_chinese"):
            tiny_fresh.materialize(asset)
        english = tiny_fresh.materialize("documents/tiny_english").artifact
        tiny_fresh.materialize("documents/tiny_chinese")
        tiny_fresh.materialize("tiny/unique_documents")
        frame = pl.read_parquet(tiny_fresh.materialize("tiny/splits").artifact.path("splits.parquet"))
        return english, dict(frame.filter(pl.col("split").is_not_null()).select("document_id", "split").iter_rows())

    first, before = splits()
    assert (first.summary["num_parts"], first.summary["num_parts_built"]) == (1, 1)
    new = tiny_fresh.text / "english" / "b.txt"
    new.write_text("A whole new document about the law of bridges and of rivers, which nobody has seen before.")
    states = tiny_fresh.states()
    assert states["raw_documents/tiny_english"].status == "stale"
    assert states["raw_documents/tiny_english"].reason == "changed: raw files (1 new: b.txt)"
    assert states["raw_documents/tiny_chinese"].status == "current"
    second, after = splits()
    assert (second.summary["num_parts"], second.summary["num_parts_built"]) == (2, 1)
    assert second.summary["kept"] == first.summary["kept"] + 1
    assert second.parts[0] == first.parts[0]
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 1
    new.unlink()
    third, again = splits()
    assert third.digest == first.digest
    assert again == before


def test_what_was_never_built_is_missing_and_the_error_says_what_to_run(tiny_fresh):
    assert {state.status for state in tiny_fresh.states().values()} == {"missing"}
    assert {state.reason for state in tiny_fresh.states().values()} == {"never materialized"}
    with pytest.raises(MissingArtifactError) as caught:
        tiny_fresh.materialize("tiny/unique_documents")
    assert str(caught.value) == (
        "tiny/unique_documents needs documents/tiny_english, which is not materialized. Run `lm-pipeline materialize"
        " tiny_english` first."
    )
    assert caught.value.exit_code == 4
    state = tiny_fresh.states()["tiny/unique_documents"]
    assert state.status == "failed"
    assert state.reason.startswith("MissingArtifactError: tiny/unique_documents needs documents/tiny_english")


def test_what_another_process_builds_is_busy_and_not_failed(tiny_fresh):
    artifact = tiny_fresh.materialize("raw_documents/tiny_english").artifact
    store = Store(tiny_fresh.home.artifacts)
    drop(store, artifact.stage, artifact.key)
    with store.lock(artifact.stage, artifact.key), pytest.raises(BusyError):
        tiny_fresh.materialize("raw_documents/tiny_english")
    state = tiny_fresh.states()["raw_documents/tiny_english"]
    assert (state.status, state.reason) == ("missing", "its artifact was deleted")


def test_damage_is_mended_by_dropping_and_building_again(tiny_copy):
    store = Store(tiny_copy.home.artifacts)
    documents = store.ref("documents/tiny_english")
    [part] = store.open_parts(documents)
    part.path("documents.parquet").write_bytes(b"damaged")
    digest = documents.digest
    dropped = drop(store, part.stage, part.key)
    assert f"documents/{documents.key}" in dropped
    assert tiny_copy.states()["documents/tiny_english"].status == "missing"
    outcome = tiny_copy.materialize("documents/tiny_english")
    assert not outcome.reused
    assert outcome.artifact.digest == digest
    # Only the join is asked to be done again: what was made from the part with the same content stays.
    assert tiny_copy.not_current() == {}


def test_collecting_garbage_leaves_everything_current_and_intact(tiny_copy):
    tiny_copy.edit("tiny_ngram", "num_bootstrap: 10", "num_bootstrap: 12")
    tiny_copy.materialize("tiny_ngram/evaluation")
    tiny_copy.edit("tiny_ngram", "num_bootstrap: 12", "num_bootstrap: 10")
    tiny_copy.materialize("tiny_ngram/evaluation")
    store = Store(tiny_copy.home.artifacts)
    assert collect_garbage(store).artifacts == 1
    assert tiny_copy.not_current() == {}
    for artifact in store.refs().values():
        for ancestor in store.ancestors(artifact):
            ancestor.verify()


def test_another_seed_and_back_finds_the_splits_that_were_decided(tiny_copy):
    store = Store(tiny_copy.home.artifacts)
    before = store.ref("tiny/split_ledger/0")
    tiny_copy.edit("tiny", "test_fraction: 0.15", "test_fraction: 0.15, seed: 1")
    tiny_copy.materialize("tiny/splits")
    assert store.ref("tiny/split_ledger/0") == before
    other = store.ref("tiny/split_ledger/1")
    ledgers = [pl.read_parquet(item.path("ledger.parquet")) for item in (before, other)]
    assert set(ledgers[0]["key"]) == set(ledgers[1]["key"])
    assert not ledgers[0].equals(ledgers[1])
    tiny_copy.edit("tiny", "test_fraction: 0.15, seed: 1", "test_fraction: 0.15")
    assert tiny_copy.materialize("tiny/splits").reused
    assert tiny_copy.not_current() == {}


def test_every_build_is_one_finished_run_in_the_spool(tiny_project):
    for asset, state in tiny_project.states().items():
        spool = tiny_project.home.spool / f"{state.artifact.manifest['provenance']['spool']}.jsonl"
        events = [json.loads(line) for line in spool.read_text("utf-8").splitlines()]
        assert events[0]["event"] == "open"
        assert events[0]["tags"]["asset"] == asset
        assert [event["status"] for event in events if event["event"] == "status"][-1] == "FINISHED"
        inputs = {event["digest"] for event in events if event["event"] == "input"}
        assert inputs == {entry["digest"][:36] for entry in state.artifact.inputs.values()}


def test_a_build_that_was_killed_before_it_could_say_so_is_finished_when_it_is_found(tiny_copy):
    spool = tiny_copy.home.spool / f"{tiny_copy.states()['tiny/splits'].artifact.manifest['provenance']['spool']}.jsonl"
    lines = spool.read_text("utf-8").splitlines(keepends=True)
    assert json.loads(lines[-1])["status"] == "FINISHED"
    spool.write_text("".join(lines[:-1]) + lines[-1][:9], "utf-8")
    assert tiny_copy.materialize("tiny/splits").reused
    assert json.loads(spool.read_text("utf-8").splitlines()[-1])["status"] == "FINISHED"
    before = spool.read_bytes()
    assert tiny_copy.materialize("tiny/splits").reused
    assert spool.read_bytes() == before


def test_splits_that_were_killed_after_their_ledger_are_made_again_with_the_same_one(tiny_copy):
    store = Store(tiny_copy.home.artifacts)
    splits, ledger = store.ref("tiny/splits"), store.ref("tiny/split_ledger/0")
    shutil.rmtree(splits.directory)
    again = tiny_copy.materialize("tiny/splits").artifact
    assert again.summary == splits.summary
    assert again.manifest["files"] == splits.manifest["files"]
    assert store.ref("tiny/split_ledger/0") == ledger
