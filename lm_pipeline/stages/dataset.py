"""Dataset nodes: `<dataset>/unique_documents`, `splits`, `statistics`, `tokenizer`, `token_shards` and `baselines`."""

import dataclasses
import functools
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_pipeline import locks
from lm_pipeline.artifacts import Artifact, Stage, Staging
from lm_pipeline.digests import digest_file, digest_of
from lm_pipeline.errors import CorruptArtifactError, MissingArtifactError
from lm_pipeline.graph import Build, Node, numbers
from lm_pipeline.provenance import provenance
from lm_pipeline.specs import DatasetSpec
from lm_pipeline.specs.dataset import QualityModel
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.specs.pretrained import Pretrained
from lm_pipeline.stages import versions
from lm_pipeline.stages.pretrained import tokenizer_outside, write_tokenizer

if TYPE_CHECKING:
    import polars as pl

AGAINST = "against:"
"""How the roles of corpora begin that are searched for and are not part of the dataset."""
REPEATED = "repeated.parquet"
UNIT_FILES = ("units.parquet", "counts.parquet")

BASELINE_SPEC = {"num_bootstrap": 1000, "confidence": 0.95, "seed": 0}
"""How baselines are measured: as `specs.experiment.Evaluation` does by default."""


def dataset_nodes(name: str, spec: DatasetSpec) -> list[Node]:
    """The nodes of a dataset, all but its leaderboard (see `stages.leaderboard`)."""
    documents = {corpus: f"documents/{corpus}" for corpus in spec.corpora}
    whole = spec.model_dump(mode="json")
    against = {
        f"{AGAINST}{corpus}": f"documents/{corpus}"
        for corpus in (spec.decontamination.against if spec.decontamination else ())
    }
    model = {"quality_model": f"{name}/quality_model"} if spec.quality else {}

    def node(stage: str, inputs: Mapping[str, str], fields: Mapping[str, Any], write: Any) -> Node:
        return Node(
            asset=f"{name}/{stage}",
            stage=versions.STAGES[stage],
            inputs=inputs,
            spec=fields,
            write=write,
            noun="dataset",
            owner=name,
            mlflow_experiment=f"{name}/pipeline",
        )

    return [
        *_quality_node(spec, whole, node),
        node(
            "unique_documents",
            {**model, **documents},
            {
                "corpora": whole["corpora"],
                "duplicates": whole["duplicates"],
                "min_score": spec.quality.min_score if spec.quality else None,
            },
            lambda build: _write_unique(spec, build),
        ),
        node(
            "splits",
            {"unique": f"{name}/unique_documents", **documents, **against},
            {"dataset": name, "split": whole["split"], "decontamination": whole["decontamination"]},
            lambda build: _write_splits(name, spec, build),
        ),
        node(
            "statistics",
            {"unique": f"{name}/unique_documents", "splits": f"{name}/splits"},
            {"dataset": name},
            lambda build: _write_statistics(name, build),
        ),
        _tokenizer_node(name, spec, documents, node),
        node(
            "token_shards",
            {"tokenizer": f"{name}/tokenizer", "splits": f"{name}/splits", **documents},
            {},
            lambda build: _write_shards(spec, build),
        ),
        node("baselines", {"token_shards": f"{name}/token_shards"}, BASELINE_SPEC, _write_baselines),
    ]


def _documents(spec: DatasetSpec, build: Build) -> "pl.LazyFrame":
    """All kept documents of the dataset in canonical order: corpora as the spec names them, then file, then record."""
    return _read(build, spec.corpora)


def _read(build: Build, roles: Iterable[str]) -> "pl.LazyFrame":
    """The kept documents of some inputs, one corpus after another."""
    import polars as pl

    from lm_pipeline.corpus.documents import clean_parts, read_documents

    corpora = [build.inputs[role] for role in roles]
    return pl.concat(read_documents(clean_parts(corpus, build.store.open_parts(corpus))) for corpus in corpora)


def _tokenizer_node(name: str, spec: DatasetSpec, documents: Mapping[str, str], node: Callable[..., Node]) -> Node:
    """The tokenizer's node: trained on the training split, or that of a pretrained model, whose files are outside."""
    tokenizer = spec.tokenizer
    if isinstance(tokenizer, Pretrained):
        made = node("tokenizer", {}, {}, lambda build: write_tokenizer(tokenizer, build))
        return dataclasses.replace(made, outside=lambda home: tokenizer_outside(tokenizer, home))
    inputs = {"splits": f"{name}/splits", **documents}
    fields = {"tokenizer": tokenizer.model_dump(mode="json")}
    return node("tokenizer", inputs, fields, lambda build: _write_tokenizer(spec, tokenizer, build))


def _quality_node(spec: DatasetSpec, whole: Mapping[str, Any], node: Callable[..., Node]) -> list[Node]:
    """The quality model's node, if the dataset has one."""
    if spec.quality is None:
        return []
    quality = spec.quality
    examples = {f"documents_{corpus}": f"documents/{corpus}" for corpus in (*quality.good, *quality.bad)}
    fields = {key: whole["quality"][key] for key in ("good", "bad", "seed")}
    return [node("quality_model", examples, fields, lambda build: _write_quality_model(quality, build))]


