"""The tables of cleaned corpora: their columns, their bytes and the digest of their rows.

What a document says and what was measured on it stand row by row in two files, `documents.parquet` and
`statistics.parquet`. What becomes of it, which depends on thresholds, stands in a third one, `decisions`: to decide
again is to read the second and to write the third, whatever the texts weigh.
"""

import hashlib
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm_pipeline.corpus.personal_data.redaction import COUNTS as PERSONAL_DATA
from lm_pipeline.corpus.quality.url_rules import COLUMNS as URLS
from lm_pipeline.corpus.tables import slices_of_bytes

TOP_NGRAMS = (2, 3, 4)
"""Lengths, in words, of the n-grams of which the most frequent one is measured."""
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
"""Lengths of those whose repetitions are measured."""

DOCUMENTS = pl.Schema(
    {
        "document_id": pl.String,  # 32 hex digits, of corpus, file and record
        "corpus": pl.String,
        "file": pl.String,  # path in the listing of raw files
        "record": pl.Int64,
        "byte_offset": pl.Int64,
        "byte_length": pl.Int64,
        "text": pl.String,
        "target": pl.String,
        "label": pl.String,
        "group": pl.String,
        "title": pl.String,
        "url": pl.String,
        "date": pl.String,
    }
)
"""Every record that could be read, kept or not."""

REMOVAL = pl.Struct({"rule": pl.String, "count": pl.Int64, "characters": pl.Int64})
"""What a rule of pages or lines took out of a document: how many lines (or citations), and their characters."""

STATISTICS = pl.Schema(
    {
        "language": pl.String,
        "language_confidence": pl.Float32,
        "chinese_script": pl.String,  # as it was found, before any conversion
        "profile": pl.String,
        "num_bytes": pl.Int64,  # of the text in UTF-8
        "num_characters": pl.Int64,
        "num_words": pl.Int64,  # as `corpus/quality/filters.py` counts them
        "num_lines": pl.Int64,  # without blank ones
        "num_paragraphs": pl.Int64,
        "num_sentences": pl.Int64,
        # Ratios and fractions; null where there is nothing to divide by.
        "mean_word_length": pl.Float32,
        "hash_ratio": pl.Float32,
        "ellipsis_ratio": pl.Float32,
        "bullet_lines": pl.Float32,
        "ellipsis_lines": pl.Float32,
        "alpha_words": pl.Float32,
        "num_stop_words": pl.Int64,
        "duplicate_lines": pl.Float32,
        "duplicate_paragraphs": pl.Float32,
        "duplicate_line_characters": pl.Float32,
        "duplicate_paragraph_characters": pl.Float32,
        **{f"top_{n}gram": pl.Float32 for n in TOP_NGRAMS},
        **{f"duplicate_{n}grams": pl.Float32 for n in DUPLICATE_NGRAMS},
        "num_lorem_ipsum": pl.Int64,
        "num_curly_brackets": pl.Int64,
        "punctuated_lines": pl.Float32,
        "short_lines": pl.Float32,
        "repeated_line_characters": pl.Float32,
        "newline_ratio": pl.Float32,
        "num_removed_characters": pl.Int64,  # by rules of pages and lines
        "removals": pl.List(REMOVAL),
        **PERSONAL_DATA,
        "num_blocklist_hits": pl.Int64,
        **URLS,
    }
)
"""What was measured on each of them: what rules decide by."""

ROW_DIGEST = "row_digest"
"""The last column of `statistics.parquet`: SHA-256 (32 bytes) of the row of both tables, so that any choice of
documents has a digest that nobody needs to read their texts for."""

REASON = pl.Struct({"rule": pl.String, "value": pl.Float64, "threshold": pl.Float64})
"""Why a document was rejected: the rule, what it measured, what it allows."""

DECISIONS = pl.Schema({"kept": pl.Boolean, "reasons": pl.List(REASON)})
"""What becomes of each of them."""

QUARANTINE = pl.Schema(
    {
        "corpus": pl.String,
        "file": pl.String,
        "record": pl.Int64,
        "byte_offset": pl.Int64,
        "reason": pl.String,
        "detail": pl.String,
        "excerpt": pl.String,
    }
)
"""Every record that could not be read."""

TABLES = {
    "documents": DOCUMENTS,
    "statistics": pl.Schema({**STATISTICS, ROW_DIGEST: pl.Binary}),
    "quarantine": QUARANTINE,
}
"""A part's files (`<name>.parquet`) and their columns."""

_REPEATING = {
    **{name: (name,) for name in ("corpus", "file", "language", "chinese_script", "profile", "reason")},
    "reasons": ("reasons.list.element.rule", "reasons.list.element.threshold"),
    "removals": ("removals.list.element.rule",),
}
"""By column, the paths of what is stored once a value."""


_GROUP_BYTES = 1 << 20
"""Texts in a row group: who wants one document's text unpacks what stands around it, and no more."""


class TableWriter:
    """A Parquet file that is written batch by batch."""

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        arrow = _to_arrow(pl.DataFrame(schema=schema)).schema
        repeating = [path for name, paths in _REPEATING.items() if name in schema for path in paths]
        # Everything that decides about bytes is said here; statistics of texts would repeat the texts.
        self._writer = pq.ParquetWriter(
            path,
            arrow,
            compression="zstd",
            compression_level=3,
            use_dictionary=repeating,  # pyright: ignore[reportArgumentType] - the stubs know booleans only
            write_statistics=["record"],  # pyright: ignore[reportArgumentType]
        )
        self._schema = schema
        self.num_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, rows: pl.DataFrame) -> None:
        """Append rows: a row group, or as many as their texts fill. Columns that the table lacks are left out."""
        rows = rows.select(self._schema.names())
        table = _to_arrow(rows)
        has_texts = self._schema.get("text") == pl.String
        for own in slices_of_bytes(rows["text"], _GROUP_BYTES) if has_texts else [slice(len(rows))]:
            if len(group := table[own]):
                self._writer.write_table(group, row_group_size=len(group))
        self.num_rows += len(rows)


def _to_arrow(rows: pl.DataFrame) -> pa.Table:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())


def row_digests(rows: pl.DataFrame) -> pl.Series:
    """The SHA-256 of each row as JSON, its columns in their order (Binary, 32 bytes each)."""
    encoded = rows.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    return pl.Series(ROW_DIGEST, [hashlib.sha256(row.encode()).digest() for row in encoded], dtype=pl.Binary)


def sum_digests(digests: pl.Series) -> int:
    """The sum of digests modulo 2^256: the same for any order, and what is digested in parts is added up."""
    limbs = _limbs(digests).sum(axis=0, dtype=np.uint64)  # 32-bit limbs: 2^32 rows fit
    return sum(int(limb) << (32 * place) for place, limb in enumerate(limbs)) % 2**256


def _limbs(digests: pl.Series) -> NDArray[np.uint32]:
    array = digests.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    if len(array) == 0 or data is None:
        return np.zeros((0, 8), np.uint32)
    begins = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    assert begins[-1] - begins[0] == 32 * len(array), "a digest has 32 bytes"
    return np.frombuffer(data, np.dtype("<u4"), count=8 * len(array), offset=int(begins[0])).reshape(-1, 8)


def hex_digest(total: int) -> str:
    """A sum of digests as 64 hex digits."""
    return f"{total % 2**256:064x}"
