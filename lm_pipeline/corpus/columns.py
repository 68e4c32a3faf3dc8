"""Columns of numbers of large tables that lie in many files, in canonical order, mapped from disk.

What is searched for duplicates is read often and out of order. So the numbers are copied once, column by column, to
files of their own, and mapped: reading a row is an access to memory that the kernel may take back.
"""

import functools
import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numba
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import DTypeLike, NDArray

from lm_pipeline.corpus.documents import canonical_pieces
from lm_pipeline.corpus.threads import in_threads
from lm_pipeline.errors import InputError

_PARTS_AT_HAND = 8
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


class Columns:
    """Columns by name, each an array of N rows that cannot be written.

    Attributes:
        num_rows: N.
        begins: by corpus, its first row, and N at the end (int64).
    """

    def __init__(self, folder: Path, types: Mapping[str, DTypeLike], begins: Sequence[int]) -> None:
        self._folder = folder
        self._types = types
        self.begins = np.array(begins, np.int64)
        self.num_rows = int(begins[-1])

    def __contains__(self, name: str) -> bool:
        return name in self._types

    @functools.cached_property
    def corpus_of(self) -> NDArray[np.uint16]:
        """By row, the number of its corpus (uint16, N)."""
        return np.repeat(np.arange(len(self.begins) - 1, dtype=np.uint16), np.diff(self.begins))

    def __getitem__(self, name: str) -> np.ndarray:
        if self.num_rows == 0:
            return np.frombuffer(b"", self._types[name])
        return mapped(self._folder / f"{name}.column", self._types[name])

    def digits(self, name: str, rows: NDArray[np.int64] | slice) -> pa.LargeStringArray:
        """Numbers of 128 bits as text: of the columns `<name>_high` and `<name>_low`, 32 digits."""
        return digits_of(self[f"{name}_high"][rows], self[f"{name}_low"][rows])

    def hex(self, name: str, rows: NDArray[np.int64] | slice) -> pl.Series:
        """As `digits`, for polars."""
        return pl.Series(self.digits(name, rows))


def mapped(path: Path, dtype: DTypeLike) -> np.ndarray:
    """A file of numbers as an array that cannot be written; the file is not empty.

    What `numpy.memmap` does, without its third of a millisecond for each file.
    """
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype)


def hex_of(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> pl.Series:
    """Numbers of 128 bits as 32 hexadecimal digits.

    >>> hex_of(np.array([1], np.uint64), np.array([255], np.uint64)).to_list()
    ['000000000000000100000000000000ff']
    """
    return pl.Series(digits_of(high, low))


def digits_of(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> pa.LargeStringArray:
    """As `hex_of`, for Arrow."""
    offsets = pa.py_buffer(np.arange(0, 32 * len(high) + 1, 32))
    return pa.LargeStringArray.from_buffers(len(high), offsets, pa.py_buffer(_write_digits(high, low)))


@numba.njit(cache=True, nogil=True)
def _write_digits(high, low):
    digits = np.empty((len(high), 32), np.uint8)
    for number in range(len(high)):
        upper, lower = high[number], low[number]
        for place in range(15, -1, -1):
            digits[number, place] = _DIGITS[upper & np.uint64(15)]
            digits[number, 16 + place] = _DIGITS[lower & np.uint64(15)]
            upper >>= np.uint64(4)
            lower >>= np.uint64(4)
    return digits.reshape(-1)


def halves_of(digits: pl.Series) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The upper and the lower 64 bits of numbers written as 32 hexadecimal digits.

    >>> high, low = halves_of(pl.Series(["000000000000000100000000000000ff"]))
    >>> high.tolist(), low.tolist()
    ([1], [255])

    Raises:
        InputError: something is not written so.
    """
    wrong = digits.filter(~digits.str.contains("^[0-9a-f]{32}$"))
    if len(wrong):
        raise InputError(
            f"A document's id is made of 32 hexadecimal digits; got {wrong[0]!r}. Clean the corpora again."
        )
    numbers = np.frombuffer(bytes.fromhex("".join(digits)), ">u8").astype(np.uint64)
    return numbers[::2], numbers[1::2]


def write_columns(
    corpora: Sequence[Sequence[Sequence[Path]]], types: Mapping[str, DTypeLike], folder: Path, only: str | None = None
) -> Columns:
    """Copy columns of all parts to files of their own, in canonical order.

    Args:
        corpora: of each corpus, of each part, the Parquet files that stand row by row. The first has `file` and
            `record`, which say what the order is.
        types: the columns that are wanted and what they are in memory. Null becomes 0. There are those of the files,
            `part` (the number of a row's part, all parts of all corpora counted) and `row` (its place in that part).
        folder: an existing folder for the files.
        only: a column of booleans; rows where it is false are left out.
    """
    begins, first_part = [0], 0
    files = {name: (folder / f"{name}.column").open("wb") for name in types}
    try:
        for parts in corpora:
            read = functools.lru_cache(_PARTS_AT_HAND)(
                lambda number, parts=parts, first=first_part: _read(parts[number], first + number, types, only)
            )
            num = begins[-1]
            pieces = canonical_pieces([part[0] for part in parts])
            own = in_threads(lambda piece, read=read: _piece(read(piece[0]), piece[1], piece[2], only), pieces, most=2)
            for table in own:
                for name, file in files.items():
                    table[name].tofile(file)
                num += len(next(iter(table.values())))
            begins.append(num)
            first_part += len(parts)
    finally:
        for file in files.values():
            file.close()
    return Columns(folder, types, begins)


def _read(part: Sequence[Path], number: int, types: Mapping[str, DTypeLike], only: str | None) -> dict[str, np.ndarray]:
    """The wanted columns of one part."""
    table: dict[str, np.ndarray] = {}
    num_rows = 0
    for path in part:
        with pq.ParquetFile(path, memory_map=True) as file:
            num_rows = file.metadata.num_rows
            columns = [name for name in file.schema_arrow.names if name in types or name == only]
            for name, column in zip(columns, file.read(columns).itercolumns(), strict=True):
                filled = pc.fill_null(column, 0) if column.null_count else column
                table[name] = filled.to_numpy().astype(types.get(name, np.bool_), copy=False)
    made = {"part": np.full(num_rows, number, np.uint32), "row": np.arange(num_rows, dtype=np.uint32)}
    return table | {name: column for name, column in made.items() if name in types}


def _piece(table: Mapping[str, np.ndarray], row: int, num_rows: int, only: str | None) -> Mapping[str, np.ndarray]:
    """Rows of a part that follow one another, without those that are left out."""
    piece = {name: column[row : row + num_rows] for name, column in table.items()}
    if only is None or piece[only].all():
        return piece
    return {name: column[piece[only]] for name, column in piece.items()}


def batches_of(num_rows: int, size: int) -> Iterator[slice]:
    """Slices that cover so many rows, `size` at a time."""
    return (slice(begin, min(begin + size, num_rows)) for begin in range(0, num_rows, size))
