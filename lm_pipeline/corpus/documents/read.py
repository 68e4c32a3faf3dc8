"""Documents of many parts in one order, which does not depend on how the corpus was cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lm_pipeline.artifacts import Artifact
from lm_pipeline.corpus.document_tables import DECISIONS, DOCUMENTS, STATISTICS
from lm_pipeline.corpus.raw_files import raw_path


@dataclass(frozen=True)
class CleanPart:
    """The files of one part that stand row by row: what documents say, what was measured and what was decided."""

    documents: Path
    statistics: Path
    decisions: Path


def clean_parts(corpus: Artifact, parts: Sequence[Artifact]) -> list[CleanPart]:
    """The files of a corpus's parts.

    Args:
        corpus: the artifact `documents/<corpus>`.
        parts: what it is made up of, in its order.
    """
    return [
        CleanPart(part.path("documents.parquet"), part.path("statistics.parquet"), corpus.path(decisions_file(number)))
        for number, part in enumerate(parts)
    ]


def decisions_file(number: int) -> str:
    """Where the artifact of a corpus has the decisions on its part with this number."""
    return f"decisions/{number:05d}.parquet"


def read_documents(parts: Sequence[CleanPart]) -> pl.LazyFrame:
    """Kept documents of several parts in canonical order: by raw file, then by place in it.

    Rows are not sorted but read in the right order: inside a part the rows of a file are together and ascend, so
    only which part goes on where has to be known. Memory stays bounded when the frame is read in batches.

    Returns:
        The columns of `DOCUMENTS` and `STATISTICS`; without parts, no row.
    """
    return _side_by_side(parts).filter("kept").select(*DOCUMENTS, *STATISTICS)


def read_rejected(parts: Sequence[CleanPart]) -> pl.LazyFrame:
    """Rejected documents of several parts, in canonical order: as `read_documents`, with their `reasons`."""
    return _side_by_side(parts).filter(~pl.col("kept")).select(*DOCUMENTS, *STATISTICS, "reasons")


def read_kept_and_rejected(parts: Sequence[CleanPart]) -> pl.LazyFrame:
    """All documents of several parts, whatever was decided on them, in canonical order: as `read_documents`."""
    return _side_by_side(parts).select(*DOCUMENTS, *STATISTICS)


def _side_by_side(parts: Sequence[CleanPart]) -> pl.LazyFrame:
    schema = pl.Schema({**DOCUMENTS, **STATISTICS, **DECISIONS})
    return in_order([(part.documents, part.statistics, part.decisions) for part in parts], schema)


def in_order(parts: Sequence[Sequence[Path]], schema: pl.Schema) -> pl.LazyFrame:
    """All rows of several parts in canonical order.

    Args:
        parts: of each part, the Parquet files that stand row by row. The first has `file` and `record`, and no two
            have columns of the same name.
        schema: the columns there are where there is no row.
    """
    pieces = canonical_pieces([part[0] for part in parts])
    if not pieces:
        return pl.LazyFrame(schema=schema)
    return pl.concat(
        pl.concat([pl.scan_parquet(path).slice(row, num_rows) for path in parts[number]], how="horizontal")
        for number, row, num_rows in pieces
    )


def canonical_pieces(parts: Sequence[Path]) -> list[tuple[int, int, int]]:
    """In which order the rows of several parts are read: by raw file, then by place in it.

    Args:
        parts: Parquet files with `file` and `record`.

    Returns:
        Pieces: the number of the part, its first row and how many rows are read from there.
    """
    runs = []  # (file, first record, part, first row, number of rows)
    for number, path in enumerate(parts):
        # A run ends where another file begins, or where a later part of the same file comes before an earlier one.
        files = pl.read_parquet(path, columns=["file", "record"]).with_row_index("row")
        # An archive is in one part as a whole, its members in the archive's own order.
        raw = pl.col("file").str.splitn("//", 2).struct[0]
        earlier = pl.col("file").eq(pl.col("file").shift(1)) & pl.col("record").lt(pl.col("record").shift(1))
        jump = raw.ne(raw.shift(1)) | earlier
        grouped = files.group_by(jump.fill_null(value=False).cum_sum().alias("run"), maintain_order=True).agg(
            pl.first("file", "record", "row"), num_rows=pl.len()
        )
        runs += [(raw_path(file), record, number, row, n) for _, file, record, row, n in grouped.iter_rows()]
    pieces: list[tuple[int, int, int]] = []
    for _, _, number, row, num_rows in sorted(runs, key=lambda run: run[:2]):
        if pieces and pieces[-1][0] == number and sum(pieces[-1][1:]) == row:
            pieces[-1] = (number, pieces[-1][1], pieces[-1][2] + num_rows)
        else:
            pieces.append((number, row, num_rows))
    return pieces
