"""Searches for evaluation text, in both ways in which it is given, and sentences to search."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lm_pipeline.corpus.contamination.decontamination import MAX_NAMED, TABLES, Findings, find_contamination
from lm_pipeline.specs.dataset import Decontamination

SPEC = Decontamination()

Text = str | tuple[str, str]
"""A document's text, or its text and its target."""


def search(
    evaluation: list[Text], training: list[Text], spec: Decontamination = SPEC
) -> tuple[list[dict], dict[str, Any]]:
    hits, _, counts = report(evaluation, training, spec)
    return hits, counts


def report(
    evaluation: list[Text], training: list[Text], spec: Decontamination = SPEC
) -> tuple[list[dict], list[dict], dict[str, Any]]:
    """Rows by pair, rows by evaluation document, and counts."""
    texts = [text if isinstance(text, tuple) else (text, None) for text in (*evaluation, *training)]
    ids = [f"e{row}" for row in range(len(evaluation))] + [f"t{row}" for row in range(len(training))]
    schema = dict.fromkeys(("document_id", "corpus", "text", "target"), pl.String)
    columns = {"document_id": ids, "corpus": ["c"] * len(texts)}
    columns |= {"text": [text for text, _ in texts], "target": [target for _, target in texts]}
    frame = pl.DataFrame(columns, schema=schema).lazy()
    held_out = np.arange(len(texts)) < len(evaluation)
    hits, items, contaminated, counts = find(frame, held_out, spec)
    # Evaluation text of another corpus is searched for in the same way.
    further = frame.head(len(evaluation)).with_columns(corpus=pl.lit("benchmark"))
    outside = frame.slice(len(evaluation))
    named, also_items, also_contaminated, also_counted = find(outside, np.zeros(len(training), np.bool_), spec, further)
    assert named.equals(hits.with_columns(evaluation_corpus=pl.lit("benchmark", pl.String)))
    assert also_items.equals(items.with_columns(corpus=pl.lit("benchmark", pl.String)))
    assert also_contaminated.tolist() == contaminated[len(evaluation) :].tolist()
    assert also_counted == counts
    assert set(hits["document_id"]) == {identifier for identifier, hit in zip(ids, contaminated, strict=True) if hit}
    assert ((hits["overlap"] > 0) & (hits["overlap"] <= 1)).all()
    # Both tables count the same pairs, of which each training document names MAX_NAMED at most.
    by_document = hits.group_by("document_id").agg(pl.len(), pl.col("num_evaluation_documents").first())
    assert (by_document["len"] == by_document["num_evaluation_documents"].clip(upper_bound=MAX_NAMED)).all()
    assert items["num_documents"].sum() == by_document["num_evaluation_documents"].sum()
    assert items["document_id"].to_list() == ids[: len(evaluation)]
    assert (items["num_documents"] > 0).sum() == counts["repeated_items"]
    return hits.to_dicts(), items.to_dicts(), counts


def find(
    documents: pl.LazyFrame, held_out: np.ndarray, spec: Decontamination, against: pl.LazyFrame | None = None
) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        with Findings.written(held_out, against, Path(folder)) as findings:
            counts, _ = find_contamination(documents, held_out, ~held_out, spec, findings, against)
        tables = [pl.read_parquet(Path(folder) / f"{name}.parquet") for name in TABLES]
    assert [table.schema for table in tables] == list(TABLES.values())
    return *tables, findings.contaminated, counts


def sentence(generator: np.random.Generator, num: int, language: str) -> str:
    numbers = generator.integers(0, 3000, num)
    if language == "zh":
        return "".join(chr(0x4E00 + number) for number in numbers) + "。"
    return " ".join(f"w{number}" for number in numbers) + "."