def _write_quality_model(spec: QualityModel, build: Build) -> None:
    from lm_pipeline.corpus.quality_model import train_quality_model

    good, bad = (_read(build, [f"documents_{corpus}" for corpus in side]) for side in (spec.good, spec.bad))
    summary = train_quality_model(good, bad, spec, build.staging.path)
    build.staging.summary = summary
    build.log(f"area under the curve {summary['auc']:.4f} on {summary['held_out']:,} held-out documents")
    build.spool.params({"good": ", ".join(spec.good), "bad": ", ".join(spec.bad)})
    build.spool.metrics(0, numbers(summary))


def _write_unique(spec: DatasetSpec, build: Build) -> None:
    from lm_pipeline.corpus.documents import clean_parts
    from lm_pipeline.corpus.duplicates import Part, find_duplicates
    from lm_pipeline.corpus.repeated_text import UnitFiles, cut_repeated_text

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
    out = build.staging.path
    min_score = spec.quality.min_score if spec.quality else None
    summary = find_duplicates(parts, spec.duplicates, out, _previous_verdicts(spec, build), min_score)
    content = ["unique.parquet"]
    if spec.duplicates.repeated:
        summary |= cut_repeated_text(units, out)
        summary["kept"] -= summary["repeated"]
        content.append("repeated.parquet")
    # Signatures and verdicts are how duplicates were found, not what was found: they have no say in the digest.
    build.staging.content_digest = _files_digest(build, content)
    build.staging.summary = {"repeated": 0, **summary}
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

    from lm_pipeline.corpus.minhash import write_signatures

    fields = near.model_dump(mode="json", exclude={"threshold"}) if near else {}
    described = {"signatures": made(versions.SIGNATURES, fields, lambda out: write_signatures(documents, near, out))}
    if repeated:
        from lm_pipeline.corpus.repeated_text import write_units

        fields = repeated.model_dump(mode="json")
        described["units"] = made(versions.TEXT_UNITS, fields, lambda out: write_units(documents, repeated, out))
    if spec.quality:
        from lm_pipeline.corpus.quality_model import Scorer, write_scores

        model = build.inputs["quality_model"]
        scorer = functools.partial(Scorer.load, model.path("model.safetensors"))
        described["scores"] = made(
            versions.QUALITY_SCORES, {}, lambda out: write_scores(documents, scorer(), out), quality_model=model
        )
    return described


def _write_splits(name: str, spec: DatasetSpec, build: Build) -> None:
    """Split what is unique. The ledger, which only grows, has a ref of its own and goes into the lineage by digest."""
    from lm_pipeline.corpus.splits import split_documents

    unique = build.inputs["unique"]
    # A ref of its own for each seed: who tries another seed and comes back finds the splits that were decided.
    ledger_ref = f"{name}/split_ledger/{spec.split.seed}"
    lock = build.store.root / "work" / f"{ledger_ref}.lock"
    with locks.exclusive(lock, f"The split ledger of {name}", wait_seconds=600):
        ledger = _before_these_splits(_ledger(ledger_ref, build), build)
        summary = split_documents(
            unique.path("unique.parquet"),
            _as_cut(_documents(spec, build), unique),
            ledger.path("ledger.parquet") if ledger else None,
            spec.split,
            spec.decontamination,
            build.staging.path,
            against=_against(build),
        )
        grown = _grow_ledger(name, spec, ledger, build)
        build.store.set_ref(ledger_ref, grown)
    build.staging.parts = [grown]
    content = ["splits.parquet"]
    if REPEATED in build.inputs["unique"].manifest["files"]:  # whoever reads split documents applies the cuts
        shutil.copyfile(build.inputs["unique"].path(REPEATED), build.staging.path / REPEATED)
        content.append(REPEATED)
    build.staging.content_digest = _files_digest(build, content)
    build.staging.summary = summary
    build.log(f"train {summary['train']:,}, validation {summary['validation']:,}, test {summary['test']:,} documents")
    build.spool.metrics(0, numbers(summary))


def _against(build: Build) -> "pl.LazyFrame | None":
    """The documents of further corpora whose text must not be trained on."""
    roles = [role for role in build.inputs if role.startswith(AGAINST)]
    return _read(build, roles) if roles else None


def _as_cut(documents: "pl.LazyFrame", holder: Artifact) -> "pl.LazyFrame":
    """Documents without the text that repeats earlier ones, where the artifact says what that is."""
    from lm_pipeline.corpus.repeated_text import without_cuts

    return without_cuts(documents, holder.path(REPEATED)) if REPEATED in holder.manifest["files"] else documents


def _ledger(ref: str, build: Build) -> Artifact | None:
    """The ledger as it is now, verified; None only where there never was one.

    Raises:
        MissingArtifactError: there was one and it is gone: to begin anew would move documents between splits.
    """
    ledger, address = build.store.ref(ref), build.store.ref_address(ref)
    if ledger is None and address is not None:
        raise MissingArtifactError(
            f"The split ledger {'/'.join(address)} is gone: which side its documents were on is not known. Restore it"
            " from a backup; or set another split.seed, which begins a new ledger and new splits."
        )
    return ledger.verify() if ledger else None


