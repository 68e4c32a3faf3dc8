"""Dataset nodes: `<dataset>/unique_documents`, `splits`, `tokenizer`, `token_shards` and `baselines`."""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lm_pipeline import locks
from lm_pipeline.artifacts import Artifact, Staging, digest_file
from lm_pipeline.errors import MissingArtifactError
from lm_pipeline.graph import Build, Node, numbers
from lm_pipeline.provenance import provenance
from lm_pipeline.specs import DatasetSpec
from lm_pipeline.specs.dataset import NearDuplicates
from lm_pipeline.stages import versions

if TYPE_CHECKING:
    import polars as pl

BASELINE_SPEC = {"num_bootstrap": 1000, "confidence": 0.95, "seed": 0}
"""How baselines are measured: as `specs.experiment.Evaluation` does by default."""


def dataset_nodes(name: str, spec: DatasetSpec) -> list[Node]:
    """The nodes of a dataset, all but its leaderboard (see `stages.leaderboard`)."""
    documents = {corpus: f"documents/{corpus}" for corpus in spec.corpora}
    whole = spec.model_dump(mode="json")

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
        node(
            "unique_documents",
            documents,
            {"corpora": whole["corpora"], "duplicates": whole["duplicates"]},
            lambda build: _write_unique(spec, build),
        ),
        node(
            "splits",
            {"unique": f"{name}/unique_documents", **documents},
            {"dataset": name, "split": whole["split"], "decontamination": whole["decontamination"]},
            lambda build: _write_splits(name, spec, build),
        ),
        node(
            "tokenizer",
            {"splits": f"{name}/splits", **documents},
            {"tokenizer": whole["tokenizer"]},
            lambda build: _write_tokenizer(spec, build),
        ),
        node(
            "token_shards",
            {"tokenizer": f"{name}/tokenizer", "splits": f"{name}/splits", **documents},
            {},
            lambda build: _write_shards(spec, build),
        ),
        node("baselines", {"token_shards": f"{name}/token_shards"}, BASELINE_SPEC, _write_baselines),
    ]


def _corpora(spec: DatasetSpec, build: Build) -> dict[str, list[Artifact]]:
    """The parts of each corpus, in the spec's order."""
    return {corpus: build.store.open_parts(build.inputs[corpus]) for corpus in spec.corpora}


def _documents(spec: DatasetSpec, build: Build) -> "pl.LazyFrame":
    """All kept documents of the dataset in canonical order: corpora as the spec names them, then file, then record."""
    import polars as pl

    from lm_pipeline.corpus.documents import clean_parts, read_documents

    return pl.concat(
        read_documents(clean_parts(build.inputs[corpus], parts)) for corpus, parts in _corpora(spec, build).items()
    )


def _write_unique(spec: DatasetSpec, build: Build) -> None:
    from lm_pipeline.corpus.duplicates import find_duplicates

    signatures = []
    if spec.duplicates.near:
        for parts in _corpora(spec, build).values():
            signatures += [_signatures(part, spec.duplicates.near, build) for part in parts]
    build.staging.parts = signatures
    summary = find_duplicates(
        _documents(spec, build),
        [item.path("signatures.parquet") for item in signatures],
        spec.duplicates,
        build.staging.path,
    )
    # The signatures are how duplicates were found, not what was found: they have no say in the content's digest.
    build.staging.content_digest = _file_digest(build, "unique.parquet")
    build.staging.summary = summary
    build.log(
        f"{summary['kept']:,} of {summary['documents_in']:,} kept; {summary['exact']:,} exact, {summary['near']:,} near"
    )
    build.spool.metrics(0, numbers(summary))


def _signatures(part: Artifact, spec: NearDuplicates, build: Build) -> Artifact:
    from lm_pipeline.corpus.minhash import write_signatures

    started = time.time()

    def write(staging: Staging) -> None:
        staging.summary = write_signatures(part.path("documents.parquet"), spec, staging.path)
        staging.provenance = provenance(started)

    fields = spec.model_dump(mode="json", exclude={"threshold"})
    return build.store.build(versions.SIGNATURES, {"part": part}, fields, write, wait_seconds=600)[0]


