"""Texts of some documents of a part, read from the Parquet pages that hold them and from no others.

A library fetches a column whole: for one text of a part, 64 MB. Pages of `documents.parquet` are small
(`document_tables.TableWriter`), and each begins with a header that says how long it is. So the file is mapped, headers
are followed from one to the next, and what stands between them is touched where a wanted row is in it.

Source: the Apache Parquet format (parquet.thrift: `PageHeader`), in Thrift's compact protocol.
"""

from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import mapped
from lm_pipeline.errors import InputError

_DATA_PAGE, _PLAIN = 0, 0
_TYPE, _UNPACKED, _PACKED = 1, 2, 3  # fields of PageHeader
_VALUES, _ENCODING = 1, 2  # fields of its DataPageHeader
_BINARY, _STRUCT = 8, 12  # types of the compact protocol; integers are in between the booleans and these
_DEPTH = 3  # PageHeader, DataPageHeader, Statistics


@dataclass(frozen=True)
class TextPage:
    """A page with wanted texts.

    Attributes:
        rows: the wanted ones, by their place in the page, ascending (int64).
        packed: its bytes in the file (uint8, mapped).
        num_bytes: how many they are unpacked.
        num_rows: of the page.
    """

    rows: NDArray[np.int64]
    packed: NDArray[np.uint8]
    num_bytes: int
    num_rows: int

    def texts(self) -> list[str]:
        """The wanted texts.

        Raises:
            InputError: the page is not what `TableWriter` writes.
        """
        page = pa.Codec("zstd").decompress(pa.py_buffer(self.packed), self.num_bytes)
        begins = _begins(np.frombuffer(page, np.uint8), self.num_rows)
        if len(begins) == 0:
            raise InputError("A page of texts of a `documents.parquet` cannot be read. Clean its corpus again.")
        data = memoryview(page)
        return [str(data[begins[row] : begins[row + 1] - 4], "utf-8") for row in self.rows.tolist()]


def text_pages(documents: Path, rows: NDArray[np.int64]) -> list[TextPage]:
    """The pages that hold these texts.

    Args:
        documents: a part's `documents.parquet`.
        rows: the wanted rows of it, ascending (int64).

    Raises:
        InputError: the file is not what `TableWriter` writes.
    """
    metadata = pq.read_metadata(documents)
    column = metadata.schema.names.index("text")
    data = mapped(documents, np.uint8)
    found: list[TextPage] = []
    end = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        begin, end = end, end + group.num_rows
        own = rows[np.searchsorted(rows, begin) : np.searchsorted(rows, end)] - begin
        if len(own) == 0:
            continue
        pages = _pages(data, group.column(column).data_page_offset, own)
        if len(pages) == 0:
            raise InputError(f"{documents}: its pages of texts cannot be found. Clean its corpus again.")
        for at, packed, unpacked, first, num_rows in pages.tolist():
            inside = own[np.searchsorted(own, first) : np.searchsorted(own, first + num_rows)] - first
            found.append(TextPage(inside, data[at : at + packed], unpacked, num_rows))
    return found


@numba.njit(cache=True, nogil=True)
def _varint(data, at):
    value, shift = 0, 0
    while at < len(data) and shift < 63:
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return value, at


@numba.njit(cache=True, nogil=True)
def _header(data, at):
    """The integers of a page's header, by depth and field, and where it ends; nothing where it is none."""
    numbers = np.zeros((_DEPTH, 16), np.int64)
    fields = np.zeros(_DEPTH, np.int64)
    depth = 0
    while depth >= 0:
        if at >= len(data):
            return numbers[:0], at
        byte = np.int64(data[at])
        at += 1
        if byte == 0:  # the end of a struct
            depth -= 1
            continue
        kind = byte & 15
        fields[depth] += byte >> 4
        if fields[depth] > 15 or kind > _STRUCT or (kind == _STRUCT and depth == _DEPTH - 1):
            return numbers[:0], at
        if kind == _STRUCT:
            depth += 1
            fields[depth] = 0
        elif kind == _BINARY:
            size, at = _varint(data, at)
            at += size
        elif kind > 2:
            value, at = _varint(data, at)
            numbers[depth, fields[depth]] = (value >> 1) ^ -(value & 1)
    return numbers, at


@numba.njit(cache=True, nogil=True)
def _pages(data, at, rows):
    """Of each page of a column that holds one of the rows: begin, bytes packed and unpacked, first row, rows."""
    pages = np.empty((len(rows), 5), np.int64)
    num = first = wanted = 0
    while wanted < len(rows):
        header, at = _header(data, at)
        if len(header) == 0 or header[0, _TYPE] != _DATA_PAGE or header[1, _ENCODING] != _PLAIN:
            return pages[:0]
        packed, num_rows = header[0, _PACKED], header[1, _VALUES]
        if packed <= 0 or num_rows <= 0 or at + packed > len(data):
            return pages[:0]
        if rows[wanted] < first + num_rows:
            pages[num] = (at, packed, header[0, _UNPACKED], first, num_rows)
            num += 1
            while wanted < len(rows) and rows[wanted] < first + num_rows:
                wanted += 1
        first += num_rows
        at += packed
    return pages[:num]


@numba.njit(cache=True, nogil=True)
def _length(page, at):
    """Four bytes, the lowest first."""
    length = 0
    for place in range(4):
        length |= np.int64(page[at + place]) << (8 * place)
    return length


@numba.njit(cache=True, nogil=True)
def _begins(page, num_rows):
    """Where each text begins, four bytes after the end of the one before; nothing where they do not fill the page."""
    begins = np.empty(num_rows + 1, np.int64)
    if len(page) < 4:
        return begins[:0]
    at = 4 + _length(page, 0)  # after the levels, which say that no text is null
    for row in range(num_rows):
        if at + 4 > len(page):
            return begins[:0]
        begins[row] = at + 4
        at += 4 + _length(page, at)
    begins[num_rows] = at + 4
    return begins if at == len(page) else begins[:0]
