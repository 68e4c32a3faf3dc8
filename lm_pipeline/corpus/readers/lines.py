"""Bytes to lines: byte ranges, and a bound on memory.

What goes wrong inside a stream reaches the reader as one last line with a reason, after all whole lines before it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lm_pipeline.corpus.readers.compression import CHUNK, DamagedStreamError

_HEAD = 1000


class Line(NamedTuple):
    """One line of a stream.

    Attributes:
        number: its index in the file, from 0.
        offset: where it begins in the (decompressed) file, in bytes.
        length: its length in bytes, line end included.
        data: its bytes, line end included; only the first 1000 where `reason` is set.
        reason: None, or why the line cannot be used: `too_long`, `truncated_*`, `corrupt_*`, `invalid_utf16`.
        detail: the reason in words.
    """

    number: int
    offset: int
    length: int
    data: bytes
    reason: str | None = None
    detail: str = ""


def split_lines(
    chunks: Iterable[bytes], max_bytes: int, offset: int = 0, number: int = 0, end: int | None = None
) -> Iterator[Line]:
    r"""Cut chunks at `\n` into lines; at most `max_bytes` + 1 MB are held at a time.

    Args:
        chunks: the bytes from `offset` on, which must be the beginning of a line.
        max_bytes: a line with more bytes is reported as `too_long` and its bytes are dropped.
        offset: position of the first chunk in the file.
        number: index of the first line.
        end: no line that begins at or after this position is yielded.
    """
    pieces = Pieces(max_bytes)
    if end is not None and offset >= end:
        return
    try:
        for chunk in chunks:
            position = 0
            while position < len(chunk):
                newline = chunk.find(b"\n", position)
                stop = newline + 1 or len(chunk)
                if newline >= 0 and not pieces.length and stop - position <= max_bytes:  # nearly every line
                    yield Line(number, offset, stop - position, chunk[position:stop])
                    offset, number, position = offset + stop - position, number + 1, stop
                    if end is not None and offset >= end:
                        return
                    continue
                pieces.add(chunk[position:stop])
                position = stop
                if newline >= 0:
                    line = pieces.line(number, offset)
                    offset, number = offset + line.length, number + 1
                    yield line
                    if end is not None and offset >= end:
                        return
    except DamagedStreamError as error:
        yield Line(number, offset, pieces.length, pieces.head(), error.reason, error.detail)
        return
    if pieces.length:
        yield pieces.line(number, offset)


class Pieces:
    """A line or another record that is put together from pieces of chunks; past a limit only its head is held."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: list[bytes] = []
        self.length = 0

    def add(self, piece: bytes) -> None:
        """Append what follows."""
        was_short = self.length <= self._max_bytes
        self.length += len(piece)
        # The first piece past the limit turns the line into its head; later ones are only counted.
        if self.length <= self._max_bytes:
            self._kept.append(piece)
        elif was_short:
            self._kept = [b"".join([*self._kept[:2], piece])[:_HEAD]]

    def head(self) -> bytes:
        """The first bytes."""
        return b"".join(self._kept[:2])[:_HEAD]

    def line(self, number: int, offset: int) -> Line:
        """What was put together; the next pieces are another line's."""
        # Dropped before the line is handed on: a long line must not be held twice.
        kept, length = self._kept, self.length
        self._kept, self.length = [], 0
        if length <= self._max_bytes:
            return Line(number, offset, length, kept[0] if len(kept) == 1 else b"".join(kept))
        detail = f"{length} bytes; cleaning.max_line_bytes is {self._max_bytes}"
        return Line(number, offset, length, kept[0], "too_long", detail)


_known_lines: dict[tuple[Path, int, int], list[tuple[int, int]]] = {}
"""Per file (path, size, mtime): positions whose line number is known, so that reading a file range by range counts
its newlines once and not once per range. Of the last 16 files."""


def line_start(path: Path, position: int) -> tuple[int, int]:
    """The first line that begins at or after `position`: its offset and its index in the file."""
    status = path.stat()
    key = (path, status.st_size, status.st_mtime_ns)
    known = _known_lines.setdefault(key, [(0, 0)])
    while len(_known_lines) > 16:
        del _known_lines[next(iter(_known_lines))]
    offset, number = max(entry for entry in known if entry[0] <= position)
    if offset == position:
        return offset, number
    with path.open("rb") as file:
        file.seek(offset)
        while offset < position - 1 and (chunk := file.read(min(CHUNK, position - 1 - offset))):
            number += chunk.count(b"\n")
            offset += len(chunk)
        # A line that begins at `position` itself follows a newline at position - 1.
        while chunk := file.read(CHUNK):
            newline = chunk.find(b"\n")
            offset += newline + 1 or len(chunk)
            if newline >= 0:
                number += 1
                break
    known.append((offset, number))
    return offset, number