def _write_splits(name: str, spec: DatasetSpec, build: Build) -> None:
    """Split what is unique. The ledger, which only grows, has a ref of its own and goes into the lineage by digest."""
    from lm_pipeline.corpus.splits import split_documents

    # A ref of its own for each seed: who tries another seed and comes back finds the splits that were decided.
    ledger_ref = f"{name}/split_ledger/{spec.split.seed}"
    lock = build.store.root / "work" / f"{ledger_ref}.lock"
    with locks.exclusive(lock, f"The split ledger of {name}", wait_seconds=600):
        ledger = _ledger(ledger_ref, build)
        summary = split_documents(
            build.inputs["unique"].path("unique.parquet"),
            _documents(spec, build),
            ledger.path("ledger.parquet") if ledger else None,
            spec.split,
            spec.decontamination,
            build.staging.path,
        )
        grown = _grow_ledger(name, spec, ledger, build)
        build.store.set_ref(ledger_ref, grown)
    build.staging.parts = [grown]
    build.staging.content_digest = _file_digest(build, "splits.parquet")
    build.staging.summary = summary
    build.log(f"train {summary['train']:,}, validation {summary['validation']:,}, test {summary['test']:,} documents")
    build.spool.metrics(0, numbers(summary))


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


def _grow_ledger(name: str, spec: DatasetSpec, previous: Artifact | None, build: Build) -> Artifact:
    """Publish the ledger that a split has left in the staging folder."""
    started = time.time()
    written = build.staging.path / "ledger.parquet"

    def write(staging: Staging) -> None:
        written.rename(staging.path / "ledger.parquet")
        staging.provenance = provenance(started)

    content = {"digest": _file_digest(build, "ledger.parquet"), "dataset": name, "seed": spec.split.seed}
    grown, _ = build.store.build(versions.SPLIT_LEDGER, {"previous": previous} if previous else {}, content, write)
    written.unlink(missing_ok=True)
    return grown


def _split_documents(spec: DatasetSpec, build: Build) -> "pl.LazyFrame":
    """Documents that have a split, with it, in canonical order."""
    import polars as pl

    splits = pl.scan_parquet(build.inputs["splits"].path("splits.parquet")).select("document_id", "split")
    return (
        _documents(spec, build)
        .join(splits, on="document_id", how="inner", maintain_order="left")
        .filter(pl.col("split").is_not_null())
    )


def _write_tokenizer(spec: DatasetSpec, build: Build) -> None:
    import polars as pl

    from lm_pipeline.tokenization.tokenizer import train_tokenizer

    texts = _split_documents(spec, build).filter(pl.col("split") == "train").select("text").collect()["text"]
    summary = train_tokenizer(texts.to_list(), spec.tokenizer, build.staging.path)
    build.staging.summary = summary
    build.staging.content_digest = summary["pieces_digest"]
    build.log(f"{summary['vocab_size']:,} pieces, {spec.tokenizer.algorithm}")
    build.spool.params(spec.tokenizer.model_dump(mode="json"))
    build.spool.metrics(0, numbers(summary))


def _write_shards(spec: DatasetSpec, build: Build) -> None:
    from lm_pipeline.tokenization.shards import write_shards
    from lm_pipeline.tokenization.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(build.inputs["tokenizer"].path("tokenizer.model"))
    frame = _split_documents(spec, build).collect()
    summary = write_shards(_slices(frame), tokenizer, build.staging.path)
    build.staging.summary = summary
    tokens = {split: entry["tokens"] for split, entry in summary["splits"].items()}
    build.log(", ".join(f"{split} {count:,} tokens" for split, count in tokens.items()))
    build.spool.metrics(0, {f"{split}_tokens": count for split, count in tokens.items()} | numbers(summary))


def _slices(frame: "pl.DataFrame", size: int = 4096) -> "Iterator[pl.DataFrame]":
    yield from frame.iter_slices(size)


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
