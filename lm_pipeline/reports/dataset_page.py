"""The page of a dataset: where its documents went, what corpora share, duplicates and contamination in examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_pipeline.reports.blocks import Block, Column, Details, Paragraph, Table
from lm_pipeline.reports.corpus_page import PageSection, first_words, write_page
from lm_pipeline.reports.formatting import decimal, integer
from lm_pipeline.reports.sections.funnel import contributions, dataset_funnel, shared_text

NUM_HITS = 20
"""Contaminated documents that the page shows, and evaluation documents."""


def write_dataset_page(
    name: str,
    unique: Mapping[str, Any],
    splits: Mapping[str, Any],
    hits: Sequence[Mapping[str, Any]],
    items: Sequence[Mapping[str, Any]],
    out: Path,
) -> None:
    """Write the page; it loads nothing, runs no script and escapes all text.

    Args:
        name: the dataset's.
        unique: the summary of `unique_documents`.
        splits: the summary of `splits`.
        hits: rows of `contamination.parquet`, one a document.
        items: rows of `evaluation_documents.parquet`, those that are repeated most often.
        out: the file.
    """
    sections = [
        PageSection("funnel", "Where every document went", dataset_funnel(name, dict(splits), [])),
        PageSection("splits", "What each corpus gives", contributions(dict(splits))),
        PageSection("shared", "What corpora share", shared_text(dict(unique))),
        PageSection("duplicates", "Duplicates, removed beside kept", _duplicates(unique)),
        PageSection(
            "contamination",
            "Training text that repeats evaluation text",
            [*_contamination(hits, splits), *_repeated(items, splits)],
        ),
    ]
    write_page(name, "Dataset", [section for section in sections if section.blocks], out)


def _duplicates(unique: Mapping[str, Any]) -> list[Block]:
    examples = unique.get("examples", [])
    if not examples:
        return []
    clusters = f"{integer(unique['num_clusters'])} clusters; the largest has {integer(unique['largest_cluster'])}."
    return [Paragraph(clusters, "aside"), *(_pair(example) for example in examples)]


def _pair(example: Mapping[str, Any]) -> Details:
    hint = f"{example['kind']}, similarity {decimal(example['similarity'])}"
    facts = (
        (f"removed, of {example['corpus']}", f"{example['document_id']}\n{example['excerpt']}"),
        (f"kept, of {example['kept_corpus']}", f"{example['kept_document_id']}\n{example['kept_excerpt']}"),
    )
    return Details(first_words(example["excerpt"]), hint, facts)


def _contamination(hits: Sequence[Mapping[str, Any]], splits: Mapping[str, Any]) -> list[Block]:
    if not hits:
        return []
    columns = (
        Column("Training document"),
        Column("Repeats"),
        Column("Of", short=True),
        Column("Overlap", numeric=True),
        Column("What is the same"),
    )
    rows = tuple(
        (
            hit["document_id"],
            _named(hit),
            hit["evaluation_corpus"],
            decimal(hit["overlap"], 2),
            first_words(hit["ngram"]),
        )
        for hit in hits
    )
    caption = f"{len(hits)} of {integer(splits['contaminated'])} contaminated documents"
    return [Table(caption, columns, rows, code=frozenset({"Training document", "Repeats"}))]


def _named(hit: Mapping[str, Any]) -> str:
    others = hit["num_evaluation_documents"] - 1
    return hit["evaluation_document_id"] + (f" and {integer(others)} more" if others else "")


def _repeated(items: Sequence[Mapping[str, Any]], splits: Mapping[str, Any]) -> list[Block]:
    searched = splits.get("decontamination")
    if not items or not searched:
        return []
    columns = (
        Column("Evaluation document"),
        Column("Of", short=True),
        Column("Training documents", numeric=True),
        Column("Largest overlap", numeric=True),
        Column("The first of them"),
    )
    rows = tuple(
        (
            item["document_id"],
            item["corpus"],
            integer(item["num_documents"]),
            decimal(item["max_overlap"], 2),
            item["first_document_id"],
        )
        for item in items
    )
    caption = (
        f"{integer(searched['repeated_items'])} of {integer(searched['evaluation_documents'])} evaluation documents are"
        f" repeated; {integer(searched['unsearchable_items'])} cannot be found"
    )
    return [Table(caption, columns, rows, code=frozenset({"Evaluation document", "The first of them"}))]
