import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from lm_pipeline.artifacts import Stage, Store
from lm_pipeline.errors import ChildError, InputError, MissingArtifactError
from lm_pipeline.freshness import changed_keys, status
from lm_pipeline.graph import Node, assets_of, materialize
from lm_pipeline.home import Home
from lm_pipeline.overview import overview
from lm_pipeline.project import Project
from lm_pipeline.reports.terminal import status_text
from lm_pipeline.specs.declarations import Declarations
from lm_pipeline.stages.versions import BASE, QUALITY_MODEL, STAGES


def test_everything_that_was_built_is_current(tiny_project):
    states = tiny_project.states()
    assert len(states) == 19
    assert tiny_project.not_current() == {}
    assert all(state.reason == "" for state in states.values())


def test_only_what_is_asked_for_is_looked_at_in_the_world_outside(tiny_copy):
    asked = []

    def watched(node):
        return replace(node, outside=lambda home: asked.append(node.owner) or node.outside(home))

    graph = {asset: watched(node) if node.outside else node for asset, node in tiny_copy.graph.items()}
    wanted = assets_of(graph, "tiny_english")
    assert set(status(graph, tiny_copy.home, assets=wanted)) == wanted
    assert set(asked) == {"tiny_english"}
    status(graph, tiny_copy.home)
    assert set(asked) >= {"tiny_english", "tiny_chinese"}


def test_descriptions_comments_and_licences_change_nothing(tiny_copy):
    tiny_copy.edit("tiny_gru", "description: Five steps.", "description: Other words. # and a comment")
    tiny_copy.edit("tiny", "description: Both languages.", "description: Other words.")
    tiny_copy.edit("tiny_english", "description: Tiny.", "licence: MIT")
    tiny_copy.edit("tiny_gru", "  dataset: tiny\n", "  dataset: tiny\n  schedule: {cron: '0 3 * * *'}\n")
    assert tiny_copy.not_current() == {}


def test_a_raised_version_of_its_parts_makes_an_artifact_stale(tiny_copy):
    for asset in ("documents/tiny_chinese", "tiny/unique_documents", "tiny/splits"):
        node = tiny_copy.graph[asset]
        for part in node.stage.parts:
            raised = tuple(replace(p, version=p.version + (p == part)) for p in node.stage.parts)
            graph = {**tiny_copy.graph, asset: replace(node, stage=replace(node.stage, parts=raised))}
            state = status(graph, tiny_copy.home)[asset]
            assert state.status == "stale"
            assert state.reason == f"made of parts by an earlier version of {part.name}"


def test_every_stage_is_an_assets_or_makes_parts_of_one(tiny_project):
    of_assets = {STAGES[node.stage.name] for node in tiny_project.graph.values()} | {BASE, QUALITY_MODEL}
    assert of_assets | {part for stage in of_assets for part in stage.parts} == set(STAGES.values())


def test_a_learning_rate_makes_only_its_own_experiment_stale(tiny_copy):
    tiny_copy.edit("tiny_gru", "learning_rate: 0.01", "learning_rate: 1e-3")
    assert tiny_copy.not_current() == {
        "tiny_gru/checkpoint": ("stale", "changed: training.learning_rate"),
        "tiny_gru/evaluation": ("stale", "made from what is not current: tiny_gru/checkpoint"),
        "tiny_gru/report": ("stale", "made from what is not current: tiny_gru/checkpoint, tiny_gru/evaluation"),
    }


def test_an_evaluation_setting_leaves_the_checkpoint_current(tiny_copy):
    tiny_copy.edit("tiny_ngram", "num_bootstrap: 10", "num_bootstrap: 12")
    assert set(tiny_copy.not_current()) == {"tiny_ngram/evaluation", "tiny_ngram/report"}
    outcome = tiny_copy.materialize("tiny_ngram/evaluation")
    assert not outcome.reused
    states = tiny_copy.not_current()
    assert states.pop("tiny/leaderboard")[0] == "stale"
    assert states == {"tiny_ngram/report": ("stale", "changed inputs: evaluation")}
    tiny_copy.edit("tiny_ngram", "num_bootstrap: 12", "num_bootstrap: 10")
    assert tiny_copy.materialize("tiny_ngram/evaluation").reused
    assert tiny_copy.not_current() == {}


def test_a_cleaning_rule_that_changes_no_document_ends_there(tiny_copy):
    tiny_copy.edit("tiny_english", "min_characters: 20", "min_characters: 21")
    assert tiny_copy.not_current()["documents/tiny_english"] == ("stale", "changed: cleaning.min_characters")
    assert set(tiny_copy.not_current()) == set(tiny_copy.graph) - {
        "raw_documents/tiny_english",
        "raw_documents/tiny_chinese",
        "documents/tiny_chinese",
        "corpus_statistics/tiny_chinese",
        "tiny/leaderboard",  # it shows what there is
    }
    assert not tiny_copy.materialize("documents/tiny_english").reused
    assert tiny_copy.not_current() == {}


