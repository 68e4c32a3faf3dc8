"""Dataset nodes: `<dataset>/unique_documents`, `splits`, `statistics`, `tokenizer`, `token_shards` and `baselines`."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lm_pipeline.allocator import return_memory
from lm_pipeline.digests import digest_of
from lm_pipeline.graph import Build, Node, numbers
from lm_pipeline.specs import DatasetSpec
from lm_pipeline.specs.dataset import QualityModel
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.specs.pretrained import Pretrained
from lm_pipeline.stages import versions
from lm_pipeline.stages.dataset_documents import documents_with_splits, read_corpora
from lm_pipeline.stages.pretrained import tokenizer_outside, write_tokenizer
from lm_pipeline.stages.splits import AGAINST, rejected_evaluation, write_splits
from lm_pipeline.stages.unique_documents import parts_of, write_unique

BASELINE_SPEC = {"num_bootstrap": 1000, "confidence": 0.95, "seed": 0}
"""How baselines are measured: as `specs.experiment.Evaluation` does by default."""

_STRINGS_BYTES = 1 << 20
"""Text that the tokenizer's sample is given at once as strings, which have up to four bytes a character."""


def dataset_nodes(name: str, spec: DatasetSpec) -> list[Node]:
    """The nodes of a dataset, all but its leaderboard (see `stages.leaderboard`)."""
    documents = {corpus: f"documents/{corpus}" for corpus in spec.corpora}
    whole = spec.model_dump(mode="json")
    evaluation = spec.decontamination.against if spec.decontamination else ()
    against = {f"{AGAINST}{corpus}": f"documents/{corpus}" for corpus in evaluation}
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
        dataclasses.replace(
            node(
                "unique_documents",
                {**model, **documents},
                {
                    "corpora": whole["corpora"],
                    "duplicates": whole["duplicates"],
                    "min_score": spec.quality.min_score if spec.quality else None,
                },
                lambda build: write_unique(spec, build),
            ),
            stage=dataclasses.replace(versions.UNIQUE_DOCUMENTS, parts=parts_of(spec)),
        ),
        dataclasses.replace(
            node(
                "splits",
                {"unique": f"{name}/unique_documents", **documents, **against},
                {"dataset": name, "split": whole["split"], "decontamination": whole["decontamination"]},
                lambda build: write_splits(name, spec, build),
            ),
            outside=(lambda home: rejected_evaluation(evaluation, home)) if evaluation else None,
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
    from lm_pipeline.corpus.quality.quality_model import train_quality_model

    good, bad = (read_corpora(build, [f"documents_{corpus}" for corpus in side]) for side in (spec.good, spec.bad))
    summary = train_quality_model(good, bad, spec, build.staging.path)
    build.staging.summary = summary
    build.log(f"area under the curve {summary['auc']:.4f} on {summary['held_out']:,} held-out documents")
    build.spool.params({"good": ", ".join(spec.good), "bad": ", ".join(spec.bad)})
    build.spool.metrics(0, numbers(summary))


def _write_statistics(name: str, build: Build) -> None:
    """What people look at of a dataset: where documents went, what corpora share, duplicates side by side."""
    import polars as pl

    from lm_pipeline.reports.dataset_page import NUM_HITS, write_dataset_page

    unique, splits = build.inputs["unique"].summary, build.inputs["splits"]
    first = first_hits(splits.path("contamination.parquet"), NUM_HITS)
    repeated = pl.scan_parquet(splits.path("evaluation_documents.parquet")).filter(pl.col("num_documents") > 0)
    most = repeated.sort("num_documents", descending=True, maintain_order=True).head(NUM_HITS).collect().to_dicts()
    write_dataset_page(name, unique, splits.summary, first, most, build.staging.path / "statistics.html")
    build.staging.volatile.add("statistics.html")
    build.staging.content_digest = digest_of([unique, splits.summary, first, most])
    build.staging.summary = {"documents_in": splits.summary["documents_in"]}
    build.spool.artifact(build.staging.path / "statistics.html")


def first_hits(contamination: Path, num: int) -> list[dict[str, Any]]:
    """What the first `num` contaminated documents repeat first: a row each of `contamination.parquet`.

    A document's rows, `MAX_NAMED` at most, lie together, so the others of what may be hundreds of millions aren't read.
    """
    import polars as pl

    from lm_pipeline.corpus.contamination.decontamination import MAX_NAMED

    rows = pl.scan_parquet(contamination).head(num * MAX_NAMED)
    return rows.unique("document_id", keep="first", maintain_order=True).head(num).collect().to_dicts()


def _write_tokenizer(spec: DatasetSpec, tokenizer: TokenizerSpec, build: Build) -> None:
    from lm_pipeline.corpus.tables import slices_of_bytes
    from lm_pipeline.tokenization.tokenizer import train_tokenizer

    return_memory()
    columns = (batch.filter(split="train")["text"] for batch in documents_with_splits(spec, build, "text"))
    slices = (column[own] for column in columns for own in slices_of_bytes(column, _STRINGS_BYTES))
    texts = (text for some in slices for text in some.to_list())
    summary = train_tokenizer(texts, tokenizer, build.staging.path)
    build.staging.summary = summary
    build.staging.content_digest = summary["pieces_digest"]
    build.log(f"{summary['vocab_size']:,} pieces, {tokenizer.algorithm}")
    build.spool.params(tokenizer.model_dump(mode="json"))
    build.spool.metrics(0, numbers(summary))


def _write_shards(spec: DatasetSpec, build: Build) -> None:
    from lm_pipeline.tokenization.loading import load_tokenizer, tokenizer_file
    from lm_pipeline.tokenization.shard_writing import write_shards

    return_memory()
    tokenizer = load_tokenizer(tokenizer_file(build.inputs["tokenizer"]))
    documents = documents_with_splits(spec, build, "corpus", "file", "record", "byte_offset", "byte_length", "text")
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
