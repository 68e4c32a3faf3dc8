"""The members of a zip archive, one after the other: a number is held for each, not an object as `zipfile` does.

Format: PKWARE's APPNOTE.TXT, sections 4.3.7 (local headers), 4.3.12 to 4.3.16 (the table of contents and what leads to
it) and 4.5.3 (sizes beyond 32 bits). Decompression and checksums are `zipfile`'s.
"""

import bisect
import contextlib
import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipExtFile, ZipInfo

import numpy as np

from lm_pipeline.corpus.readers.name_charsets import NameCharsets

_LOCAL = struct.Struct("<4s2H 18x 2H")  # mark, version, flags … lengths of name and extra field
_ENTRY = struct.Struct("<4s 2x B x 2H 4x 3L 3H 8x L")
_END = struct.Struct("<4s 6x H 2L H")  # mark, number of members, size and offset of the table, length of the comment
_END_64 = struct.Struct("<4s 28x 3Q")
_LOCATOR_64 = struct.Struct("<4s 12x L")
_MAX_COMMENT = 1 << 16
_MAX_32, _MAX_64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
_NEWEST_VERSION = 63
_PATCHED, _STRONGLY_ENCRYPTED, _UTF8_NAME = 0x20, 0x40, 0x800


@dataclass(slots=True)
class ZipEntry:
    """What the table of contents says of a member.

    Attributes:
        name: as it is written.
        charset: which character set that is, as Python names it.
        version: of the format, in tenths.
        flags: general purpose bits.
        method: of compression.
        checksum: CRC-32 of the content.
        compressed: bytes in the archive.
        size: bytes of the content.
        begin: where its local header begins in the file.
        end: where the next member, or the table of contents, begins.
        damage: what is wrong with the entry itself; None where nothing is.
    """

    name: bytes
    charset: str
    version: int
    flags: int
    method: int
    checksum: int
    compressed: int
    size: int
    begin: int
    end: int
    damage: str | None = None


@dataclass(frozen=True, slots=True)
class _Table:
    begin: int
    num_bytes: int
    num_entries: int
    shift: int  # bytes in front of the archive, which its offsets do not count


def zip_entries(path: Path) -> Iterator[ZipEntry]:
    """Go through a table of contents, in its order. Names that are not declared to be UTF-8 tell their set together.

    Raises:
        BadZipFile: there is none; or, after the last good entry, it is damaged.
    """
    with path.open("rb", buffering=1 << 20) as file:
        table = _find_table(file)
        begins, names = array("Q"), NameCharsets()
        with contextlib.suppress(BadZipFile):  # raised again below, after the entries before the damage
            for entry in _entries(file, table):
                begins.append(entry.begin)
                if not entry.flags & _UTF8_NAME:
                    names.add(entry.name)
        np.frombuffer(begins, np.uint64).sort()
        begins.append(table.begin)
        for entry in _entries(file, table):
            if not entry.flags & _UTF8_NAME:
                entry.charset = names.charset_of(entry.name)
            entry.end = begins[min(bisect.bisect_right(begins, entry.begin), len(begins) - 1)]
            yield entry


def open_entry(file: BinaryIO, entry: ZipEntry) -> ZipExtFile:
    """Open a member's content; the file must not be moved elsewhere meanwhile.

    Raises:
        BadZipFile: its local header is not what the table of contents says, or it reaches into the next member.
        NotImplementedError: it needs what is not supported.
    """
    if entry.version > _NEWEST_VERSION:
        raise NotImplementedError(f"version {entry.version / 10} of the format")
    if entry.flags & (_PATCHED | _STRONGLY_ENCRYPTED):
        raise NotImplementedError("patched data" if entry.flags & _PATCHED else "strong encryption")
    file.seek(entry.begin)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        raise BadZipFile(f"no header of a member at byte {entry.begin}")
    *_, name_length, extra_length = _LOCAL.unpack(header)
    name = file.read(name_length)
    if name != entry.name:
        raise BadZipFile(f"it is called {entry.name!r} in the table of contents and {name!r} at byte {entry.begin}")
    content = file.seek(extra_length, os.SEEK_CUR)
    if content + entry.compressed > entry.end:
        raise BadZipFile(f"its {entry.compressed} bytes at {content} overlap what begins at {entry.end}")
    info = ZipInfo(name.decode("ascii", "backslashreplace"))
    info.compress_type, info.compress_size, info.file_size = entry.method, entry.compressed, entry.size
    info.CRC, info.flag_bits = entry.checksum, entry.flags
    return ZipExtFile(file, "r", info)  # pyright: ignore[reportArgumentType, reportCallIssue] - reading needs no more


