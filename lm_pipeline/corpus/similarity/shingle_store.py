"""Shingle sets of chosen documents, on disk, and their true Jaccard similarity.

The sets of all candidates are larger than their texts, so they do not belong in memory. They are appended to one file
and mapped from it: what is resident are the pages that are being compared, and the kernel takes them back.
"""

import functools
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import Columns
from lm_pipeline.corpus.similarity.minhash import shingle_sets
from lm_pipeline.corpus.threads import in_threads


@dataclass(frozen=True)
class _Group:
    """A row group of a part in which texts are wanted: `rows`, by their place in it, ascending."""

    path: Path
    metadata: pq.FileMetaData
    number: int
    rows: NDArray[np.int64]

    def texts(self) -> list[str]:
        with pq.ParquetFile(self.path, metadata=self.metadata) as file:
            table = file.read_row_group(self.number, columns=["text"], use_threads=False)
        return table.column("text").take(pa.array(self.rows)).to_pylist()


def map_texts(
    columns: Columns, documents: Sequence[Path], rows: NDArray[np.int64], work: Callable[[list[str]], Any]
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """What a function makes of the texts of some documents, in as many threads as there are cores.

    Only the row groups that hold them are read, which are small (`document_tables.TableWriter`).

    Args:
        columns: `part` and `row` of N documents.
        documents: of each part, the file with the texts.
        rows: the wanted ones of the N, each once (int64).
        work: what is called with the wanted texts of each row group.

    Yields:
        The rows of a row group, and what `work` has returned.
    """
    rows = rows[np.lexsort((columns["row"][rows], columns["part"][rows]))]
    parts, begins = np.unique(columns["part"][rows], return_index=True)

    def groups() -> Iterator[tuple[NDArray[np.int64], _Group]]:
        for part, begin, end in zip(parts.tolist(), begins, [*begins[1:], len(rows)], strict=False):
            metadata = pq.read_metadata(documents[part])
            ends = np.cumsum([metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)])
            places = columns["row"][rows[begin:end]].astype(np.int64)
            numbers, firsts = np.unique(np.searchsorted(ends, places, side="right"), return_index=True)
            for number, first, last in zip(numbers.tolist(), firsts, [*firsts[1:], len(places)], strict=False):
                before = ends[number - 1] if number else 0
                group = _Group(documents[part], metadata, number, places[first:last] - before)
                yield rows[begin + first : begin + last], group

    return in_threads(lambda found: (found[0], work(found[1].texts())), groups())


class ShingleStore:
    """Shingle sets of documents, found by row.

    Attributes:
        place: by row of the dataset (int64, N), where its set is in `offsets`; -1 where it is not held.
        offsets: where each set begins in `shingles`, in values; one more than there are sets.
        shingles: all sets, each ascending (uint64, mapped from the file).
    """

    def __init__(self, path: Path, columns: Columns, documents: Sequence[Path], ngram: int) -> None:
        self._path = path
        self._columns = columns
        self._documents = documents
        self._ngram = ngram
        self.place = np.full(columns.num_rows, -1, np.int64)
        self.offsets = np.zeros(1, np.int64)
        self.shingles = np.frombuffer(b"", np.uint64)
        self._pages: mmap.mmap | None = None

    def add(self, rows: NDArray[np.int64]) -> None:
        """Read the texts of these documents and append their sets."""
        sizes = [np.diff(self.offsets)]
        num = len(self.offsets) - 1
        sets = map_texts(self._columns, self._documents, rows, functools.partial(shingle_sets, ngram=self._ngram))
        with self._path.open("ab") as file:
            for found, (shingles, offsets) in sets:
                shingles.tofile(file)
                sizes.append(np.diff(offsets))
                self.place[found] = num + np.arange(len(found))
                num += len(found)
        self.offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
        if self.offsets[-1]:
            with self._path.open("rb") as file:
                self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._pages.madvise(mmap.MADV_RANDOM)
            self.shingles = np.frombuffer(self._pages, np.uint64)

    def release(self) -> None:
        """Give the pages that were read back to the kernel; they are read again when they are needed."""
        if self._pages is not None:
            self._pages.madvise(mmap.MADV_DONTNEED)

    def similarities(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """True Jaccard similarities of pairs of rows whose sets are held."""
        return _jaccard_pairs(self.place[left], self.place[right], (self.shingles, self.offsets))


@numba.njit(cache=True)
def jaccard(left, right, threshold):
    """Jaccard similarity of two ascending arrays of distinct values; 0 as soon as it cannot reach the threshold."""
    # With i shared values the similarity is i / (|A| + |B| - i), so this many must be shared.
    total = len(left) + len(right)
    spare = min(len(left), len(right)) - threshold * total / (1 + threshold) + 1e-6
    if spare < 0:
        return 0.0
    a = b = shared = 0
    short, long = (left, right) if len(left) <= len(right) else (right, left)
    while a < len(short) and b < len(long):
        if short[a] == long[b]:
            shared += 1
            a += 1
            b += 1
        elif short[a] < long[b]:
            a += 1
            spare -= 1
            if spare < 0:
                return 0.0
        else:
            b += 1
    return shared / (total - shared)


@numba.njit(cache=True)
def _jaccard_pairs(left, right, sets):
    shingles, offsets = sets
    similarities = np.empty(len(left), np.float64)
    for pair in range(len(left)):
        a, b = left[pair], right[pair]
        similarities[pair] = jaccard(shingles[offsets[a] : offsets[a + 1]], shingles[offsets[b] : offsets[b + 1]], 0.0)
    return similarities
