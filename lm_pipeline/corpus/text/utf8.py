"""Text as compiled kernels see it: the UTF-8 bytes of a whole column, and where each text begins."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

Texts = pa.Array | pa.ChunkedArray | pl.Series | Iterable[str]
"""Texts to be segmented: an Arrow or polars column, or strings. A null counts as an empty text."""


def utf8_buffers(texts: Texts) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of all texts, one after another, and where each begins (one more offset than texts)."""
    column: Any = texts.to_arrow() if isinstance(texts, pl.Series) else texts
    if not isinstance(column, pa.Array | pa.ChunkedArray):
        column = pa.array(column, pa.large_string())
    column = column.cast(pa.large_string())
    if column.null_count:  # it copies
        column = column.fill_null("")
    array = (
        pa.concat_arrays(column.chunks or [pa.array([], pa.large_string())])
        if isinstance(column, pa.ChunkedArray)
        else column
    )
    _, offsets, data = array.buffers()
    if len(array) == 0 or data is None:
        return np.zeros(0, np.uint8), np.zeros(len(array) + 1, np.int64)
    begins = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, np.uint8), begins
