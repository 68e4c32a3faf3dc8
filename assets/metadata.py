"""What Dagster shows of an artifact: counts, tables, plots and links, typed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.checks import EXCLUSIONS, SPLITS
from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.graph import Outcome
from lm_pipeline.home import Home
from lm_pipeline.tracking.courier import TrackingLink
from lm_pipeline.tracking.server import ui_url
from lm_pipeline.tracking.shipper import flush
from lm_pipeline.tracking.view import artifact_url

if TYPE_CHECKING:
    import polars as pl

Metadata = dict[str, dg.MetadataValue]
PREVIEW_ROWS = 5
PREVIEW_CHARACTERS = 120


def metadata_of(outcome: Outcome, link: TrackingLink | None, home: Home) -> Metadata:
    """All metadata of a materialization."""
    artifact = outcome.artifact
    made = artifact.manifest["provenance"]
    metadata: Metadata = {
        "reused": dg.MetadataValue.bool(outcome.reused),
        "artifact": dg.MetadataValue.path(artifact.directory),
        "code_version": dg.MetadataValue.text(made["code_version"]),
        "wall_seconds": dg.MetadataValue.float(float(made["wall_seconds"])),
        "size_bytes": dg.MetadataValue.int(sum(entry["bytes"] for entry in artifact.manifest["files"].values())),
    }
    if link is not None:
        metadata["mlflow_run"] = dg.MetadataValue.url(link.url)
    return metadata | OF_STAGE[artifact.stage](artifact) | _pages(artifact, link, home)


def _pages(artifact: Artifact, link: TrackingLink | None, home: Home) -> Metadata:
    """Where a browser shows the artifact's page. MLflow serves it: browsers block links from http to file://."""
    if artifact.stage == "leaderboard" and link is not None:
        url = artifact_url(ui_url(home), link.experiment_id, link.run_id, "leaderboard.html")
        return {"leaderboard": dg.MetadataValue.url(url)}
    if artifact.stage in ("corpus_statistics", "statistics") and link is not None:
        url = artifact_url(ui_url(home), link.experiment_id, link.run_id, "statistics.html")
        return {"statistics": dg.MetadataValue.url(url)}
    if artifact.stage == "report":
        entry = artifact.inputs["checkpoint"]
        checkpoint = Store(home.artifacts).find(entry["stage"], entry["key"])
        shown = flush(home, checkpoint.manifest["provenance"]["spool"]) if checkpoint else None
        if shown is not None:
            url = artifact_url(ui_url(home), shown.experiment_id, shown.run_id, "report.html")
            return {"report": dg.MetadataValue.url(url)}
    return {}


def _raw(artifact: Artifact) -> Metadata:
    path = artifact.path("files.parquet")
    return _table(path, "dagster/row_count") | {
        "num_bytes": dg.MetadataValue.int(artifact.summary["num_bytes"]),
    }


def _documents(artifact: Artifact) -> Metadata:
    summary = artifact.summary
    metadata = {
        "dagster/row_count": dg.MetadataValue.int(summary["kept"]),
        "records_in": dg.MetadataValue.int(summary["records_in"]),
        "rejected": dg.MetadataValue.int(summary["rejected"]),
        "quarantined": dg.MetadataValue.int(summary["quarantined"]),
        "parts": dg.MetadataValue.int(summary["num_parts"]),
        "parts_built": dg.MetadataValue.int(summary["num_parts_built"]),
        "funnel": dg.MetadataValue.md(
            _markdown("step", {key: summary[key] for key in ("records_in", "quarantined", "rejected", "kept")})
        ),
        "languages": dg.MetadataValue.json(summary["languages"]),
        "personal_data": dg.MetadataValue.json(summary["personal_data"]),
    }
    return metadata | _part_preview(artifact, kept=True)


