"""`lm-pipeline trace`: from the names that a person types to the lineage of an artifact."""

from typing import Any

from lm_pipeline.artifacts import Store
from lm_pipeline.errors import InputError, MissingArtifactError, nearest
from lm_pipeline.lineage import lineage_table, trace_token
from lm_pipeline.project import load_project
from lm_pipeline.trained import current_checkpoint


def trace_experiment(experiment: str) -> list[dict[str, Any]]:
    """Every ancestor of an experiment's checkpoint (see `lineage_table`)."""
    project = load_project()
    checkpoint = current_checkpoint(project, experiment)
    rows = lineage_table(Store(project.home.artifacts), checkpoint)
    return [{key: value for key, value in row.items() if key != "summary"} for row in rows]


def trace_token_of(text: str) -> dict[str, Any]:
    """The origin of a training token.

    Args:
        text: `DATASET:OFFSET`.

    Raises:
        InputError: the text is of another form, or there is no such token.
        MissingArtifactError: no such dataset, or it has no token shards.
    """
    dataset, _, offset = text.partition(":")
    if not offset.isdecimal():
        raise InputError(f"Expected DATASET:OFFSET, such as python_docs:123456; got {text!r}.")
    project = load_project()
    if dataset not in project.declarations.datasets:
        raise MissingArtifactError(
            f"There is no dataset {dataset!r}. {nearest(dataset, project.declarations.datasets)}"
        )
    store = Store(project.home.require_initialised().artifacts)
    shards = store.ref(f"{dataset}/token_shards")
    if shards is None:
        raise MissingArtifactError(f"{dataset} has no token shards. Run `lm-pipeline materialize {dataset}` first.")
    return trace_token(store, shards, int(offset))
