"""What MLflow has of a project: one run per built version, models side by side, links both ways."""

import json

import dagster as dg
import pytest

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.tracking import shipper
from lm_pipeline.tracking.mlflow_store import MlflowClient
from lm_pipeline.tracking.view import VIEW_TAG

MODELS = ("tiny_gru", "tiny_ngram")
PIPELINE = {
    "tiny/unique_documents",
    "tiny/splits",
    "tiny/statistics",
    "tiny/tokenizer",
    "tiny/token_shards",
    "tiny/baselines",
    "tiny/leaderboard",
    *(f"{name}/{stage}" for name in MODELS for stage in ("evaluation", "report")),
}


@pytest.fixture
def client(built) -> MlflowClient:
    for path in built.home.spool.glob("*.jsonl"):
        assert shipper.flush(built.home, path.stem, timeout_seconds=30) is not None
    return MlflowClient(built.home.tracking_uri, built.home.tracking_uri)


def runs_of(client: MlflowClient, experiment: str) -> dict:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return {run.info.run_name: run for run in client.search_runs([found.experiment_id], max_results=500)}


def artifact(built, asset: str) -> Artifact:
    found = Store(built.home.artifacts).ref(asset)
    assert found is not None
    return found


def test_each_built_version_is_one_run_in_its_experiment(client):
    assert set(runs_of(client, "tiny")) == set(MODELS)
    assert set(runs_of(client, "tiny/pipeline")) == PIPELINE
    assert set(runs_of(client, "corpora")) == {
        f"{stage}/{corpus}"
        for stage in ("raw_documents", "documents", "corpus_statistics")
        for corpus in ("tiny_en", "tiny_zh")
    }
    names = [experiment.name for experiment in client.search_experiments()]
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=500)
    assert len(runs) == 2 + len(PIPELINE) + 6
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert set(names) - {"Default"} == {"tiny", "tiny/pipeline", "corpora"}


def test_building_again_opens_no_run(built, client, instance):
    from assets.building import _execute
    from assets.definitions import defs

    spools = sorted(path.name for path in built.home.spool.glob("*.jsonl"))
    keys = [dg.AssetKey(["tiny", "splits"]), dg.AssetKey(["tiny_ngram", "checkpoint"])]
    assert _execute(defs(), instance, keys) == {}
    assert sorted(path.name for path in built.home.spool.glob("*.jsonl")) == spools
    assert set(runs_of(client, "tiny")) == set(MODELS)


def test_a_model_s_row_has_parameters_curve_results_and_cost(built, client):
    run = runs_of(client, "tiny")["tiny_gru"]
    params, metrics = run.data.params, run.data.metrics
    assert params["family"] == "gru"
    assert params["learning_rate"] == "0.05"
    assert params["model.width"] == "16"
    assert params["dataset"] == "tiny"
    checkpoint, evaluation = artifact(built, "tiny_gru/checkpoint"), artifact(built, "tiny_gru/evaluation")
    assert params["num_parameters"] == str(checkpoint.summary["num_parameters"])
    for name, choice in checkpoint.summary["choices"].items():
        assert params[f"chosen.{name}"] == str(choice["value"]).lower()
        assert params[f"chosen.{name}.reason"] == choice["reason"]
    timed = checkpoint.summary["choices"]["precision"]["matmul_seconds"]
    assert {metrics[f"chosen.matmul_seconds/{precision}"] for precision in timed} == set(timed.values())
    assert metrics.keys() >= {"train_loss", "validation_loss", "tokens_per_second", "wall_seconds", "num_parameters"}
    overall = evaluation.summary["test"]["overall"]
    assert metrics["test/bits_per_byte"] == pytest.approx(overall["bits_per_byte"])
    assert metrics["test/perplexity"] == pytest.approx(overall["perplexity"])
    assert {"test/tiny_en/bits_per_byte", "test/tiny_zh/bits_per_byte"} <= metrics.keys()
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "train_loss")]
    curve = [json.loads(line) for line in checkpoint.path("curve.jsonl").read_text("utf-8").splitlines()]
    assert steps == [point["step"] for point in curve if "train_loss" in point] == [5, 10, 15, 20]
    for name in metrics:
        points = client.get_metric_history(run.info.run_id, name)
        assert len({point.step for point in points}) == len(points), name


