"""Rows of Arrow batches as records: what Parquet and Arrow files have in common."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import ROLES, Quarantined, Record, record_of

_SLICE_ROWS = 1024  # rows that are Python objects at a time


def wanted_columns(file: Opened, existing: Sequence[str]) -> list[str] | Quarantined:
    """The columns that `fields` names, or that the file lacks some of them."""
    wanted = [name for role in ROLES if (name := getattr(file.fields, role)) is not None]
    missing = [name for name in wanted if name not in existing]
    if missing:
        detail = f"no column {', '.join(missing)}; the file has: {', '.join(existing) or 'none'}"
        return Quarantined(None, None, "missing_field", detail)
    return list(dict.fromkeys(wanted))


def records_of(batches: Iterable[pa.RecordBatch], file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every row, numbered from 0; a damaged rest is one quarantined record."""
    number = 0
    try:
        for batch in batches:
            for start in range(0, batch.num_rows, _SLICE_ROWS):
                for values in _rows(batch.slice(start, _SLICE_ROWS)):
                    yield record_of(values, file.fields, number, file.max_bytes)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        detail = f"not a sound {file.name.rpartition('.')[2]} file, row {number} and later: {error}"
        yield Quarantined(number or None, None, "unreadable", detail)


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, object]]:
    """Rows as dictionaries; text as bytes, because Arrow does not check that it is UTF-8 and fails a whole batch."""
    columns = []
    for column in batch.columns:
        plain = column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
        if pa.types.is_string_view(plain.type):
            plain = plain.cast(pa.large_string())
        is_text = pa.types.is_string(plain.type) or pa.types.is_large_string(plain.type)
        columns.append((plain.cast(pa.large_binary()) if is_text else plain).to_pylist())
    for values in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, values, strict=True))