def test_editing_a_list_that_cleaning_names_makes_documents_stale(tiny_fresh):
    terms = tiny_fresh.home.root.parent / "terms.txt"
    terms.write_text("bridge\n", "utf-8")
    tiny_fresh.edit("tiny_english", "min_characters: 20", "min_characters: 20, blocklist: {files: [terms.txt]}")
    tiny_fresh.materialize("raw_documents/tiny_english")
    first = tiny_fresh.materialize("documents/tiny_english").artifact
    assert 0 < first.summary["reasons"]["blocklist"] < 62
    assert tiny_fresh.materialize("documents/tiny_english").reused
    terms.write_text("bridge\nthe\n", "utf-8")
    assert tiny_fresh.not_current()["documents/tiny_english"][0] == "stale"
    second = tiny_fresh.materialize("documents/tiny_english").artifact
    assert second.summary["reasons"]["blocklist"] == 62


def test_an_earlier_version_of_a_stage_is_stale(tiny_copy):
    graph = tiny_copy.graph
    node = graph["tiny/tokenizer"]
    graph["tiny/tokenizer"] = replace(node, stage=replace(STAGES["tokenizer"], version=99))
    state = status(graph, tiny_copy.home)["tiny/tokenizer"]
    assert (state.status, state.reason) == ("stale", "made by an earlier version of the stage")


def test_a_corpus_that_nothing_declares_gets_the_nearest_name(tiny_copy):
    tiny_copy.edit("tiny", "tiny_english", "tiny_englisch")
    with pytest.raises(MissingArtifactError, match=r"the corpus 'tiny_englisch', which does not exist\. Did you mean"):
        tiny_copy.materialize("tiny/unique_documents")
    state = tiny_copy.states()["tiny/splits"]
    assert state.status == "stale"
    assert "Did you mean 'tiny_english'? Available: tiny_chinese, tiny_english." in state.reason


def test_a_corpus_whose_declaration_is_gone_is_not_used_from_memory(tiny_copy):
    (tiny_copy.defs / "corpora" / "tiny_english" / "defs.yaml").unlink()
    assert "'tiny_english', which does not exist" in tiny_copy.states()["tiny/unique_documents"].reason
    with pytest.raises(MissingArtifactError, match="'tiny_english', which does not exist"):
        tiny_copy.materialize("tiny/unique_documents")


def test_raw_files_that_are_gone_do_not_stop_the_status_of_the_rest(tiny_fresh):
    for corpus in ("english", "chinese"):
        tiny_fresh.materialize(f"raw_documents/tiny_{corpus}")
    (tiny_fresh.text / "english").rename(tiny_fresh.text / "moved")
    states = tiny_fresh.states()
    assert states["raw_documents/tiny_english"].status == "stale"
    assert "Put the text there or correct `path`" in states["raw_documents/tiny_english"].reason
    assert states["raw_documents/tiny_chinese"].status == "current"
    with pytest.raises(InputError, match="Put the text there"):
        tiny_fresh.materialize("raw_documents/tiny_english")
    assert tiny_fresh.states()["raw_documents/tiny_english"].status == "failed"
    (tiny_fresh.text / "moved").rename(tiny_fresh.text / "english")
    assert tiny_fresh.materialize("raw_documents/tiny_english").reused
    assert tiny_fresh.states()["raw_documents/tiny_english"].status == "current"


def test_a_failed_training_is_shown_with_its_reason_and_the_board_goes_on(tiny_copy):
    tiny_copy.edit("tiny_gru", "device: cpu", "device: cuda")
    if os.path.exists("/dev/nvidia0"):  # noqa: PTH110
        pytest.skip("this machine has a GPU, so asking for one does not fail")
    with pytest.raises(ChildError):
        tiny_copy.materialize("tiny_gru/checkpoint")
    states = tiny_copy.states()
    assert states["tiny_gru/checkpoint"].status == "failed"
    assert "ChildError" in states["tiny_gru/checkpoint"].reason
    assert states["tiny_gru/evaluation"].status == "stale"
    assert states["tiny_ngram/checkpoint"].status == "current"
    assert states["tiny/leaderboard"].status == "stale"
    board = tiny_copy.materialize("tiny/leaderboard").artifact.summary
    rows = {row["experiment"]: row for row in board["rows"]}
    assert rows["tiny_gru"]["status"] == "failed"
    assert rows["tiny_gru"]["bits_per_byte"] is None
    assert rows["tiny_ngram"]["status"] == "built"
    tiny_copy.edit("tiny_gru", "device: cuda", "device: cpu")
    assert tiny_copy.materialize("tiny_gru/checkpoint").reused
    assert set(tiny_copy.not_current()) == {"tiny/leaderboard"}


