"""The sensor that turns new and changed raw files into a run of just their corpus."""

import json

import dagster as dg

from assets.corpora import CORPORA, DOCUMENTS, RAW, REJECTED, STATISTICS
from lm_pipeline.freshness import status
from lm_pipeline.project import load_project
from lm_pipeline.specs.corpus import PathSource

clean_corpus = dg.define_asset_job(
    "clean_corpus",
    selection=dg.AssetSelection.assets(RAW, DOCUMENTS, REJECTED, STATISTICS),
    description="Lists and cleans one corpus.",
)


@dg.sensor(
    job=clean_corpus,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Watches data/raw and the folders of corpora; cleans a corpus whose files are new or changed.",
)
def raw_files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Compare each watched corpus's files with what the last tick saw, then with what is materialized."""
    from lm_pipeline.corpus.raw.path_source import has_files, unread_in_raw
    from lm_pipeline.corpus.raw.sources import fingerprint

    project = load_project()
    home = project.home.require_initialised()
    seen: dict[str, str] = json.loads(context.cursor or "{}")
    now = {
        name: fingerprint(spec.source, home)
        for name, spec in project.declarations.corpora.items()
        if isinstance(spec.source, PathSource) and has_files(spec.source, home)
    }
    changed = [name for name, value in now.items() if seen.get(name) != value]
    if not changed:
        ignored = unread_in_raw(home, (spec.source for spec in project.declarations.corpora.values()))
        note = f" Not corpora: {', '.join(ignored)}; see `lm-pipeline doctor`." if ignored else ""
        return dg.SkipReason(f"No new or changed files in {len(now)} watched corpora.{note}")
    wanted = {f"{stage}/{name}" for name in changed for stage in ("raw_documents", "documents")}
    states = status({asset: node for asset, node in project.graph.items() if asset in wanted}, home)
    requests = [
        dg.RunRequest(partition_key=name, tags={"lm_pipeline/trigger": "raw_files"})
        for name in changed
        if any(states[f"{stage}/{name}"].status != "current" for stage in ("raw_documents", "documents"))
    ]
    partitions = [CORPORA.build_add_request([request.partition_key for request in requests if request.partition_key])]
    return dg.SensorResult(
        run_requests=requests, dynamic_partitions_requests=partitions if requests else [], cursor=json.dumps(now)
    )
