"""Which evaluation documents have an n-gram.

An n-gram of a licence stands in thousands of documents, and those beside it stand in the same ones: each distinct list
of documents is stored once.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_32 = np.uint64(32)


class Owners(NamedTuple):
    """L distinct lists of documents, ascending: list i is `documents[offsets[i]:offsets[i + 1]]`."""

    offsets: NDArray[np.int64]
    documents: NDArray[np.int32]

    @property
    def num_lists(self) -> int:
        """L."""
        return len(self.offsets) - 1

    def followed_by(self, other: "Owners") -> "Owners":
        """These lists and then those of another."""
        offsets = np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]])
        return Owners(offsets, np.concatenate([self.documents, other.documents]))


def owners_of(
    keys: NDArray[np.uint64], documents: NDArray[np.int32]
) -> tuple[NDArray[np.uint64], NDArray[np.int32], Owners]:
    """Who has each key.

    Args:
        keys: of N pairs, each of which occurs once.
        documents: of the same pairs; those of one key ascend.

    Returns:
        The K distinct keys, ascending; the number of each one's list; and the lists.

    >>> distinct, lists, owners = owners_of(np.array([5, 7, 5, 9, 7], np.uint64), np.array([0, 0, 1, 1, 1], np.int32))
    >>> distinct.tolist(), lists.tolist()
    ([5, 7, 9], [1, 1, 0])
    >>> owners.offsets.tolist(), owners.documents.tolist()
    ([0, 1, 3], [1, 0, 1])
    """
    order = np.argsort(keys, kind="stable")
    keys, documents = keys[order], documents[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    ends = np.append(begins, len(keys))
    marks = _marks(ends, documents)
    lists, chosen = _number_lists(np.argsort(marks, kind="stable"), marks, ends, documents)
    lengths = np.diff(ends)[chosen]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(offsets[-1]) + np.repeat(ends[chosen] - offsets[:-1], lengths)
    return keys[begins], lists, Owners(offsets, documents[places])


@numba.njit(cache=True)
def _marks(ends, documents):
    """A hash of every list."""
    marks = np.empty(len(ends) - 1, np.uint64)
    for at in range(len(marks)):
        state = np.uint64(ends[at + 1] - ends[at])
        for place in range(ends[at], ends[at + 1]):
            state = (state ^ np.uint64(documents[place])) * _MIX
            state ^= state >> _SHIFT_32
        marks[at] = state
    return marks


@numba.njit(cache=True)
def _number_lists(order, marks, ends, documents):
    """The number of every list, equal ones having the same, and by number the first place where it stands."""
    numbers = np.empty(len(marks), np.int32)
    chosen = np.empty(len(marks), np.int64)
    num = 0
    for at in order:
        same = num > 0 and marks[chosen[num - 1]] == marks[at]
        if same:
            before = chosen[num - 1]
            length = ends[at + 1] - ends[at]
            same = ends[before + 1] - ends[before] == length
            for step in range(length if same else 0):
                if documents[ends[before] + step] != documents[ends[at] + step]:
                    same = False
                    break
        if not same:
            chosen[num] = at
            num += 1
        numbers[at] = num - 1
    return numbers, chosen[:num].copy()