def _before_these_splits(ledger: Artifact | None, build: Build) -> Artifact | None:
    """The ledger that the splits are decided from.

    A build of these very splits that was killed before it published them has left its ledger: it is made again from the
    one before, with the same bytes.
    """
    if ledger is None or ledger.manifest["spec"].get("splits") != build.staging.key:
        return ledger
    previous = ledger.inputs.get("previous")
    if previous is None:
        return None
    found = build.store.find(previous["stage"], previous["key"])
    return found.verify() if found else ledger


def _grow_ledger(name: str, spec: DatasetSpec, previous: Artifact | None, build: Build) -> Artifact:
    """Publish the ledger that a split has left in the staging folder."""
    started = time.time()
    written = build.staging.path / "ledger.parquet"

    def write(staging: Staging) -> None:
        written.rename(staging.path / "ledger.parquet")
        staging.provenance = provenance(started)

    digest = _file_digest(build, "ledger.parquet")
    content = {"digest": digest, "dataset": name, "seed": spec.split.seed, "splits": build.staging.key}
    grown, _ = build.store.build(versions.SPLIT_LEDGER, {"previous": previous} if previous else {}, content, write)
    written.unlink(missing_ok=True)
    return grown


def _split_documents(spec: DatasetSpec, build: Build, *columns: str) -> "Iterator[pl.DataFrame]":
    """Documents that have a split, with it, in canonical order, a bounded number at a time.

    Raises:
        InputError: the splits are not those of the documents as they are now.
    """
    import polars as pl

    from lm_pipeline.corpus.splits import with_splits

    splits = build.inputs["splits"]
    documents = _as_cut(_documents(spec, build), splits).select("document_id", *columns)
    for batch in with_splits(documents, splits.path("splits.parquet")):
        yield batch.filter(pl.col("split").is_not_null())


def _write_statistics(name: str, build: Build) -> None:
    """What people look at of a dataset: where documents went, what corpora share, duplicates side by side."""
    import polars as pl

    from lm_pipeline.reports.dataset_page import NUM_HITS, write_dataset_page

    unique, splits = build.inputs["unique"].summary, build.inputs["splits"]
    hits = pl.scan_parquet(splits.path("contamination.parquet"))
    first = hits.unique("document_id", keep="first", maintain_order=True).head(NUM_HITS).collect().to_dicts()
    write_dataset_page(name, unique, splits.summary, first, build.staging.path / "statistics.html")
    build.staging.volatile.add("statistics.html")
    build.staging.content_digest = digest_of([unique, splits.summary, first])
    build.staging.summary = {"documents_in": splits.summary["documents_in"]}
    build.spool.artifact(build.staging.path / "statistics.html")


def _write_tokenizer(spec: DatasetSpec, tokenizer: TokenizerSpec, build: Build) -> None:
    from lm_pipeline.tokenization.tokenizer import train_tokenizer

    batches = _split_documents(spec, build, "text")
    texts = (text for batch in batches for text in batch.filter(split="train")["text"].to_list())
    summary = train_tokenizer(texts, tokenizer, build.staging.path)
    build.staging.summary = summary
    build.staging.content_digest = summary["pieces_digest"]
    build.log(f"{summary['vocab_size']:,} pieces, {tokenizer.algorithm}")
    build.spool.params(tokenizer.model_dump(mode="json"))
    build.spool.metrics(0, numbers(summary))


def _write_shards(spec: DatasetSpec, build: Build) -> None:
    from lm_pipeline.tokenization.loading import load_tokenizer, tokenizer_file
    from lm_pipeline.tokenization.shards import write_shards

    tokenizer = load_tokenizer(tokenizer_file(build.inputs["tokenizer"]))
    documents = _split_documents(spec, build, "corpus", "file", "record", "byte_offset", "byte_length", "text")
    summary = write_shards(documents, tokenizer, build.staging.path)
    build.staging.summary = summary
    tokens = {split: entry["tokens"] for split, entry in summary["splits"].items()}
    build.log(", ".join(f"{split} {count:,} tokens" for split, count in tokens.items()))
    build.spool.metrics(0, {f"{split}_tokens": count for split, count in tokens.items()} | numbers(summary))


def _write_baselines(build: Build) -> None:
    from lm_pipeline.evaluation.baselines import evaluate_baselines

    shards = build.inputs["token_shards"]
    summary = evaluate_baselines(
        shards.files_dir, shards.summary["vocab_size"], out=build.staging.path, **BASELINE_SPEC
    )
    build.staging.summary = summary
    for baseline, measured in summary.items():
        build.log(f"{baseline}: {measured['overall']['bits_per_byte']:.3f} bits per byte")
        build.spool.metrics(0, {f"{baseline}.bits_per_byte": measured["overall"]["bits_per_byte"]})


def _file_digest(build: Build, name: str) -> str:
    return digest_file(build.staging.path / name)


def _files_digest(build: Build, names: Sequence[str]) -> str:
    return digest_of({name: _file_digest(build, name) for name in names})
