"""The node `<dataset>/leaderboard`: it shows what there is, and says what failed."""

from collections.abc import Mapping
from typing import Any

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.graph import Build, Node
from lm_pipeline.home import Home
from lm_pipeline.reports.leaderboard import Entry, Status
from lm_pipeline.specs import ExperimentSpec
from lm_pipeline.stages import versions


def leaderboard_node(name: str, experiments: Mapping[str, ExperimentSpec]) -> Node:
    """The node of a dataset's leaderboard."""
    inputs = {"baselines": f"{name}/baselines"}
    for stage in ("checkpoint", "evaluation"):
        inputs |= {f"{stage}:{item}": f"{item}/{stage}" for item in experiments}
    families = {item: spec.model.family for item, spec in experiments.items()}
    return Node(
        asset=f"{name}/leaderboard",
        stage=versions.LEADERBOARD,
        inputs=inputs,
        optional=frozenset(inputs),
        spec={"dataset": name, "families": families},
        write=lambda build: _write_leaderboard(name, families, build),
        noun="dataset",
        owner=name,
        mlflow_experiment=f"{name}/pipeline",
        outside=lambda home: {"failures": {item: text for item in experiments if (text := failure_of(item, home))}},
    )


def failure_of(experiment: str, home: Home) -> str | None:
    """Why an experiment's model or evaluation could not be built, if it could not."""
    store = Store(home.artifacts)
    failures = (store.failure(f"{experiment}/{stage}") for stage in ("checkpoint", "evaluation"))
    return next(filter(None, failures), None)


def entry_of(
    experiment: str,
    family: str,
    checkpoint: Artifact | None,
    evaluation: Artifact | None,
    failure: str | None,
    stale: str = "",
) -> Entry:
    """An experiment's line, from its artifacts.

    Args:
        failure: why it could not be built, or None.
        stale: why what is built is not what is asked for now; empty if it is.
    """
    training: Mapping[str, Any] = checkpoint.summary if checkpoint else {}
    status: Status = "built"
    if failure:
        status = "failed"
    elif evaluation is None:
        status = "not materialized"
    elif stale:
        status = "stale"
    return Entry(
        experiment,
        family,
        status,
        message=failure or stale,
        num_parameters=training.get("num_parameters"),
        tokens_trained=training.get("num_tokens"),
        wall_seconds=training.get("wall_seconds"),
        tokens_per_second=training.get("tokens_per_second"),
        device=training.get("device"),
        evaluation=evaluation.summary["test"]["overall"] if evaluation else None,
    )


def _write_leaderboard(name: str, families: Mapping[str, str], build: Build) -> None:
    from lm_pipeline.reports.leaderboard import leaderboard_json, leaderboard_rows, write_leaderboard

    entries = [
        entry_of(
            experiment,
            family,
            build.inputs.get(f"checkpoint:{experiment}"),
            build.inputs.get(f"evaluation:{experiment}"),
            build.outside["failures"].get(experiment),
        )
        for experiment, family in families.items()
    ]
    baselines = build.inputs.get("baselines")
    rows = leaderboard_rows(entries, baselines.summary if baselines else None)
    build.staging.summary = {**write_leaderboard(name, rows, build.staging.path), **leaderboard_json(name, rows)}
    build.staging.volatile |= {"leaderboard.html", "leaderboard.json"}
    build.spool.artifact(build.staging.path / "leaderboard.html")
