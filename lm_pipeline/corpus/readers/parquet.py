"""Parquet tables: the named columns, in batches of about 16 MB."""

from collections.abc import Iterator

import pyarrow.parquet as pq

from lm_pipeline.corpus.readers.columns import DAMAGE, is_not_the_files, records_of, wanted_columns
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record

_BATCH_BYTES = 16 << 20
_MAX_BATCH_ROWS = 8192


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every row.

    A file without a named column, and the rest of a file from a damaged page on, are one quarantined record each.
    """
    with file.local() as path:
        try:
            # Without pre_buffer a row group is read page by page, however large it is.
            table = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        except DAMAGE as error:
            if is_not_the_files(error):
                raise
            yield Quarantined(None, None, "unreadable", f"not a sound Parquet file: {error}")
            return
        with table:
            columns = wanted_columns(file, table.schema_arrow)
            if isinstance(columns, Quarantined):
                yield columns
                return
            batches = table.iter_batches(_batch_rows(table.metadata, columns), columns=columns)
            yield from records_of(batches, columns, file)


def _batch_rows(metadata: pq.FileMetaData, columns: list[str]) -> int:
    """Rows that take about 16 MB in the row group with the longest ones."""
    longest = 1
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        chunks = [group.column(number) for number in range(group.num_columns)]
        size = sum(chunk.total_uncompressed_size for chunk in chunks if _is_in(chunk.path_in_schema, columns))
        longest = max(longest, size // max(group.num_rows, 1))
    return max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES // longest))


def _is_in(path: str, columns: list[str]) -> bool:
    return any(path == column or path.startswith(f"{column}.") for column in columns)
