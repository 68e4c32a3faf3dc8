"""Large tables written and read piece by piece, with the same bytes whatever the pieces."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

ROW_GROUP = 1 << 16
_WHOLE_GROUP = 122_880  # rows of a row group that Polars writes, about


class TableFile:
    """A Parquet file to which tables are appended, in row groups of `ROW_GROUP` rows however they come.

    Columns can be read alone, and quickly: hashes (uint64) are stored as they are, for they do not compress.
    """

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        self._columns = schema.names()
        self._held: list[pa.Table] = []
        self._schema = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        by_column = {name: "NONE" if dtype == pl.UInt64 else "ZSTD" for name, dtype in schema.items()}
        dictionary = [name for name in ("corpus", "file", "kind") if name in schema]
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression=by_column,  # pyright: ignore[reportArgumentType] - the stubs know one name only
            use_dictionary=dictionary,  # pyright: ignore[reportArgumentType] - and booleans
            compression_level={
                name: 1 for name, codec in by_column.items() if codec == "ZSTD"
            },  # digests do not shrink
            write_statistics=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._flush(pa.concat_tables(self._held))
        self._writer.close()

    def write(self, rows: pl.DataFrame | pa.Table) -> None:
        """Append rows."""
        if isinstance(rows, pl.DataFrame):
            rows = rows.select(self._columns).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        self._held.append(rows.select(self._columns).cast(self._schema))
        if sum(map(len, self._held)) >= ROW_GROUP:
            together = pa.concat_tables(self._held)
            whole = len(together) // ROW_GROUP * ROW_GROUP
            self._flush(together[:whole])
            self._held = [together[whole:]]

    def _flush(self, rows: pa.Table) -> None:
        self._writer.write_table(rows.combine_chunks(), row_group_size=ROW_GROUP)


def write_rows(path: Path, schema: pl.Schema, num_rows: int, rows: Callable[[slice], pl.DataFrame]) -> None:
    """Write what `DataFrame.write_parquet` would write of the whole table, byte by byte, a row group at a time.

    Args:
        path: the file.
        schema: its columns.
        num_rows: of the whole table.
        rows: makes these rows of it.
    """
    num_groups = max(1, (num_rows + _WHOLE_GROUP // 2) // _WHOLE_GROUP)
    small, larger = divmod(num_rows, num_groups)
    ends = np.cumsum([small + (group < larger) for group in range(num_groups)]).tolist()

    def groups(*_: object) -> Iterator[pl.DataFrame]:
        for begin, end in zip([0, *ends], ends, strict=False):
            yield rows(slice(begin, end)).select(schema.names()).rechunk()

    register_io_source(groups, schema=schema, is_pure=True).sink_parquet(path, compression="zstd")


def slices(table: pl.LazyFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """A table in pieces of `ROW_GROUP` rows, each with the number of its first row, whatever batches it comes in."""
    begin, held = 0, []
    for batch in table.collect_batches(chunk_size=ROW_GROUP, maintain_order=True):
        held.append(batch)
        while sum(map(len, held)) >= ROW_GROUP:
            together = pl.concat(held, rechunk=True)
            yield begin, together.head(ROW_GROUP)
            begin += ROW_GROUP
            held = [together.slice(ROW_GROUP)]
    if sum(map(len, held)):
        yield begin, pl.concat(held, rechunk=True)


def slices_of_bytes(texts: pl.Series, size: int) -> Iterator[slice]:
    """Slices that cover some texts: each of `size` bytes at most, and one text more.

    >>> [(own.start, own.stop) for own in slices_of_bytes(pl.Series(["one", "by", "a", "many"]), 4)]
    [(0, 1), (1, 3), (3, 4)]
    """
    filled = texts.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy() // size
    ends = [*(np.flatnonzero(np.diff(filled)) + 1).tolist(), len(texts)]
    return (slice(begin, end) for begin, end in itertools.pairwise([0, *ends]) if end > begin)
