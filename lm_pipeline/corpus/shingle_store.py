"""Shingle sets of chosen documents, on disk, and their true Jaccard similarity.

The sets of all candidates are larger than their texts, so they do not belong in memory. They are appended to one file
and mapped from it: what is resident are the pages that are being compared, and the kernel takes them back.
"""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import Columns
from lm_pipeline.corpus.minhash import shingle_sets

_BATCH_ROWS = 1024
_FILES_AT_ONCE = 8  # starting a query costs as much as looking for a few texts in a file


def read_texts(documents: Sequence[Path], wanted: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Read the texts of some documents of Parquet files, pages without one of them left packed.

    Yields:
        `document_id` and `text`, a bounded number of rows at a time.
    """
    if not len(wanted):
        return
    identifiers = pl.Series(wanted, dtype=pl.String).implode()
    for begin in range(0, len(documents), _FILES_AT_ONCE):
        files = pl.scan_parquet(list(documents[begin : begin + _FILES_AT_ONCE]))
        found = files.filter(pl.col("document_id").is_in(identifiers)).select("document_id", "text")
        yield from found.collect_batches(chunk_size=_BATCH_ROWS)


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
        part_of = self._columns["part"][rows]
        parts = np.unique(part_of)
        with self._path.open("ab") as file:
            for begin in range(0, len(parts), _FILES_AT_ONCE):
                some = parts[begin : begin + _FILES_AT_ONCE]
                own = rows[np.isin(part_of, some)]
                row_of = dict(zip(self._columns.hex("id", own), own.tolist(), strict=True))
                for batch in read_texts([self._documents[part] for part in some], list(row_of)):
                    shingles, offsets = shingle_sets(batch["text"], self._ngram)
                    shingles.tofile(file)
                    sizes.append(np.diff(offsets))
                    found = [row_of[identifier] for identifier in batch["document_id"]]
                    self.place[found] = num + np.arange(len(batch))
                    num += len(batch)
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
