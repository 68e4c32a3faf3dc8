"""What `lm-pipeline status` says: where every asset stands and whether no document got lost."""

from collections import Counter
from typing import Any

from lm_pipeline.artifacts import Artifact
from lm_pipeline.freshness import status
from lm_pipeline.project import Project

CORPUS_PARTS = ("kept", "rejected", "quarantined")
DATASET_PARTS = (
    "train",
    "validation",
    "test",
    "exact",
    "near",
    "repeated",
    "low_quality",
    "contaminated",
    "bridging",
)


def overview(project: Project) -> dict[str, Any]:
    """The state of everything, as JSON.

    Returns:
        home: its path.
        counts: number of assets by status (`current`, `stale`, `missing`, `failed`).
        assets: by name: status, reason, saved_steps (of a training that is not at its end), in_training (whether a
            process is at it), stage, key, digest.
        corpora: by name: records_in, kept, rejected, quarantined, and `holds`: whether the first is the others' sum.
        datasets: by name: documents_in, `DATASET_PARTS`, and `holds`.
    """
    states = status(project.graph, project.home)
    assets = {
        asset: {
            "status": state.status,
            "reason": state.reason,
            "saved_steps": state.saved_steps,
            "in_training": state.in_training,
            "stage": state.node.stage.name,
            "key": state.artifact.key if state.artifact else None,
            "digest": state.artifact.digest if state.artifact else None,
        }
        for asset, state in states.items()
    }
    accounts: dict[str, dict[str, Any]] = {"corpora": {}, "datasets": {}}
    for name in project.declarations.corpora:
        if artifact := states[f"documents/{name}"].artifact:
            accounts["corpora"][name] = account(artifact, "records_in", CORPUS_PARTS)
    for name in project.declarations.datasets:
        if artifact := states[f"{name}/splits"].artifact:
            accounts["datasets"][name] = account(artifact, "documents_in", DATASET_PARTS)
    return {
        "home": str(project.home.root),
        "counts": dict(Counter(state.status for state in states.values())),
        "assets": assets,
        **accounts,
    }


def account(artifact: Artifact, total: str, parts: tuple[str, ...]) -> dict[str, Any]:
    """The accounting identity of an artifact: the total, its parts, and whether they add up (`holds`)."""
    values = {key: artifact.summary[key] for key in (total, *parts)}
    return {**values, "holds": values[total] == sum(values[key] for key in parts)}
