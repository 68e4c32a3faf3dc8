"""Texts cut into rows, each found by its number among the rows of like length, without a table of them.

A text of n tokens is floor(n / L) rows of L tokens and one of what is left, L being the most that a row may have. Rows
of a class of lengths are numbered in the order of the texts. Held is, for every block of 32 texts, how many rows of
each class stand before it: a quarter of a byte a text and class, and no more than 16 MB, for blocks grow with the
number of texts. Lengths are read twice at the start, then those of a block whenever one of its rows is asked for.

Shapes: K classes of length, R rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MIN_BLOCK, MAX_COUNTS = 32, 1 << 21
"""Texts of a block, at least; numbers that are held, at most."""
_BATCH_TEXTS = 1 << 16


class Source(NamedTuple):
    """Texts that are read equally often.

    Attributes:
        num_texts: they are range(num_texts).
        lengths_of: tokens of texts; 0 leaves one out.
        passes: how often an epoch reads each of them.
    """

    num_texts: int
    lengths_of: Callable[[Ints], Ints]
    passes: float = 1.0


def count_lengths(source: Source, max_length: int) -> Ints:
    """How many rows of each length there are, from 0 on."""
    counts = np.zeros(max_length + 1, np.int64)
    for begin in range(0, source.num_texts, _BATCH_TEXTS):
        lengths = source.lengths_of(np.arange(begin, min(begin + _BATCH_TEXTS, source.num_texts)))
        whole, rest = np.divmod(lengths, max_length)
        counts += np.bincount(rest, minlength=max_length + 1)
        counts[max_length] += whole.sum()
    counts[0] = 0
    return counts


class RowIndex:
    """The rows of a source.

    Attributes:
        num_rows: of each class.
    """

    def __init__(self, source: Source, max_length: int, widths: Ints) -> None:
        """Count them.

        Args:
            source: the texts.
            max_length: tokens of a row.
            widths: the longest row of each class, ascending; the last is at least as long as any row.
        """
        self._source, self._max_length, self._last = source, max_length, len(widths) - 1
        self._class_of = np.searchsorted(widths, np.arange(max_length + 1))
        self._class_of[0] = len(widths)  # nothing is left of the text: no row
        self._block = max(MIN_BLOCK, -(-source.num_texts * len(widths) // MAX_COUNTS))
        blocks = np.arange(-(-source.num_texts // self._block))
        batch = max(1, _BATCH_TEXTS // self._block)
        counts = [np.zeros((1, len(widths)), np.int64)]
        for at in range(0, len(blocks), batch):
            _, _, whole, ends = self._texts(blocks[at : at + batch])
            counts.append(np.stack([(ends == k).sum(axis=1) for k in range(len(widths))], axis=1))
            counts[-1][:, -1] += whole.sum(axis=1)
        self._before = np.concatenate(counts).cumsum(axis=0).T.copy()  # K x blocks + 1
        self.num_rows = self._before[:, -1]

    def _texts(self, blocks: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Of blocks of texts: the texts, their lengths, how many rows of full length, the class of what is left."""
        texts = blocks[:, None] * self._block + np.arange(self._block)
        inside = np.minimum(texts, self._source.num_texts - 1)
        lengths = np.where(texts == inside, self._source.lengths_of(inside), 0)
        whole, rest = np.divmod(lengths, self._max_length)
        return texts, lengths, whole, self._class_of[rest]

    def find(self, kind: int, ranks_R: Ints) -> tuple[Ints, Ints, Ints]:
        """Texts, begins and lengths of rows of a class, named by their ranks among them."""
        blocks_R = np.searchsorted(self._before[kind], ranks_R, side="right") - 1
        texts, lengths, whole, ends = self._texts(blocks_R)
        rows = (ends == kind) + (whole if kind == self._last else 0)  # of this class, a text an entry
        upto = rows.cumsum(axis=1)
        ranks_R = ranks_R - self._before[kind][blocks_R]
        at = (upto <= ranks_R[:, None]).sum(axis=1, keepdims=True)
        texts_R, lengths_R, whole_R, rows_R, upto_R = (
            np.take_along_axis(values, at, axis=1)[:, 0] for values in (texts, lengths, whole, rows, upto)
        )
        # Rows of full length come first, so which of its text's rows it is says where it begins.
        piece_R = ranks_R - (upto_R - rows_R) if kind == self._last else whole_R
        begins_R = piece_R * self._max_length
        return texts_R, begins_R, np.minimum(lengths_R - begins_R, self._max_length)