def test_the_experiment_opens_on_models_side_by_side(client):
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    state = json.loads(json.loads(experiment.tags[VIEW_TAG])["state"])
    run = runs_of(client, "tiny")["tiny_gru"]
    have = {f"params.`{name}`" for name in run.data.params} | {f"metrics.`{name}`" for name in run.data.metrics}
    assert set(state["selectedColumns"]) - {"attributes.`Dataset`"} <= have


def test_evaluation_metrics_stand_once_and_name_the_model_and_the_dataset(built, client):
    run = runs_of(client, "tiny")["tiny_gru"]
    assert len(client.get_metric_history(run.info.run_id, "test/bits_per_byte")) == 1
    measuring = runs_of(client, "tiny/pipeline")["tiny_gru/evaluation"].data.metrics
    assert not [name for name in measuring if name.startswith("test/")]
    assert measuring.keys() >= {"wall_seconds", "scored_tokens_per_second"}
    [output] = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    digest = artifact(built, "tiny/token_shards").digest[:36]
    evaluated = {metric.key: metric for metric in model.metrics or []}
    assert evaluated.keys() >= {"test/bits_per_byte", "test/perplexity", "test/tiny_zh/bits_per_byte"}
    assert {(metric.dataset_name, metric.dataset_digest) for metric in evaluated.values()} == {("tiny/test", digest)}
    assert {(metric.model_id, metric.run_id) for metric in evaluated.values()} == {(output.model_id, run.info.run_id)}


def test_the_model_is_logged_by_reference(built, client):
    run = runs_of(client, "tiny")["tiny_gru"]
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    checkpoint = artifact(built, "tiny_gru/checkpoint")
    assert (model.name, model.status, model.source_run_id) == ("tiny_gru", "READY", run.info.run_id)
    assert model.tags["lm_pipeline.checkpoint"] == str(checkpoint.files_dir)
    assert (checkpoint.files_dir / "model.safetensors").is_file()
    assert client.list_artifacts(run.info.run_id, "model") == []


def test_the_report_is_an_artifact_of_the_training_run(built, client):
    run = runs_of(client, "tiny")["tiny_gru"]
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["report.html"]
    board = runs_of(client, "tiny/pipeline")["tiny/leaderboard"]
    assert [item.path for item in client.list_artifacts(board.info.run_id)] == ["leaderboard.html"]


def test_inputs_carry_the_digests_of_the_artifacts(built, client):
    for name, experiment in (("tiny_gru", "tiny"), ("tiny_gru/evaluation", "tiny/pipeline")):
        run = runs_of(client, experiment)[name]
        made = artifact(built, name if "/" in name else f"{name}/checkpoint")
        seen = {(item.tags[0].value, item.dataset.digest) for item in run.inputs.dataset_inputs}
        assert seen == {(role, entry["digest"][:36]) for role, entry in made.inputs.items()}
    splits = runs_of(client, "tiny/pipeline")["tiny/splits"]
    assert {item.dataset.name for item in splits.inputs.dataset_inputs} == {
        "tiny/unique_documents",
        "documents/tiny_en",
        "documents/tiny_zh",
    }


def test_links_lead_both_ways(client, instance):
    for asset, experiment, name in (
        ("tiny_gru/checkpoint", "tiny", "tiny_gru"),
        ("tiny/splits", "tiny/pipeline", "tiny/splits"),
    ):
        run = runs_of(client, experiment)[name]
        tags = run.data.tags
        dagster_run = instance.get_run_by_id(tags["dagster.run_id"])
        assert dagster_run is not None
        assert tags["asset"] == asset
        note = tags["mlflow.note.content"]
        assert f"[run](http://127.0.0.1:3000/runs/{dagster_run.run_id})" in note
        assert f"(http://127.0.0.1:3000/assets/{asset})" in note
        event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
        assert event is not None
        assert event.asset_materialization is not None
        url = event.asset_materialization.metadata["mlflow_run"].value
        assert f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}" in url
    corpus = runs_of(client, "corpora")["documents/tiny_en"]
    assert corpus.data.tags["dagster.partition"] == "tiny_en"
    assert "/assets/documents?view=partitions&partition=tiny_en)" in corpus.data.tags["mlflow.note.content"]