def stop_a_training(project, asset, kind, step):
    """Start a training, and stop its process once a state of this step or a later one is saved.

    Returns:
        What is shown while whoever started it still holds it.
    """
    held = []

    def run_child(argv):
        states = project.home.artifacts / "work" / "checkpoint"
        deadline = time.monotonic() + 120
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as child:
            while not any(int(path.name[5:]) >= step for path in states.glob("*/checkpoints/step-*")):
                assert child.poll() is None, "it ended too soon"
                assert time.monotonic() < deadline, "nothing is saved"
                time.sleep(0.005)
            child.send_signal(kind)
        held.append(shown(project, asset))
        raise KeyboardInterrupt if kind == signal.SIGINT else ChildError("killed")

    with pytest.raises((KeyboardInterrupt, ChildError)):
        materialize(project.graph, project.home, asset, run_child, log=lambda _: None)
    return held[0]


def shown(project, asset):
    """What `lm-pipeline status` says of an asset, as JSON and in its line for people."""
    value = overview(Project(project.home, project.declarations, project.graph))
    [line] = [line for line in status_text(value).splitlines() if line.startswith(f"  {asset} ")]
    return value["assets"][asset], line


def test_a_training_at_which_a_process_is_now_is_not_said_to_be_there_to_go_on_with(tmp_path):
    node = Node("x/checkpoint", Stage("checkpoint", 1), {}, {}, lambda _: None, "experiment", "x", "x")
    node = replace(node, count_saved_steps=lambda _: 1200)
    project = Project(Home(tmp_path), Declarations(), {node.asset: node})
    with Store(project.home.artifacts).lock(node.stage.name, node.stage.key({}, {})):
        state, line = shown(project, node.asset)
    assert (state["status"], state["saved_steps"], state["in_training"]) == ("missing", 1200, True)
    assert line.endswith("never materialized; it is being trained, 1,200 training steps are saved")
    state, line = shown(project, node.asset)
    assert not state["in_training"]
    assert line.endswith("; 1,200 training steps are saved, and materialize goes on from there")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_the_steps_that_a_stopped_training_has_saved_are_shown_where_the_next_one_goes_on_from_them(tiny_copy, kind):
    name, asset = "tiny_long", "tiny_long/checkpoint"
    shutil.copytree(tiny_copy.defs / "experiments" / "tiny_gru", tiny_copy.defs / "experiments" / name)
    tiny_copy.edit(name, "num_steps: 5", "num_steps: 600\n    checkpoint_interval: 10")
    tiny_copy.edit(name, "validation_interval: 5", "validation_interval: 1000")
    assert shown(tiny_copy, asset)[0]["saved_steps"] == 0
    state, line = stop_a_training(tiny_copy, asset, kind, step=20)
    assert state["in_training"]
    assert line.endswith(f"; it is being trained, {state['saved_steps']:,} training steps are saved")
    state, line = shown(tiny_copy, asset)
    steps = state["saved_steps"]
    assert not state["in_training"]
    assert 20 <= steps < 600
    assert state["status"] == ("missing" if kind == signal.SIGINT else "failed")
    assert line.endswith(f"; {steps:,} training steps are saved, and materialize goes on from there")
    assert shown(tiny_copy, f"{name}/evaluation")[0]["saved_steps"] == 0

    tiny_copy.edit(name, "learning_rate: 0.01", "learning_rate: 0.02")
    assert shown(tiny_copy, asset)[0]["saved_steps"] == 0  # another training
    tiny_copy.edit(name, "learning_rate: 0.02", "learning_rate: 0.01")
    tiny_copy.edit("tiny", "vocab_size: 400", "vocab_size: 390")
    assert shown(tiny_copy, asset)[0]["saved_steps"] == 0  # another tokenizer comes first
    tiny_copy.edit("tiny", "vocab_size: 390", "vocab_size: 400")

    newest = max(tiny_copy.home.artifacts.glob("work/checkpoint/*/checkpoints/step-*"))
    os.truncate(newest / "tensors.safetensors", 100)
    earlier = shown(tiny_copy, asset)[0]["saved_steps"]
    assert earlier < steps  # the one before is taken
    outcome = tiny_copy.materialize(asset)
    assert outcome.artifact.summary["resumed_from"] == [earlier]
    assert shown(tiny_copy, asset)[0]["saved_steps"] == 0


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, ["a.c"]),
        ({"a": {"b": 1}}, {"a": 3}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({"a": [1]}, {"a": [1]}, []),
    ],
)
def test_what_changed_is_named_by_its_key(old, new, expected):
    assert changed_keys(old, new) == expected
