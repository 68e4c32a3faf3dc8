"""Parquet tables: the named columns, in batches."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import ROLES, Quarantined, Record, record_of

_BATCH_ROWS = 1024


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every row.

    A file without a named column, and the rest of a file from a damaged page on, are one quarantined record each.
    """
    number = 0
    fields = file.fields
    try:
        with file.local() as path, pq.ParquetFile(path) as table:
            existing = table.schema_arrow.names
            wanted = [name for name in (getattr(fields, role) for role in ROLES) if name is not None]
            missing = [name for name in wanted if name not in existing]
            if missing:
                detail = f"no column {', '.join(missing)}; the file has: {', '.join(existing) or 'none'}"
                yield Quarantined(None, None, "missing_field", detail)
                return
            columns = list(dict.fromkeys(wanted))
            for batch in table.iter_batches(_BATCH_ROWS, columns=columns):
                for values in _rows(batch):
                    yield record_of(values, fields, number, file.max_bytes)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        where = number or None
        yield Quarantined(where, None, "unreadable", f"not a sound Parquet file, row {number} and later: {error}")


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, object]]:
    """Rows as dictionaries; text as bytes, because Arrow does not check that it is UTF-8 and fails a whole batch."""
    columns = []
    for column in batch.columns:
        plain = column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
        is_text = pa.types.is_string(plain.type) or pa.types.is_large_string(plain.type)
        columns.append((plain.cast(pa.large_binary()) if is_text else plain).to_pylist())
    for values in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, values, strict=True))
