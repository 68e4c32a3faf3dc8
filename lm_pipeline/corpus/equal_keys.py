"""Rows of a large table that share a key, found in passes over the keys that are on disk.

A pass reads the rows whose keys lie in one range of the 64-bit numbers. Keys are hashes, so ranges of equal width
hold about equally many: as many ranges are taken as keep a pass below `ROWS_PER_PASS` rows. Memory is set by that,
not by the table.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

ROWS_PER_PASS = 1 << 22


def equal_keys(
    table: pl.LazyFrame, column: str, num_rows: int, among: NDArray[np.bool_] | None = None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Find the rows that share their key with another row.

    Args:
        table: N rows.
        column: its column of keys, uint64; rows where it is null share nothing.
        num_rows: N.
        among: which rows count (bool, N); None for all.

    Yields:
        Rows (int64) and ends (int64): `rows[ends[i - 1]:ends[i]]` share a key. Groups come in the order of keys, the
        rows of a group ascend, and a group is never divided.
    """
    keyed = table.select(key=pl.col(column)).with_row_index("row").filter(pl.col("key").is_not_null())
    num_passes = -(-num_rows // ROWS_PER_PASS)
    for step in range(num_passes):
        low, high = 2**64 * step // num_passes, 2**64 * (step + 1) // num_passes - 1
        within = keyed
        if num_passes > 1:
            within = keyed.filter(pl.col("key").is_between(pl.lit(low, pl.UInt64), pl.lit(high, pl.UInt64)))
        found = within.collect(engine="streaming")
        rows, keys = found["row"].to_numpy().astype(np.int64), found["key"].to_numpy()
        if among is not None:
            rows, keys = rows[among[rows]], keys[among[rows]]
        order = np.argsort(keys)  # not stable, but much faster; few rows are left to be put in order afterwards
        rows, keys = rows[order], keys[order]
        same = keys[1:] == keys[:-1]
        shared = np.append(same, False) | np.concatenate([[False], same]) if len(keys) else np.zeros(0, np.bool_)
        rows, keys = rows[shared], keys[shared]
        if len(rows):
            order = np.lexsort((rows, keys))
            rows, keys = rows[order], keys[order]
            ends = np.append(np.flatnonzero(keys[1:] != keys[:-1]) + 1, len(rows))
            yield rows, ends
