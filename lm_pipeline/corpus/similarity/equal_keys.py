"""Rows of a large column that share a key.

A pass looks at the rows whose keys lie in one range of the 64-bit numbers. Keys are hashes, so ranges of equal width
hold about equally many: as many ranges are taken as keep a pass below `ROWS_PER_PASS` rows. Memory is set by that,
not by the column.

Hardly any key is shared. So each key first marks one of eight slots a row; what is alone in its slot shares its key
with nobody, and only the rest is sorted.
"""

from collections.abc import Iterator

import numba
import numpy as np
from numpy.typing import NDArray

ROWS_PER_PASS = 1 << 22
_MIX = np.uint64(0x9E3779B97F4A7C15)


def equal_keys(
    keys: NDArray[np.uint64], among: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Find the rows that share their key with another row.

    Args:
        keys: N keys.
        among: which rows count (bool, N).

    Yields:
        Rows (int64) and ends (int64): `rows[ends[i - 1]:ends[i]]` share a key. Groups come in the order of keys, the
        rows of a group ascend, and a group is never divided.
    """
    for step in range(num_passes(len(keys))):
        rows, ends = equal_keys_of_pass(keys, among, step)
        if len(rows):
            yield rows, ends


def num_passes(num_keys: int) -> int:
    """How many passes so many keys take."""
    return -(-num_keys // ROWS_PER_PASS)


def equal_keys_of_pass(
    keys: NDArray[np.uint64], among: NDArray[np.bool_], step: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One of the `num_passes` pieces that `equal_keys` yields; of no rows where no key is shared."""
    low, high = (2**64 * (step + place) // num_passes(len(keys)) - place for place in (0, 1))
    log_slots = max(4, int(8 * min(len(keys), ROWS_PER_PASS)).bit_length())
    slots = np.zeros(1 << log_slots, np.uint8)
    rows = _not_alone(keys, among, (np.uint64(low), np.uint64(high)), slots, np.uint64(64 - log_slots))
    found = keys[rows]
    order = np.lexsort((rows, found))
    rows, found = rows[order], found[order]
    same = found[1:] == found[:-1]
    shared = (np.append(same, False) | np.concatenate([[False], same]))[: len(rows)]
    rows, found = rows[shared], found[shared]
    return rows, np.append(np.flatnonzero(found[1:] != found[:-1]) + 1, len(rows))[: len(rows)]


def first_of_equal(
    keys: NDArray[np.uint64], checks: NDArray[np.uint64], among: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """By row: the first row that has the same key and the same check; of rows that do not count, they themselves.

    >>> first_of_equal(np.array([5, 7, 5, 5], np.uint64), np.array([1, 1, 1, 2], np.uint64)).tolist()
    [0, 1, 0, 3]
    """
    first = np.arange(len(keys))
    for rows, _ in equal_keys(keys, np.ones(len(keys), np.bool_) if among is None else among):
        order = rows[np.lexsort((rows, checks[rows], keys[rows]))]
        begins = np.concatenate(
            [[True], (keys[order[1:]] != keys[order[:-1]]) | (checks[order[1:]] != checks[order[:-1]])]
        )
        first[order] = order[np.flatnonzero(begins)][np.cumsum(begins) - 1]
    return first


@numba.njit(cache=True, nogil=True)
def _not_alone(keys, among, limits, slots, shift):
    """Rows within the limits whose slot another one has marked too: all that share a key, and some others."""
    low, high = limits
    for row in range(len(keys)):
        if among[row] and low <= keys[row] <= high:
            slot = (keys[row] * _MIX) >> shift
            slots[slot] = min(2, slots[slot] + 1)
    num = 0
    for row in range(len(keys)):
        num += among[row] and low <= keys[row] <= high and slots[(keys[row] * _MIX) >> shift] == 2
    rows = np.empty(num, np.int64)
    at = 0
    for row in range(len(keys)):
        if among[row] and low <= keys[row] <= high and slots[(keys[row] * _MIX) >> shift] == 2:
            rows[at] = row
            at += 1
    return rows
