"""Rows of Arrow batches as records: what Parquet and Arrow files have in common.

Nothing in a batch is trusted: Arrow reads lengths and places from the file, and follows them wherever they lead. So
every column is checked before its values are looked at, and where one is damaged, its rows are checked one by one.
"""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from lm_pipeline.corpus.readers.compression import is_disk_fault
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import ROLES, Quarantined, Record, Unreadable, record_of

DAMAGE = (pa.ArrowException, ArithmeticError, LookupError, OSError, SystemError, TypeError, ValueError)
"""What pyarrow raises over a damaged file, or over a value that Python has no type for."""

_SLICE_ROWS = 1024  # rows that are Python objects at a time
_AS_BYTES = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}


def is_not_the_files(error: BaseException) -> bool:
    """Whether the disk or the memory failed, and the file may be sound."""
    return is_disk_fault(error) or isinstance(error, MemoryError)


def wanted_columns(file: Opened, schema: pa.Schema) -> list[str] | Quarantined:
    """The columns that `fields` names, by name or as dotted paths into structs; or that the file lacks some."""
    wanted = [name for role in ROLES if (name := getattr(file.fields, role)) is not None]
    missing = [name for name in wanted if name not in schema.names and not _is_path(schema, name.split("."))]
    if missing:
        has = ", ".join(_paths(schema)) or "none"
        return Quarantined(None, None, "missing_field", f"no column {', '.join(missing)}; the file has: {has}")
    return list(dict.fromkeys(wanted))


def _is_path(within: pa.Schema | pa.StructType, parts: Sequence[str]) -> bool:
    names = within.names
    if parts[0] not in names:
        return False
    kind = within.field(names.index(parts[0])).type
    return len(parts) == 1 or (pa.types.is_struct(kind) and _is_path(kind, parts[1:]))


def _paths(within: pa.Schema | pa.StructType, prefix: str = "") -> Iterator[str]:
    for field in within:
        if pa.types.is_struct(field.type):
            yield from _paths(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The column of that name, or what is in a struct at the end of the path; null where a struct on it is null."""
    if name in batch.schema.names:
        return batch.column(batch.schema.names.index(name))
    first, *rest = name.split(".")
    column = batch.column(batch.schema.names.index(first))
    column.validate()  # before it is taken apart
    return pc.struct_field(column, rest)  # pyright: ignore[reportAttributeAccessIssue] - made at import


def records_of(
    batches: Iterable[pa.RecordBatch], columns: Sequence[str], file: Opened
) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every row, numbered from 0; a damaged rest is one quarantined record.

    Args:
        batches: the table; of columns with one name the first counts.
        columns: the names and paths that are wanted.
        file: says which column is what.
    """
    number = 0
    try:
        for batch in batches:
            for values in _rows([_column(batch, name) for name in columns]):
                yield record_of(dict(zip(columns, values, strict=True)), file.fields, number, file.max_bytes)
                number += 1
    except DAMAGE as error:
        if is_not_the_files(error):
            raise
        detail = f"not a sound {file.name.rpartition('.')[2]} file, row {number} and later: {error}"
        yield Quarantined(number or None, None, "unreadable", detail)


def _rows(columns: Sequence[pa.Array]) -> Iterator[tuple[object, ...]]:
    checked = [_checked(column) for column in columns]
    for start in range(0, len(columns[0]), _SLICE_ROWS):
        values = [_values(column.slice(start, _SLICE_ROWS), is_sound) for column, is_sound in checked]
        yield from zip(*values, strict=True)


def _checked(column: pa.Array) -> tuple[pa.Array, bool]:
    """A column whose buffers are as long as they should be, and whether all that they hold is sound as well.

    Raises:
        ArrowInvalid: no value of it can be reached safely.
    """
    column.validate()  # first: what follows reads the buffers
    column = _plain(column)
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        if isinstance(column, pa.DictionaryArray):  # the dictionary may be what is damaged
            raise
        return column, False
    return column, True


def _plain(column: pa.Array) -> pa.Array:
    """The same without what one value could make fail for all.

    Text becomes bytes: Arrow does not check that it is UTF-8, and `record_of` does. Instants of a time zone that this
    machine does not know become instants of UTC.
    """
    kind = column.type
    if isinstance(column, pa.DictionaryArray):
        return pa.DictionaryArray.from_arrays(column.indices, _plain(column.dictionary))
    if kind in _AS_BYTES:
        return column.cast(_AS_BYTES[kind])
    if pa.types.is_timestamp(kind) and kind.tz and not _is_known(kind.tz):
        return column.cast(pa.timestamp(kind.unit, "UTC"))
    return column


def _is_known(zone: str) -> bool:
    try:
        pa.scalar(0, pa.timestamp("s", zone)).as_py()
    except (LookupError, ValueError, OSError, pa.ArrowException):
        return False
    return True


def _values(column: pa.Array, is_sound: bool) -> list[object]:
    try:
        if not is_sound:
            column.validate(full=True)
        return (column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column).to_pylist()
    except DAMAGE as error:
        if is_not_the_files(error):
            raise
        if len(column) == 1:
            return [Unreadable(f"{type(error).__name__}: {error}"[:500])]
    return [value for row in range(len(column)) for value in _values(column.slice(row, 1), is_sound)]
