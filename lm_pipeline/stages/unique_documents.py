"""`<dataset>/unique_documents`: which documents are kept where several are equal or nearly so."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lm_pipeline.allocator import return_memory
from lm_pipeline.artifacts import Artifact, Stage, Staging
from lm_pipeline.errors import CorruptArtifactError
from lm_pipeline.graph import Build, numbers
from lm_pipeline.provenance import provenance
from lm_pipeline.specs import DatasetSpec
from lm_pipeline.stages import versions
from lm_pipeline.stages.dataset_documents import files_digest

REPEATED_UNITS = "repeated_units.parquet"
"""File that says which units of the kept documents stood in an earlier one."""
_MANY_UNDATED = 0.1
"""Fraction of documents without a date from which on `keep: oldest` is likely to be a mistake."""
UNIT_FILES = ("units.parquet", "counts.parquet")


def parts_of(spec: DatasetSpec) -> tuple[Stage, ...]:
    """The stages that describe the parts of a dataset's corpora, as far as the dataset asks for what they find."""
    unused = set() if spec.duplicates.repeated else {versions.TEXT_UNITS}
    unused |= set() if spec.quality else {versions.QUALITY_SCORES}
    return tuple(part for part in versions.UNIQUE_DOCUMENTS.parts if part not in unused)


def write_unique(spec: DatasetSpec, build: Build) -> None:
    """Describe each part once, then find what is equal among all of them."""
    from lm_pipeline.corpus.documents import clean_parts
    from lm_pipeline.corpus.similarity.duplicates import Part, find_duplicates
    from lm_pipeline.corpus.similarity.repeated_text import UnitFiles, find_repeated_text

    return_memory()
    parts: dict[str, list[Part]] = {}
    units: list[list[UnitFiles]] = []
    for corpus in spec.corpora:
        artifacts = build.store.open_parts(build.inputs[corpus])
        parts[corpus] = []
        units.append([])
        for artifact, clean in zip(artifacts, clean_parts(build.inputs[corpus], artifacts), strict=True):
            made = _describe_part(artifact, spec, build)
            build.staging.parts += made.values()
            scores = made["scores"].path("scores.parquet") if "scores" in made else None
            signatures = made["signatures"].path("signatures.parquet")
            parts[corpus].append(Part(clean.documents, clean.decisions, signatures, scores))
            if "units" in made:
                units[-1].append(UnitFiles(*map(made["units"].path, UNIT_FILES), decisions=clean.decisions))
    assert {part.stage for part in build.staging.parts} <= {part.name for part in parts_of(spec)}
    out = build.staging.path
    min_score = spec.quality.min_score if spec.quality else None
    summary = find_duplicates(parts, spec.duplicates, out, _previous_verdicts(spec, build), min_score)
    content = ["unique.parquet"]
    if spec.duplicates.repeated:
        summary |= find_repeated_text(units, out)
        summary["kept"] -= summary["repeated"]
        content.append(REPEATED_UNITS)
    # Signatures and verdicts are how duplicates were found, not what was found: they have no say in the digest.
    build.staging.content_digest = files_digest(build, content)
    build.staging.summary = {"repeated": 0, **summary}
    undated = summary.get("undated", 0)
    if undated > _MANY_UNDATED * summary["documents_in"]:
        build.log(
            f"{undated:,} of {summary['documents_in']:,} documents have no date that can be read and count as the"
            " youngest. Does `fields.date` of every corpus name the field that has it?"
        )
    build.log(
        f"{summary['kept']:,} of {summary['documents_in']:,} kept; {summary['exact']:,} exact, {summary['near']:,} near"
    )
    build.spool.metrics(0, numbers(summary))


def _previous_verdicts(spec: DatasetSpec, build: Build) -> Path | None:
    """Comparisons of the last time that are still valid."""
    previous, near = build.previous, spec.duplicates.near
    if previous is None or near is None or previous.manifest["stage_version"] != versions.UNIQUE_DOCUMENTS.version:
        return None
    if previous.manifest["spec"]["duplicates"]["near"] != near.model_dump(mode="json"):
        return None
    try:
        return previous.verify().path("verdicts.parquet")
    except CorruptArtifactError as error:  # it would only have saved time
        build.log(f"comparing everything anew: {error}")
        return None


def _describe_part(part: Artifact, spec: DatasetSpec, build: Build) -> dict[str, Artifact]:
    """What the search has to know of one part: made once, and reused while neither the part nor the settings change."""
    near, repeated = spec.duplicates.near, spec.duplicates.repeated
    documents = part.path("documents.parquet")

    def made(
        stage: Stage, fields: Mapping[str, Any], write_files: Callable[[Path], dict[str, Any]], **more: Artifact
    ) -> Artifact:
        started = time.time()

        def write(staging: Staging) -> None:
            staging.summary = write_files(staging.path)
            staging.provenance = provenance(started)

        return build.store.build(stage, {"part": part, **more}, fields, write, wait_seconds=600)[0]

    from lm_pipeline.corpus.similarity.minhash import write_signatures

    fields = near.model_dump(mode="json", exclude={"threshold"}) if near else {}
    described = {"signatures": made(versions.SIGNATURES, fields, lambda out: write_signatures(documents, near, out))}
    if repeated:
        from lm_pipeline.corpus.similarity.repeated_text import write_units

        fields = repeated.model_dump(mode="json")
        described["units"] = made(versions.TEXT_UNITS, fields, lambda out: write_units(documents, repeated, out))
    if spec.quality:
        from lm_pipeline.corpus.quality.quality_model import Scorer, write_scores

        model = build.inputs["quality_model"]
        scorer = functools.partial(Scorer.load, model.path("model.safetensors"))
        described["scores"] = made(
            versions.QUALITY_SCORES, {}, lambda out: write_scores(documents, scorer(), out), quality_model=model
        )
    return described