def _find_table(file: BinaryIO) -> _Table:
    num_bytes = file.seek(0, os.SEEK_END)
    first = max(0, num_bytes - _MAX_COMMENT - _END.size - _END_64.size - _LOCATOR_64.size)
    file.seek(first)
    tail = file.read()
    at = len(tail) - _END.size
    if at < 0 or tail[at : at + 4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise BadZipFile("no end of a table of contents")
    _, num, size, offset, _ = _END.unpack_from(tail, at)
    end = first + at
    locator, record = at - _LOCATOR_64.size, at - _LOCATOR_64.size - _END_64.size
    if record >= 0 and tail[locator : locator + 4] == b"PK\x06\x07" and tail[record : record + 4] == b"PK\x06\x06":
        if _LOCATOR_64.unpack_from(tail, locator)[1] > 1:
            raise BadZipFile("one of several files of an archive; join them first")
        _, num, size, offset = _END_64.unpack_from(tail, record)
        end = first + record
    if end < size:
        raise BadZipFile(f"a table of contents of {size} bytes that ends at byte {end}")
    return _Table(end - size, size, num, end - size - offset)


def _entries(file: BinaryIO, table: _Table) -> Iterator[ZipEntry]:
    """The entries, whose `end` is not known yet, nor their character set where they do not declare it."""
    place, end, num = table.begin, table.begin + table.num_bytes, 0
    file.seek(place)
    while place < end:
        header = file.read(_ENTRY.size)
        if len(header) < _ENTRY.size or not header.startswith(b"PK\x01\x02"):
            raise BadZipFile(f"its table of contents is damaged at byte {place}, after {num} members")
        _, version, flags, method, checksum, compressed, size, *lengths, begin = _ENTRY.unpack(header)
        name, extra, _ = (file.read(length) for length in lengths)
        place += _ENTRY.size + sum(lengths)
        num += 1
        damage = None
        if _MAX_32 in (compressed, size, begin):
            compressed, size, begin, damage = _long_sizes(extra, compressed, size, begin)
        begin = min(max(0, begin + table.shift), _MAX_64)
        yield ZipEntry(name, "utf-8", version, flags, method, checksum, compressed, size, begin, 0, damage)
    if num & 0xFFFF != table.num_entries & 0xFFFF:  # 16 bits are all that some archivers write
        raise BadZipFile(f"its table of contents has {num} members and says {table.num_entries}")


def _long_sizes(extra: bytes, compressed: int, size: int, begin: int) -> tuple[int, int, int, str | None]:
    """What does not fit into 32 bits is in the extra field 1, in this order: size, compressed size, offset."""
    values = b""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            values = extra[4 : 4 + length]
            break
        extra = extra[4 + length :]
    found = iter(value for (value,) in struct.iter_unpack("<Q", values[: len(values) // 8 * 8]))
    try:
        size = next(found) if size == _MAX_32 else size
        compressed = next(found) if compressed == _MAX_32 else compressed
        begin = next(found) if begin == _MAX_32 else begin
    except StopIteration:
        return compressed, size, begin, "its sizes do not fit into 32 bits and stand nowhere else"
    return compressed, size, begin, None
