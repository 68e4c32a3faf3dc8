"""Documents of many parts in one order, which does not depend on how the corpus was cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from lm_pipeline.artifacts import Artifact
from lm_pipeline.corpus.document_tables import DECISIONS, DOCUMENTS, STATISTICS
from lm_pipeline.corpus.raw.raw_files import raw_path


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
    runs = [(file, record, number, row, n) for number, path in enumerate(parts) for file, record, row, n in _runs(path)]
    pieces: list[tuple[int, int, int]] = []
    for _, _, number, row, num_rows in sorted(runs, key=lambda run: run[:2]):
        if pieces and pieces[-1][0] == number and sum(pieces[-1][1:]) == row:
            pieces[-1] = (number, pieces[-1][1], pieces[-1][2] + num_rows)
        else:
            pieces.append((number, row, num_rows))
    return pieces


def _runs(part: Path) -> Iterator[tuple[str, int, int, int]]:
    """What is read in one go of a part: raw file, first record, first row and number of rows.

    A run ends where another file begins, or where a later piece of the same file comes before an earlier one.
    """
    with pq.ParquetFile(part, memory_map=True, read_dictionary=["file"]) as source:
        table = source.read(["file", "record"]).unify_dictionaries().combine_chunks()
    if table.num_rows == 0:
        return
    files = table["file"].chunk(0)
    file, record = files.indices.to_numpy(), table["record"].to_numpy()
    # An archive is in one part as a whole, its members in the archive's own order.
    raw_paths = [raw_path(path) for path in files.dictionary.to_pylist()]
    number_of = {path: number for number, path in enumerate(raw_paths)}
    raw = np.array([number_of[path] for path in raw_paths])[file]
    jump = (raw[1:] != raw[:-1]) | ((file[1:] == file[:-1]) & (record[1:] < record[:-1]))
    begins = np.concatenate([[0], np.flatnonzero(jump) + 1, [table.num_rows]])
    for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        yield raw_paths[file[begin]], int(record[begin]), begin, end - begin
