"""Corpus nodes: `raw_documents/<corpus>`, `documents/<corpus>` and `corpus_statistics/<corpus>`."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lm_pipeline.graph import Build, Node, numbers
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import CorpusSpec
from lm_pipeline.stages import versions
from lm_pipeline.stages.parts import PartBuilder, build_parts, cleaning_fields

if TYPE_CHECKING:
    from lm_pipeline.corpus.documents import Part

MLFLOW_EXPERIMENT = "corpora"


def corpus_nodes(name: str, spec: CorpusSpec) -> list[Node]:
    """The nodes of a corpus."""

    def outside(home: Home) -> Mapping[str, Any]:
        from lm_pipeline.corpus.raw.sources import identify

        return identify(spec.source, home)

    def lists(home: Home) -> Mapping[str, Any]:
        from lm_pipeline.corpus.quality.word_lists import list_digests

        return list_digests(spec.cleaning, home)

    raw = Node(
        asset=f"raw_documents/{name}",
        stage=versions.RAW_DOCUMENTS,
        inputs={},
        spec={"source": spec.source.model_dump(mode="json")},
        write=lambda build: _write_raw(spec, build),
        noun="corpus",
        owner=name,
        mlflow_experiment=MLFLOW_EXPERIMENT,
        outside=outside,
    )
    documents = Node(
        asset=f"documents/{name}",
        stage=versions.DOCUMENTS,
        inputs={"raw": raw.asset},
        spec=cleaning_fields(name, spec),
        write=lambda build: _write_documents(name, spec, build),
        noun="corpus",
        owner=name,
        mlflow_experiment=MLFLOW_EXPERIMENT,
        outside=lists,
    )
    statistics = Node(
        asset=f"corpus_statistics/{name}",
        stage=versions.CORPUS_STATISTICS,
        inputs={"documents": documents.asset},
        spec={"corpus": name},
        write=lambda build: _write_statistics(name, build),
        noun="corpus",
        owner=name,
        mlflow_experiment=MLFLOW_EXPERIMENT,
    )
    return [raw, documents, statistics]


def _write_raw(spec: CorpusSpec, build: Build) -> None:
    from lm_pipeline.corpus.raw.sources import fetch
    from lm_pipeline.corpus.raw.url_source import Earlier

    before = build.previous
    earlier = Earlier(
        build.store.work_dir(versions.RAW_DOCUMENTS.name, build.staging.key),
        before.files_dir if before else None,
        before.manifest["spec"]["outside"] if before else None,
    )
    build.staging.summary = fetch(spec.source, dict(build.outside), build.home, build.staging.path, earlier)
    if spec.source.kind == "url":
        build.staging.superseded = earlier.superseded(spec.source)
    if dangling := build.staging.summary.get("dangling_links"):
        build.log(f"{len(dangling)} links lead nowhere and are not read: {', '.join(dangling[:10])}")
    build.log(f"{build.staging.summary['num_files']} raw files, {build.staging.summary['num_bytes']:,} bytes")
    build.spool.metrics(0, numbers(build.staging.summary))


def _write_documents(name: str, spec: CorpusSpec, build: Build) -> None:
    """Measure the raw files in parts, then decide on each part's documents.

    Parts that exist for the same bytes and the same cleaning are reused, whatever the thresholds: then nothing is read
    but statistics.
    """
    from lm_pipeline.corpus.documents import decisions_file, merge_summaries, plan_parts, write_plan
    from lm_pipeline.corpus.quality.decisions import decide_part
    from lm_pipeline.corpus.raw.raw_files import raw_files

    table = build.inputs["raw"].path("files.parquet")
    parts = plan_parts(raw_files(table), spec, _previous_parts(build), read_alike=_is_read_alike(name, spec, build))
    home, store, fields = str(build.home.root), str(build.store.root), spec.model_dump(mode="json")
    builder = PartBuilder(home, store, name, fields, dict(build.outside), str(table))
    artifacts, num_built = build_parts(builder, parts, build.staging.path, build.log)
    summaries = []
    build.staging.path.joinpath("decisions").mkdir()
    for number, artifact in enumerate(artifacts):
        decisions = build.staging.path / decisions_file(number)
        summaries += [
            artifact.summary,
            decide_part(artifact.verify("statistics.parquet").path("statistics.parquet"), spec.cleaning, decisions),
        ]
    write_plan(parts, build.staging.path / "plan.json")
    summary = merge_summaries(summaries)
    assert summary["records_in"] == summary["kept"] + summary["rejected"] + summary["quarantined"]
    build.staging.parts = artifacts
    build.staging.content_digest = summary["row_digests"]["documents"]
    build.staging.summary = {**summary, "num_parts": len(parts), "num_parts_built": num_built}
    declared = spec.fields.model_dump(exclude={"text"}, exclude_none=True)
    empty = [f"{role}: {name}" for role, name in declared.items() if not summary["field_values"].get(role)]
    if empty and summary["documents"]:
        build.log(f"no document has a value for {', '.join(empty)} (`fields`): is the name misspelt?")
    build.log(
        f"{summary['kept']:,} documents kept, {summary['rejected']:,} rejected, {summary['quarantined']:,} quarantined;"
        f" {num_built} of {len(parts)} parts cleaned{', the others were there' if num_built < len(parts) else ''}"
    )
    build.spool.metrics(0, numbers(build.staging.summary))


def _write_statistics(name: str, build: Build) -> None:
    """What people look at of a corpus: numbers and samples as JSON and as a page."""
    from lm_pipeline.corpus.documents import clean_parts
    from lm_pipeline.corpus.quality.profile import profile_corpus
    from lm_pipeline.reports.corpus_page import write_corpus_page

    documents, folder = build.inputs["documents"], build.staging.path
    parts = build.store.open_parts(documents)
    profile = profile_corpus(clean_parts(documents, parts), [part.path("quarantine.parquet") for part in parts])
    (folder / "statistics.json").write_text(json.dumps(profile, ensure_ascii=False) + "\n", "utf-8")
    write_corpus_page(name, documents.summary, profile, folder / "statistics.html")
    build.staging.volatile.add("statistics.html")
    build.staging.summary = {key: documents.summary[key] for key in ("records_in", "kept", "rejected", "quarantined")}
    build.spool.artifact(folder / "statistics.html")


def _previous_parts(build: Build) -> "list[Part]":
    from lm_pipeline.corpus.documents import read_plan

    return read_plan(build.previous.path("plan.json")) if build.previous else []


def _is_read_alike(name: str, spec: CorpusSpec, build: Build) -> bool:
    """Whether the previous artifact's raw files were cut by what they are cut by now."""
    if build.previous is None or build.previous.manifest["stage_version"] != versions.DOCUMENTS.version:
        return False

    def reading(fields: Mapping[str, Any]) -> tuple[Any, ...]:
        return fields["format"], fields["fields"], fields["cleaning"]["max_line_bytes"]

    return reading(build.previous.manifest["spec"]) == reading(cleaning_fields(name, spec))
