"""Comma- and tab-separated values (RFC 4180): one record a row, quoted fields with line ends in them included.

Rows are parsed by the standard library, line by line, and only as far as they go: an open quotation mark costs its
line and not the rest of the file, and no row is held beyond `cleaning.max_line_bytes`.
"""

import csv
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import pyarrow as pa

from lm_pipeline.corpus.readers.columns import wanted_columns
from lm_pipeline.corpus.readers.compression import file_chunks
from lm_pipeline.corpus.readers.encodings import UTF8_BOM
from lm_pipeline.corpus.readers.lines import Line, split_lines
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt, record_of
from lm_pipeline.specs.corpus import CsvFormat

_DELIMITERS = (",", "\t", ";", "|")
_SNIFFED_ROWS = 50


class _Row(NamedTuple):
    """A row and the lines that it takes."""

    cells: list[str]
    offset: int
    length: int
    line: str


class _Table(NamedTuple):
    """A table whose header was read."""

    delimiter: str
    header: Sequence[str]
    rows: Iterator[tuple[int, _Row | Quarantined]]
    """Where each row after the header begins, and the row."""


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every row after the header; blank lines are none, the record index is the row's.

    A file without a column that `fields` names is one quarantined record.
    """
    table = _open_table(file)
    if isinstance(table, Quarantined) and not file.start:
        yield table
    if not isinstance(table, _Table):
        return
    header, rows = table.header, table.rows
    if file.start:
        assert file.path is not None, "only a plain file has byte ranges"
        lines = split_lines(file_chunks(file.path, file.start), file.max_bytes, file.start)
        rows = _rows(file, table.delimiter, lines)
    where = file.has_offsets
    for number, (begin, row) in enumerate(rows, file.record):
        if file.end is not None and begin >= file.end:
            return
        if isinstance(row, Quarantined):
            yield Quarantined(number, row.byte_offset, row.reason, row.detail, row.excerpt)
        elif len(row.cells) != len(header):
            detail = f"{len(row.cells)} fields; expected {len(header)}: {', '.join(header[:30])}"
            yield Quarantined(number, row.offset if where else None, "ragged_row", detail, excerpt(row.line[:2000]))
        else:
            place = {"byte_offset": row.offset, "byte_length": row.length} if where else {}
            yield record_of(dict(zip(header, row.cells, strict=True)), file.fields, number, file.max_bytes, **place)


def starts(file: Opened) -> Iterator[tuple[int, int]]:
    """Where each row begins, and its record index: there a file can be cut, whatever is wrong with its quotation marks.

    Rows are found by the reader itself, for which place a row begins at depends on all the rows before it.
    """
    table = _open_table(file)
    if isinstance(table, _Table):
        yield from ((begin, number) for number, (begin, _) in enumerate(table.rows))


def _open_table(file: Opened) -> _Table | Quarantined | None:
    """The table from its beginning; why it cannot be used; or None for a file without any row."""
    csv.field_size_limit(sys.maxsize)  # rows are bounded here; the module's own limit is 128 KB a field
    declared = file.spec.format if isinstance(file.spec.format, CsvFormat) else CsvFormat()
    delimiter = declared.delimiter if declared.delimiter != "auto" else _sniff(file, declared.columns)
    rows = _rows(file, delimiter, split_lines(file.text_chunks(), file.max_bytes))
    header: Sequence[str] = declared.columns
    if not header:
        _, first = next(rows, (0, None))
        if first is None:
            return None
        if isinstance(first, Quarantined):
            return Quarantined(None, first.byte_offset, first.reason, f"in the header: {first.detail}", first.excerpt)
        header = first.cells
    columns = wanted_columns(file, pa.schema([(name, pa.string()) for name in header]))
    return columns if isinstance(columns, Quarantined) else _Table(delimiter, header, rows)


def _rows(file: Opened, delimiter: str, lines: Iterator[Line]) -> Iterator[tuple[int, _Row | Quarantined]]:
    """Where each row begins, and the row or why it is none."""
    waiting: deque[Line] = deque()  # lines of a row that was none, to be read again
    while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
        if not (line.reason or line.data.strip(b" \r\n")):
            continue
        text = _text(file, line)
        if isinstance(text, Quarantined):
            yield line.offset, text
            continue
        cells = text.rstrip("\r\n")
        if '"' not in cells:
            yield line.offset, _Row(cells.split(delimiter), line.offset, line.length - (len(text) - len(cells)), text)
            continue
        yield line.offset, _quoted_row(file, delimiter, line, text, chain(_drain(waiting), lines), waiting)


def _drain(waiting: deque[Line]) -> Iterator[Line]:
    while waiting:
        yield waiting.popleft()


def _quoted_row(
    file: Opened, delimiter: str, first: Line, text: str, following: Iterator[Line], waiting: deque[Line]
) -> _Row | Quarantined:
    """A row that begins on the line `first` and may go on on those that follow; what it does not take waits again."""
    taken: list[Line] = []
    problem: Quarantined | None = None

    def pieces() -> Iterator[str]:
        nonlocal problem
        yield text
        length = first.length
        for line in following:
            taken.append(line)
            length += line.length
            piece = _text(file, line)
            if isinstance(piece, Quarantined) or length > file.max_bytes:
                problem = piece if isinstance(piece, Quarantined) else None
                return
            yield piece

    try:
        cells = next(csv.reader(pieces(), delimiter=delimiter, strict=True))
    except csv.Error as error:
        waiting.extendleft(reversed(taken))
        plain = text.rstrip("\r\n")
        if delimiter == "\t":  # many such files have no quoting at all
            return _Row(plain.split(delimiter), first.offset, first.length - (len(text) - len(plain)), text)
        detail = f"{error}; expected RFC 4180: a field with quotation marks is in quotation marks, its own doubled"
        if problem:
            detail = f"a quotation mark stays open until {problem.detail}"
        where = first.offset if file.has_offsets else None
        return Quarantined(None, where, "invalid_csv", detail, excerpt(text[:2000]))
    last = taken[-1] if taken else first
    length = last.offset + last.length - first.offset
    return _Row(cells, first.offset, length - (len(last.data) - len(last.data.rstrip(b"\r\n"))), text)


def _text(file: Opened, line: Line) -> str | Quarantined:
    where = line.offset if file.has_offsets else None
    if line.reason:
        return Quarantined(None, where, line.reason, line.detail, excerpt(line.data))
    data = line.data.removeprefix(UTF8_BOM) if line.offset == 0 else line.data
    return file.decode(data, None, where)


def _sniff(file: Opened, columns: Sequence[str]) -> str:
    """The delimiter: a tab for `.tsv`; else that which names a wanted column and divides most rows evenly."""
    if ".tsv" in file.name.lower() or ".tab" in file.name.lower():
        return "\t"
    text = file.head.decode(file.charset, "replace").removeprefix("\ufeff")
    lines = text.splitlines(keepends=True)
    if len(file.head) >= 8192 and len(lines) > 1:
        lines.pop()  # cut by the head

    def evenness(delimiter: str) -> tuple[bool, float, int]:
        try:
            rows = [row for row, _ in zip(csv.reader(lines, delimiter=delimiter), range(_SNIFFED_ROWS), strict=False)]
        except csv.Error:
            return False, 0.0, 0
        width = len(columns) or (len(rows[0]) if rows else 0)
        even = sum(len(row) == width for row in rows if row) / max(sum(map(bool, rows)), 1)
        named = bool(rows) and not columns and file.fields.text in rows[0]
        return named, even if width > 1 else 0.0, width

    return max(_DELIMITERS, key=evenness)
