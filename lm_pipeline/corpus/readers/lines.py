"""Bytes to lines: decompression, byte ranges, byte-order marks and a bound on memory.

Every step is a generator over chunks of bytes. What goes wrong inside a compressed stream reaches the reader as one
last line with a reason, after all whole lines before it.
"""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Literal, NamedTuple

import zstandard

CHUNK = 1 << 20
_HEAD = 1000

Compression = Literal["gzip", "bzip2", "xz", "zstd"]
EXTENSIONS: dict[str, Compression] = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
UTF8_BOM = codecs.BOM_UTF8
UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class DamagedStreamError(Exception):
    """A compressed or encoded stream ended early or does not decode; never leaves the readers."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


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
    kept: list[bytes] = []
    length = 0
    if end is not None and offset >= end:
        return
    try:
        for chunk in chunks:
            position = 0
            while position < len(chunk):
                newline = chunk.find(b"\n", position)
                stop = newline + 1 or len(chunk)
                length += stop - position
                # The first piece past the limit turns the line into its head; later ones are only counted.
                if length <= max_bytes:
                    kept.append(chunk[position:stop])
                elif length - (stop - position) <= max_bytes:
                    kept = [b"".join([*kept[:2], chunk[position:stop]])[:_HEAD]]
                position = stop
                if newline >= 0:
                    line = _line(number, offset, length, kept, max_bytes)
                    # Dropped before the line is handed on: a long line must not be held twice.
                    offset, number, kept, length = offset + length, number + 1, [], 0
                    yield line
                    if end is not None and offset >= end:
                        return
    except DamagedStreamError as error:
        yield Line(number, offset, length, b"".join(kept[:2])[:_HEAD], error.reason, error.detail)
        return
    if length:
        yield _line(number, offset, length, kept, max_bytes)


def _line(number: int, offset: int, length: int, kept: list[bytes], max_bytes: int) -> Line:
    if length <= max_bytes:
        return Line(number, offset, length, kept[0] if len(kept) == 1 else b"".join(kept))
    detail = f"{length} bytes; cleaning.max_line_bytes is {max_bytes}"
    return Line(number, offset, length, kept[0], "too_long", detail)


def read_chunks(path: Path, compression: Compression | None, start: int = 0) -> Iterator[bytes]:
    """The file's bytes, decompressed, in chunks of about 1 MB.

    Args:
        path: the file.
        compression: how it is compressed; all members or frames of it are read.
        start: position of the first byte, for an uncompressed file.

    Raises:
        DamagedStreamError: after the last good chunk, where a compressed stream ends early or is damaged.
    """
    with path.open("rb") as raw:
        if compression is None:
            raw.seek(start)
            while chunk := raw.read(CHUNK):
                yield chunk
            return
        assert start == 0, "a compressed file has no byte ranges"
        try:
            yield from _decompress(raw, compression)
        except EOFError as error:
            detail = f"the {compression} stream ends before its end marker; records before this one were read"
            raise DamagedStreamError(f"truncated_{compression}", detail) from error
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the stream's
            raise DamagedStreamError(f"corrupt_{compression}", f"not a sound {compression} stream: {error}") from error


def _decompress(raw: BufferedReader, compression: Compression) -> Iterator[bytes]:
    if compression == "zstd":
        yield from _zstd_chunks(raw)
        return
    if not raw.peek(1):
        raise EOFError  # an empty file is no stream at all, but the standard library reads it as an empty one
    opened = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}[compression]
    with opened(raw, "rb") as stream:
        # read1, because read() throws away what it has when the stream turns out to be truncated.
        while chunk := stream.read1(CHUNK):
            yield chunk


def _zstd_chunks(raw: BufferedReader) -> Iterator[bytes]:
    """All frames; unlike `zstandard`'s own readers this notices a missing end.

    Pieces of 4 KB bound what a hostile frame can expand to (at most 32768 times) before it is looked at.
    """
    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    while piece := raw.read(4096):
        while piece:
            if frame.eof:
                frame = decompressor.decompressobj()
            data = frame.decompress(piece)
            if data:
                yield data
            piece = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError


def transcode_utf16(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """UTF-16 to UTF-8, the byte-order mark dropped.

    Raises:
        DamagedStreamError: after the last good chunk.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    first = True
    try:
        for chunk in chunks:
            text = decoder.decode(chunk)
            yield (text.removeprefix("\ufeff") if first and text else text).encode()
            first = first and not text
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DamagedStreamError("invalid_utf16", f"{error.reason}; expected {encoding} as the mark says") from error


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
