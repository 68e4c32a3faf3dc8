"""Schedules: an experiment is trained again on what is new, and a tick with nothing new runs nothing."""

import dagster as dg

from lm_pipeline.freshness import status
from lm_pipeline.graph import assets_of, upstream
from lm_pipeline.project import load_project
from lm_pipeline.specs import ExperimentSpec


def experiment_schedule(name: str, spec: ExperimentSpec) -> dg.ScheduleDefinition:
    """The schedule that an experiment declares."""
    assert spec.schedule is not None
    job = dg.define_asset_job(f"{name}_retrain", selection=_selection(name, spec))

    @dg.schedule(
        name=f"{name}_schedule",
        job=job,
        cron_schedule=spec.schedule.cron,
        execution_timezone=spec.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Trains {name} again when its data or settings have changed.",
    )
    def _tick() -> dg.RunRequest | dg.SkipReason:
        project = load_project()
        wanted = upstream(project.graph, assets_of(project.graph, name))
        states = status(project.graph, project.home.require_initialised(), assets=wanted)
        behind = [asset for asset in wanted if states[asset].status != "current"]
        if corpora := [states[asset].node.owner for asset in behind if states[asset].node.noun == "corpus"]:
            return dg.SkipReason(
                f"New raw data of {', '.join(sorted(set(corpora)))} is not cleaned yet; the sensor `raw_files` does"
                f" that. Or run `lm-pipeline materialize {name}`."
            )
        if not behind:
            return dg.SkipReason(f"Nothing new: every asset that {name} is made from is current.")
        keys = [dg.AssetKey(asset.split("/")) for asset in (*behind, f"{spec.dataset}/leaderboard")]
        return dg.RunRequest(asset_selection=keys, tags={"lm_pipeline/trigger": "schedule"})

    return _tick


def _selection(name: str, spec: ExperimentSpec) -> dg.AssetSelection:
    return dg.AssetSelection.groups(name, spec.dataset)
