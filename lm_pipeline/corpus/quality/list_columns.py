"""Columns of lists, made from the few rows that have something in theirs."""

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray


def lists_by_row(name: str, rows: NDArray[np.integer], items: pl.DataFrame, num_rows: int) -> pl.Series:
    """A list for each of `num_rows` rows.

    Args:
        name: of the column.
        rows: the row of each item.
        items: one row an item; its columns become the fields of a struct.
        num_rows: how many lists; those without an item are empty.

    Returns:
        Lists of structs; within a list, items are in the order in which they are given.

    >>> items = pl.DataFrame({"rule": ["a", "b", "c"]})
    >>> lists_by_row("reasons", np.array([2, 0, 2]), items, 3).to_list()
    [[{'rule': 'b'}], [], [{'rule': 'a'}, {'rule': 'c'}]]
    """
    ordered = items[np.argsort(rows, kind="stable")] if len(items) else items
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num_rows))]).astype(np.int64)
    values = ordered.to_struct().to_arrow(compat_level=pl.CompatLevel.oldest())
    column = pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(offsets), values))
    assert isinstance(column, pl.Series)
    return column.alias(name)


def empty_lists(name: str, item: pl.Struct, num_rows: int) -> pl.Series:
    """As many empty lists."""
    return lists_by_row(name, np.zeros(0, np.int64), pl.DataFrame(schema=item.to_schema()), num_rows)
