"""The tables of cleaned corpora: their columns, their bytes and the digest of their rows."""

import hashlib
from pathlib import Path
from typing import Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lm_pipeline.artifacts import canonical_json
from lm_pipeline.corpus.filters import REASON

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
        "language": pl.String,
        "language_confidence": pl.Float32,
        "profile": pl.String,
        "num_bytes": pl.Int64,  # of the text in UTF-8
        "num_characters": pl.Int64,
        "num_words": pl.Int64,  # as `corpus/filters.py` counts them
    }
)
REJECTED = pl.Schema({**DOCUMENTS, "reasons": pl.List(REASON)})
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
TABLES = {"documents": DOCUMENTS, "rejected": REJECTED, "quarantine": QUARANTINE}
"""A part's files (`<name>.parquet`) and their columns."""


class TableWriter:
    """A Parquet file that is written batch by batch, with the digest of its rows."""

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        arrow = _to_arrow(pl.DataFrame(schema=schema)).schema
        short = [name for name in ("corpus", "file", "language", "profile", "reason") if name in schema]
        # Everything that decides about bytes is said here; statistics of texts would repeat the texts.
        self._writer = pq.ParquetWriter(
            path,
            arrow,
            compression="zstd",
            compression_level=3,
            use_dictionary=short,  # pyright: ignore[reportArgumentType] - the stubs know booleans only
            write_statistics=["record"],  # pyright: ignore[reportArgumentType]
        )
        self._digest = 0
        self.num_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    @property
    def digest(self) -> str:
        """`documents.row_digests` of what was written."""
        return hex_digest(self._digest)

    def write(self, rows: pl.DataFrame) -> None:
        """Append one row group, if there is a row."""
        if len(rows):
            self._writer.write_table(_to_arrow(rows), row_group_size=len(rows))
            self._digest += digest_rows(rows)
            self.num_rows += len(rows)


def _to_arrow(rows: pl.DataFrame) -> pa.Table:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())


def digest_rows(rows: pl.DataFrame) -> int:
    """The sum of every row's SHA-256. No modulus yet: see `documents.row_digests`."""
    return sum(
        int.from_bytes(hashlib.sha256(canonical_json(row).encode()).digest()) for row in rows.iter_rows(named=True)
    )


def hex_digest(total: int) -> str:
    """A sum of row digests as 64 hex digits."""
    return f"{total % 2**256:064x}"
