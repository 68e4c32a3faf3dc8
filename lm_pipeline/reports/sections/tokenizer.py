"""The tokenizer and how densely it writes each split."""

from typing import Any

from lm_pipeline.reports.blocks import Block, Column, Table
from lm_pipeline.reports.data import ReportData
from lm_pipeline.reports.formatting import NOTHING, decimal, integer, plain, share, size

SPLITS = ("train", "validation", "test")
TITLES = {
    "algorithm": "Algorithm",
    "vocab_size": "Vocabulary, in pieces",
    "character_coverage": "Character coverage",
    "training_bytes": "Text it was trained on",
    "num_used_pieces": "Pieces that occur in this dataset",
    "bytes_per_token": "Bytes per token of text",
    "byte_fallback_fraction": "Tokens that spell a rare character by its bytes",
    "pieces_digest": "Digest of its pieces",
    "round_trip_failures": "Documents changed by a round trip",
    "dtype": "Type of a stored token",
}


def tokenizer(data: ReportData) -> list[Block]:
    """Facts of the tokenizer, and tokens per split and corpus."""
    facts = {**data.tokenizer, **data.shards}
    rows = tuple((title, _fact(key, facts[key])) for key, title in TITLES.items() if key in facts)
    splits = data.shards.get("splits", {})
    counts = [(split.capitalize(), *_counts(splits[split])) for split in SPLITS if split in splits]
    counts += [
        (f"{split.capitalize()}, {corpus}", *_counts(parts[split]))
        for corpus, parts in sorted(data.shards.get("per_corpus", {}).items())
        for split in SPLITS
        if len(data.shards["per_corpus"]) > 1 and isinstance(parts.get(split), dict)
    ]
    columns = (
        Column("Split"),
        Column("Tokens", numeric=True),
        Column("Text", numeric=True),
        Column("Bytes per token", numeric=True),
        Column("Documents", numeric=True),
    )
    caption = "Tokens of each split, the beginning and end of every document included"
    pieces = _pieces(facts)
    return [
        Table("The tokenizer", (Column("Property"), Column("Value")), rows),
        *([Table("Examples of its pieces", (Column("Which"), Column("Pieces")), pieces)] if pieces else []),
        Table(caption, columns, tuple(counts)),
    ]


def _pieces(facts: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    kinds = {
        "Most frequent": [item["piece"] for item in facts.get("top_pieces", [])],
        "Longest": facts.get("longest_pieces", []),
    }
    return tuple((title, " · ".join(map(_visible, pieces))) for title, pieces in kinds.items() if pieces)


def _visible(piece: str) -> str:
    r"""A piece with its white space drawn.

    >>> _visible(" the"), _visible("\n")
    ('▁the', '↵')
    """
    return piece.replace(" ", "▁").replace("\n", "↵").replace("\t", "⇥")


def _counts(part: dict[str, Any]) -> tuple[str, ...]:
    tokens, num_bytes = part.get("tokens"), part.get("bytes")
    density = decimal(num_bytes / tokens, 2) if tokens and num_bytes is not None else NOTHING
    return integer(tokens), size(num_bytes), density, integer(part.get("documents"))


def _fact(key: str, value: Any) -> str:
    if key == "pieces_digest":
        return str(value)[:16]
    if key == "bytes_per_token":
        return decimal(value, 2)
    if key == "byte_fallback_fraction":
        return share(value, 1)
    return size(value) if key == "training_bytes" else plain(value)
