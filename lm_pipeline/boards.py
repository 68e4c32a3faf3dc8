"""The leaderboards as things stand now: built, stale, failed and missing experiments alike."""

from typing import TYPE_CHECKING

from lm_pipeline.artifacts import Store
from lm_pipeline.errors import MissingArtifactError, nearest
from lm_pipeline.freshness import status
from lm_pipeline.project import Project
from lm_pipeline.stages.leaderboard import entry_of, failure_of

if TYPE_CHECKING:
    from lm_pipeline.reports.leaderboard import Row


def current_boards(project: Project, dataset: str | None = None) -> "dict[str, list[Row]]":
    """Rows by dataset, best first.

    Args:
        dataset: one dataset's name, or None for all that have experiments.

    Raises:
        MissingArtifactError: there is no such dataset.
    """
    from lm_pipeline.reports.leaderboard import leaderboard_rows

    declared = project.declarations
    if dataset is not None and dataset not in declared.datasets:
        raise MissingArtifactError(f"There is no dataset {dataset!r}. {nearest(dataset, declared.datasets)}")
    names = [dataset] if dataset else [name for name in declared.datasets if declared.experiments_of(name)]
    experiments = {experiment for name in names for experiment in declared.experiments_of(name)}
    shown = {asset for asset, node in project.graph.items() if node.owner in experiments}
    states = status(project.graph, project.home, assets=shown)
    store = Store(project.home.artifacts)
    boards = {}
    for name in names:
        entries = []
        for experiment, spec in declared.experiments_of(name).items():
            state = states[f"{experiment}/evaluation"]
            entries.append(
                entry_of(
                    experiment,
                    spec.model.family,
                    states[f"{experiment}/checkpoint"].artifact,
                    state.artifact,
                    failure_of(experiment, project.home),
                    state.reason if state.status == "stale" else "",
                )
            )
        baselines = store.ref(f"{name}/baselines")
        boards[name] = leaderboard_rows(entries, baselines.summary if baselines else None)
    return boards
