"""The records of WARC and ARC files, as blocks of bytes.

FastWARC reads HTTP for us (`extraction/captures.py`), but not the files: it takes a record that is cut off for an empty
one, ends at the first damage, and knows no ARC. Here a damaged record costs itself: what follows is found again by the
line that every record begins with.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_MAX_HEADER_BYTES = 1 << 16
_WARC_START = re.compile(rb"WARC/\d\.\d+\s*$")
_WARC_INSIDE = re.compile(rb"\r?\n\r?\n(?=WARC/\d\.\d+\r?\n)")
_ARC_START = re.compile(
    rb"(?P<url>\S.*?) (?P<address>\d+\.\d+\.\d+\.\d+) (?P<date>\d{14}) (?P<type>\S+) (?:.* )?(?P<length>\d+)\s*$"
)


@dataclass(slots=True)
class Block:
    """One record of an archive, or what stands where one should be.

    Attributes:
        offset: where its header begins in the (decompressed) file.
        length: bytes from there to the end of its content.
        headers: WARC's fields, names in lower case; of ARC under the names that WARC has for them.
        data: the content; empty if it cannot be used.
        reason: why it cannot be used: `corrupt_warc`, `truncated_warc`, `too_long`, or None.
        detail: what was found and what was expected.
    """

    offset: int
    length: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    reason: str | None = None
    detail: str = ""


class _Source:
    """Chunks to read lines and bytes from, which can be given back."""

    def __init__(self, chunks: Iterable[bytes]):
        self._chunks = iter(chunks)
        self._buffer = bytearray()
        self._start = 0
        self.offset = 0

    def _fill(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += chunk
        return True

    def readline(self) -> bytes:
        """The next line, at most 64 KB of it; empty at the end."""
        end = self._buffer.find(b"\n", self._start)
        while end < 0 and len(self._buffer) - self._start < _MAX_HEADER_BYTES:
            seen = len(self._buffer) - self._start
            if not self._fill():
                break
            end = self._buffer.find(b"\n", self._start + seen)
        size = (end + 1 if end >= 0 else len(self._buffer)) - self._start
        return self._take(min(size, _MAX_HEADER_BYTES))

    def read(self, size: int) -> bytes:
        """The next bytes; fewer at the end."""
        while len(self._buffer) - self._start < size and self._fill():
            pass
        return self._take(min(size, len(self._buffer) - self._start))

    def skip(self, size: int) -> int:
        """Pass over bytes; returns how many there were."""
        skipped = 0
        while skipped < size and (piece := self.read(min(size - skipped, 1 << 20))):
            skipped += len(piece)
        return skipped

    def give_back(self, data: bytes) -> None:
        """Put the last bytes that were read back."""
        self._buffer[: self._start] = data
        self._start = 0
        self.offset -= len(data)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[self._start : self._start + size])
        self._start += size
        self.offset += size
        return data


def read_blocks(chunks: Iterable[bytes], max_bytes: int) -> Iterator[Block]:
    """Yield the records of an archive, damaged ones with a reason.

    Args:
        chunks: the decompressed file. What it raises passes through.
        max_bytes: longest content that is read.
    """
    source = _Source(chunks)
    garbage: Block | None = None
    while True:
        offset = source.offset
        line = source.readline()
        if not line:
            break
        headers = None
        if _WARC_START.match(line):
            headers = _warc_headers(source)
        elif match := _ARC_START.match(line):
            headers = _arc_headers(match)
        elif not line.strip() and garbage is None:
            continue
        length = (headers or {}).get("content-length", "")
        if headers is None or not length.isdecimal():
            if garbage is None:
                detail = f"no record begins here, or its length is none: {line[:60]!r}"
                garbage = Block(offset, reason="corrupt_warc", detail=detail)
            continue
        if garbage:
            garbage.length = offset - garbage.offset
            yield garbage
            garbage = None
        yield _block(source, offset, headers, int(length), max_bytes)
    if garbage:
        garbage.length = source.offset - garbage.offset
        yield garbage


def _block(source: _Source, offset: int, headers: dict[str, str], size: int, max_bytes: int) -> Block:
    block = Block(offset, headers=headers)
    if size > max_bytes:
        found = source.skip(size)
        block.reason = "too_long" if found == size else "truncated_warc"
        block.detail = f"{size} bytes declared, {found} found; extraction.max_file_bytes is {max_bytes}"
    else:
        data = source.read(size)
        if len(data) == size and _at_border(source):
            block.data = data
        elif inside := _WARC_INSIDE.search(data):
            source.give_back(data[inside.end() :])
            block.reason, block.detail = "corrupt_warc", f"{size} bytes declared, but the next record begins within"
        elif len(data) < size:
            block.reason, block.detail = "truncated_warc", f"{size} bytes declared, {len(data)} found"
        else:
            block.reason, block.detail = "corrupt_warc", f"{size} bytes declared, but no record begins after them"
    block.length = source.offset - offset
    return block


def _at_border(source: _Source) -> bool:
    """Whether an empty line comes next, or the end, or (some writers leave the line out) a record."""
    line = source.readline()
    is_border = not line.strip() or bool(_WARC_START.match(line) or _ARC_START.match(line))
    source.give_back(line)
    return is_border


def _warc_headers(source: _Source) -> dict[str, str] | None:
    """Fields up to the empty line; None if there is none within 64 KB."""
    headers: dict[str, str] = {}
    name = ""
    size = 0
    while line := source.readline():
        size += len(line)
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text.strip():
            return headers
        if size > _MAX_HEADER_BYTES:
            return None
        if text[0] in " \t" and name:
            headers[name] += " " + text.strip()
        else:
            name, _, value = text.partition(":")
            name = name.strip().lower()
            headers[name] = value.strip()
    return headers


def _arc_headers(match: re.Match[bytes]) -> dict[str, str]:
    fields = {name: value.decode("utf-8", "replace") for name, value in match.groupdict().items()}
    d = fields["date"]
    return {
        "warc-type": "warcinfo" if fields["url"].startswith("filedesc:") else "response",
        "warc-target-uri": fields["url"],
        "warc-date": f"{d[:4]}-{d[4:6]}-{d[6:8]}T{d[8:10]}:{d[10:12]}:{d[12:]}Z",
        "content-type": fields["type"],
        "content-length": fields["length"],
    }
