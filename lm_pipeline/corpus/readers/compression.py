"""Compressed streams: gzip, bzip2, xz and zstd, all members or frames of them, in bounded steps.

One loop feeds pieces to a decompressor and hands out what they become; nothing is held beyond one piece. A stream that
ends early, is damaged or expands beyond all measure raises after the last good bytes.
"""

import bz2
import errno
import lzma
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import zstandard

CHUNK = 1 << 20
MIN_BOMB_BYTES = 64 * 1024 * 1024
"""Nothing smaller is a bomb, however well it was compressed."""
MIN_ARCHIVE_BOMB_BYTES = 4 * 1024**3
"""Nor is an archive whose members together are smaller."""

Compression = Literal["gzip", "bzip2", "xz", "zstd"]
EXTENSIONS: dict[str, Compression] = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class DamagedStreamError(Exception):
    """A compressed or encoded stream ended early or does not decode; never leaves the readers."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


_FAULTS_OF_CONTENT = (None, errno.EINVAL, errno.EOVERFLOW)  # the last two: a place that the file gives and cannot have


def is_disk_fault(error: BaseException) -> bool:
    """Whether the disk failed, and not what is on it; such an error must stop a run, since another may succeed."""
    return isinstance(error, OSError) and error.errno not in _FAULTS_OF_CONTENT


class Expansion:
    """Watches what compressed bytes become, for all the streams of one raw file.

    Args:
        max_expansion: a stream that becomes more than this many times its size, and more than `MIN_BOMB_BYTES`, is a
            bomb. After the first bomb the file's other streams are granted no such minimum.
        num_bytes: size of the raw file. All its streams may together become `max_expansion` times that, and
            `MIN_ARCHIVE_BOMB_BYTES`.
    """

    def __init__(self, max_expansion: int, num_bytes: int | None = None):
        self.max_expansion = max_expansion
        self.granted = MIN_BOMB_BYTES
        self._most = None if num_bytes is None else max(MIN_ARCHIVE_BOMB_BYTES, num_bytes * max_expansion)
        self._produced = 0

    def count(self, produced: int) -> None:
        """Add to what all streams of the file have become.

        Raises:
            DamagedStreamError: together they are a bomb, none of them alone maybe.
        """
        self._produced += produced
        if self._most is not None and self._produced > self._most:
            detail = f"the file's streams became more than {self._most} bytes; extraction.max_expansion"
            raise DamagedStreamError("bomb", detail)

    def check(self, consumed: int, produced: int) -> None:
        """Compare a stream's bytes with what they became.

        Raises:
            DamagedStreamError: it is a bomb.
        """
        if produced > self.granted and produced > consumed * self.max_expansion:
            self.granted = 0
            detail = (
                f"{consumed} bytes became more than {produced}; extraction.max_expansion is {self.max_expansion}, from"
                f" {MIN_BOMB_BYTES} bytes on"
            )
            raise DamagedStreamError("bomb", detail)


def compression_of(name: str, first: bytes) -> Compression | None:
    """How a stream is compressed: by its name's extension, else by its first bytes."""
    declared = EXTENSIONS.get(Path(name).suffix.lower())
    return declared or next((compression for magic, compression in MAGIC.items() if first.startswith(magic)), None)


def file_chunks(path: Path, start: int = 0) -> Generator[bytes, None, None]:
    """A file's bytes from `start` on, in chunks of 1 MB."""
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(CHUNK):
            yield chunk


def decompressed(chunks: Iterable[bytes], compression: Compression, expansion: Expansion) -> Iterator[bytes]:
    """What compressed chunks become, in chunks of about 1 MB at most (zstd: 128 MB from a bomb).

    Raises:
        DamagedStreamError: after the last good chunk, where the stream ends early, is damaged or is a bomb.
    """
    consumed = produced = 0

    def pieces() -> Iterator[bytes]:
        nonlocal consumed
        step = _PIECE_BYTES[compression]
        for chunk in chunks:
            for start in range(0, len(chunk), step):
                piece = chunk[start : start + step]
                consumed += len(piece)
                yield piece

    try:
        for data in _frames(pieces(), compression):
            produced += len(data)
            expansion.check(consumed, produced)
            expansion.count(len(data))
            yield data
    except EOFError as error:
        detail = f"the {compression} stream ends before its end marker; records before this one were read"
        raise DamagedStreamError(f"truncated_{compression}", detail) from error
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError) as error:
        if is_disk_fault(error):
            raise
        raise DamagedStreamError(f"corrupt_{compression}", f"not a sound {compression} stream: {error}") from error


_PIECE_BYTES: dict[Compression, int] = {"gzip": 1 << 16, "bzip2": 1 << 16, "xz": 1 << 16, "zstd": 1 << 12}
"""Bytes fed at a time. zstd's decompressor has no bound on its output; 4 KB expand to 128 MB at most."""


def _frames(pieces: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    new, feed = _DECOMPRESSORS[compression]
    frame, finished = new(), False
    for piece in pieces:
        rest = piece
        while rest:
            if finished:
                rest = rest.lstrip(b"\0")  # padding between and after members
                if not rest:
                    break
                frame = new()
            rest = yield from feed(frame, rest)
            finished = frame.eof
    if not finished:
        raise EOFError  # an empty file too: it is no stream at all


def _feed_zlib(frame: Any, piece: bytes) -> Generator[bytes, None, bytes]:
    """Yield what a piece becomes; return what follows the end of the frame. So do the other two."""
    full = False
    while piece or full:
        data = frame.decompress(piece, CHUNK)
        if data:
            yield data
        if frame.eof:
            return frame.unused_data
        piece, full = frame.unconsumed_tail, len(data) == CHUNK
    return b""


def _feed_blocks(frame: Any, piece: bytes) -> Generator[bytes, None, bytes]:
    while piece or not (frame.eof or frame.needs_input):
        data, piece = frame.decompress(piece, CHUNK), b""
        if data:
            yield data
    return frame.unused_data if frame.eof else b""


def _feed_zstd(frame: Any, piece: bytes) -> Generator[bytes, None, bytes]:
    data = frame.decompress(piece)
    if data:
        yield data
    return frame.unused_data if frame.eof else b""


_DECOMPRESSORS: dict[Compression, tuple[Callable[[], Any], Callable[[Any, bytes], Generator[bytes, None, bytes]]]] = {
    "gzip": (lambda: zlib.decompressobj(wbits=31), _feed_zlib),
    "bzip2": (bz2.BZ2Decompressor, _feed_blocks),
    "xz": (lzma.LZMADecompressor, _feed_blocks),
    "zstd": (lambda: zstandard.ZstdDecompressor().decompressobj(), _feed_zstd),
}