def rejected_metadata(outcome: Outcome) -> Metadata:
    """Metadata of the asset `rejected_documents`, which is made together with `documents`."""
    summary = outcome.artifact.summary
    metadata = {
        "dagster/row_count": dg.MetadataValue.int(summary["rejected"]),
        "quarantined": dg.MetadataValue.int(summary["quarantined"]),
        "reasons": dg.MetadataValue.md(_markdown("rule", summary["reasons"])),
        "quarantine_reasons": dg.MetadataValue.md(_markdown("reason", summary["quarantine_reasons"])),
        "reused": dg.MetadataValue.bool(outcome.reused),
    }
    return metadata | _part_preview(outcome.artifact, kept=False)


def _part_preview(artifact: Artifact, kept: bool) -> Metadata:
    """Columns and first rows of the documents that were kept or rejected, from the first part."""
    from lm_pipeline.corpus.documents import clean_parts, read_documents, read_rejected

    store = Store(artifact.directory.parents[1])
    for entry in artifact.parts:
        part = store.find(entry["stage"], entry["key"])
        if part is not None:
            clean = clean_parts(artifact, [part])
            return _frame(read_documents(clean) if kept else read_rejected(clean))
    return {}


def _table(path: Path, count_key: str) -> Metadata:
    """Row count, column schema and the first rows of a Parquet file."""
    import polars as pl

    frame = pl.scan_parquet(path)
    return _frame(frame) | {count_key: dg.MetadataValue.int(frame.select(pl.len()).collect().item())}


def _frame(frame: "pl.LazyFrame") -> Metadata:
    """Column schema and first rows."""
    schema = frame.collect_schema()
    head = frame.head(PREVIEW_ROWS).collect()
    columns = [dg.TableColumn(name, type=str(dtype)) for name, dtype in schema.items()]
    records = [
        dg.TableRecord({name: _short(value) for name, value in row.items()}) for row in head.iter_rows(named=True)
    ]
    return {
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns)),
        "preview": dg.MetadataValue.table(records, schema=dg.TableSchema(columns)),
    }


def _short(value: Any) -> str | int | float | bool:
    if isinstance(value, int | float | bool):
        return value
    text = "" if value is None else str(value)
    return text if len(text) <= PREVIEW_CHARACTERS else text[:PREVIEW_CHARACTERS] + "…"


def _markdown(heading: str, counts: Mapping[str, Any]) -> str:
    lines = [f"| {heading} | count |", "|---|---:|"]
    lines += [f"| {key} | {value:,} |" for key, value in counts.items()]
    return "\n".join(lines)


def _unique(artifact: Artifact) -> Metadata:
    summary = artifact.summary
    keys = ("documents_in", "exact", "near", "repeated", "low_quality", "kept", "num_clusters", "largest_cluster")
    counts = {key: summary[key] for key in keys}
    return {
        **_table(artifact.path("unique.parquet"), "dagster/row_count"),
        "funnel": dg.MetadataValue.md(_markdown("step", counts)),
        "shared_text": dg.MetadataValue.md(_shared_text(summary["matrix"])),
        "examples": dg.MetadataValue.json(summary["examples"]),
    }


def _shared_text(matrix: list[list[Any]]) -> str:
    lines = ["| corpus | has text of | documents | characters |", "|---|---|---:|---:|"]
    lines += [f"| {corpus} | {other} | {num:,} | {characters:,} |" for corpus, other, num, characters in matrix]
    return "\n".join(lines)


def _quality_model(artifact: Artifact) -> Metadata:
    return {
        "auc": dg.MetadataValue.float(float(artifact.summary["auc"])),
        "accuracy": dg.MetadataValue.float(float(artifact.summary["accuracy"])),
        "held_out": dg.MetadataValue.int(artifact.summary["held_out"]),
        "scores": dg.MetadataValue.json(artifact.summary["quantiles"]),
    }


def _splits(artifact: Artifact) -> Metadata:
    keys = ("documents_in", *EXCLUSIONS, *SPLITS)
    cut = artifact.summary.get("repeated_text")
    return {
        **_table(artifact.path("splits.parquet"), "dagster/row_count"),
        "funnel": dg.MetadataValue.md(_markdown("step", {key: artifact.summary[key] for key in keys})),
        "per_corpus": dg.MetadataValue.json(artifact.summary["per_corpus"]),
        **({"repeated_text": dg.MetadataValue.md(_markdown("taken out", cut))} if cut else {}),
    }


def _tokenizer(artifact: Artifact) -> Metadata:
    return {
        "vocab_size": dg.MetadataValue.int(artifact.summary["vocab_size"]),
        "summary": dg.MetadataValue.json(artifact.summary),
    }


def _shards(artifact: Artifact) -> Metadata:
    summary = artifact.summary
    lines = ["| split | documents | tokens | bytes |", "|---|---:|---:|---:|"]
    lines += [
        f"| {split} | {entry['documents']:,} | {entry['tokens']:,} | {entry['bytes']:,} |"
        for split, entry in summary["splits"].items()
    ]
    return {
        "dagster/row_count": dg.MetadataValue.int(sum(entry["documents"] for entry in summary["splits"].values())),
        "splits": dg.MetadataValue.md("\n".join(lines)),
        "bytes_per_token": dg.MetadataValue.float(float(summary["bytes_per_token"])),
    }


def _baselines(artifact: Artifact) -> Metadata:
    return {
        f"{name}_bits_per_byte": dg.MetadataValue.float(float(measured["overall"]["bits_per_byte"]))
        for name, measured in artifact.summary.items()
    }


def _checkpoint(artifact: Artifact) -> Metadata:
    import json

    from lm_pipeline.reports.plots import curve_png_markdown

    summary = artifact.summary
    rows = [json.loads(line) for line in artifact.path("curve.jsonl").read_text("utf-8").splitlines() if line]
    metadata: Metadata = {
        "num_parameters": dg.MetadataValue.int(summary["num_parameters"]),
        "tokens_per_second": dg.MetadataValue.float(float(summary["tokens_per_second"])),
        "best_validation_loss": dg.MetadataValue.float(float(summary["best_validation_loss"])),
        "training": dg.MetadataValue.json(summary),
    }
    if rows:
        metadata["curve"] = dg.MetadataValue.md(curve_png_markdown(rows))
    return metadata


def _evaluation(artifact: Artifact) -> Metadata:
    overall = artifact.summary["test"]["overall"]
    samples = "\n\n".join(f"> {sample['text']}" for sample in artifact.summary["samples"][:3])
    measures = ("bits_per_byte", "perplexity", "masked_perplexity")
    return {
        **{name: dg.MetadataValue.float(overall[name]) for name in measures if overall.get(name) is not None},
        "test": dg.MetadataValue.json(artifact.summary["test"]),
        "samples": dg.MetadataValue.md(samples),
    }


def _base(artifact: Artifact) -> Metadata:
    return {"source": artifact.summary["source"], "summary": dg.MetadataValue.json(artifact.summary)}


def _report(artifact: Artifact) -> Metadata:
    return {"path": dg.MetadataValue.path(artifact.path("report.html"))}


def _leaderboard(artifact: Artifact) -> Metadata:
    return {
        "path": dg.MetadataValue.path(artifact.path("leaderboard.html")),
        "rows": dg.MetadataValue.json(artifact.summary["rows"]),
    }


def _statistics(artifact: Artifact) -> Metadata:
    return {"path": dg.MetadataValue.path(artifact.path("statistics.html"))}


OF_STAGE: dict[str, Callable[[Artifact], Metadata]] = {
    "raw_documents": _raw,
    "documents": _documents,
    "quality_model": _quality_model,
    "unique_documents": _unique,
    "splits": _splits,
    "corpus_statistics": _statistics,
    "statistics": _statistics,
    "tokenizer": _tokenizer,
    "token_shards": _shards,
    "baselines": _baselines,
    "base": _base,
    "checkpoint": _checkpoint,
    "evaluation": _evaluation,
    "report": _report,
    "leaderboard": _leaderboard,
}
"""By stage."""
