"""What a reader works on: a stream of decompressed bytes, wherever it lies and however it was packed."""

import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lm_pipeline.corpus.readers.charsets import ESCAPES, detect
from lm_pipeline.corpus.readers.compression import (
    DamagedStreamError,
    Expansion,
    compression_of,
    decompressed,
    file_chunks,
)
from lm_pipeline.corpus.readers.encodings import WIDE, by_mark, by_nuls, transcoded
from lm_pipeline.corpus.readers.lines import Line, line_start, split_lines
from lm_pipeline.corpus.readers.records import Quarantined, decode
from lm_pipeline.scratch import scratch_folder
from lm_pipeline.specs.corpus import CorpusSpec, Fields, PythonSource, TextFormat

HEAD_BYTES = 8192


@dataclass(slots=True)
class Opened:
    """A raw file, or a member of an archive, that is being read once from its beginning.

    Attributes:
        name: its path in the listing, or in the archive; the extension of what it was compressed with left on.
        spec: the corpus.
        head: its first (decompressed) bytes, at most 8 KB.
        content: all its (decompressed) bytes in chunks; raises `DamagedStreamError` after the last good one. Can be
            gone through once.
        expansion: watches what the raw file's streams become.
        path: a file on this machine with the same bytes; None where they come out of a compressed file or an archive.
        start: first byte wanted, of a file that is cut into ranges.
        end: first byte not wanted; None for all.
        record: index of the first record of the range, where ranges begin at records and not anywhere.
    """

    name: str
    spec: CorpusSpec
    head: bytes
    content: Iterator[bytes]
    expansion: Expansion
    path: Path | None = None
    start: int = 0
    end: int | None = None
    record: int = 0
    _charset: str | None = None

    @property
    def max_bytes(self) -> int:
        """Longest record, in bytes."""
        return self.spec.cleaning.max_line_bytes

    @property
    def max_file_bytes(self) -> int:
        """Longest page, PDF or captured answer that is parsed, in bytes."""
        return self.spec.extraction.max_file_bytes

    @property
    def fields(self) -> Fields:
        """Which fields of a record are used; text from Python itself has its own."""
        if isinstance(self.spec.source, PythonSource) and self.spec.fields == Fields():
            return Fields(label="label", group="group")
        return self.spec.fields

    @property
    def unit(self) -> Literal["file", "paragraph", "line"]:
        """What one document of a text file is."""
        return self.spec.format.unit if isinstance(self.spec.format, TextFormat) else "file"

    @property
    def charset(self) -> str:
        """The character set of a text file, as Python names it: the one that is declared, else the one detected."""
        charset = self._charset
        if charset is None:
            declared: str = getattr(self.spec.format, "encoding", "auto")
            charset = by_mark(self.head)
            if charset is None:
                charset = declared if declared != "auto" else by_nuls(self.head) or self._detected()
            self._charset = charset
        return charset

    def _detected(self) -> str:
        """By the first bytes beyond ASCII, which may be far from the beginning."""
        seen, self.content = peeked_until(self.content, _has_sample, _MAX_LOOKAHEAD)
        marks = [mark for mark, _ in ESCAPES.values()]
        return detect(chunk for chunk in seen if not chunk.isascii() or any(mark in chunk for mark in marks))

    @property
    def has_offsets(self) -> bool:
        """Whether `lines` are the file's own bytes, so that their places are places in the file."""
        return self.charset not in WIDE

    def lines(self) -> Iterator[Line]:
        """The lines of the wanted range; UTF-16 and UTF-32 as UTF-8, everything else as it is."""
        if self.start:
            assert self.path is not None, "only a plain file has byte ranges"
            offset, number = line_start(self.path, self.start)
            return split_lines(file_chunks(self.path, offset), self.max_bytes, offset, number, self.end)
        chunks = self.text_chunks()
        if self.has_old_line_ends:
            chunks = (chunk.replace(b"\r", b"\n") for chunk in chunks)
        return split_lines(chunks, self.max_bytes, end=self.end)

    @property
    def has_old_line_ends(self) -> bool:
        r"""Whether lines end in a lone `\r`, as those of Macs before 2001 do."""
        return b"\r" in self.head and b"\n" not in self.head and self.charset not in WIDE

    def text_chunks(self) -> Iterator[bytes]:
        """The content in chunks; UTF-16 and UTF-32 as UTF-8, everything else as it is."""
        charset = self.charset  # before the content is touched: it may be looked into
        return transcoded(self.content, charset) if charset in WIDE else self.content

    def decode(self, data: bytes, record: int | None, byte_offset: int | None) -> str | Quarantined:
        """Bytes of `lines` as text, or the quarantined record that names the bad byte."""
        return decode(data, record, byte_offset, self.charset)

    def stream(self) -> io.BufferedReader:
        """The content as a binary file to read from, forwards only."""
        return io.BufferedReader(_Raw(self.content), 1 << 16)

    @contextmanager
    def local(self) -> Iterator[Path]:
        """The content as a file on this machine, for formats that are not read from front to back.

        What is compressed or in an archive is written to a temporary file meanwhile (in `TMPDIR`).

        Raises:
            DamagedStreamError: the compressed stream or the archive is damaged.
        """
        if self.path is not None:
            yield self.path
            return
        with scratch_folder() as folder:
            path = folder / "content"
            with path.open("wb") as file:
                for chunk in self.content:
                    file.write(chunk)
            yield path


class _Raw(io.RawIOBase):
    """Chunks as a raw binary file."""

    def __init__(self, chunks: Iterator[bytes]):
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


@contextmanager
def open_file(path: Path, name: str, spec: CorpusSpec, start: int = 0, end: int | None = None) -> Iterator[Opened]:
    """Open a file on this machine for a while; what it is compressed with is seen through."""
    with closing(file_chunks(path)) as chunks:
        first, content = peeked(chunks, 8)
        opened = open_stream(content, name, spec, Expansion(spec.extraction.max_expansion, path.stat().st_size))
        if compression_of(name, first) is None:
            opened.path, opened.start, opened.end = path, start, end
        yield opened


def open_stream(chunks: Iterator[bytes], name: str, spec: CorpusSpec, expansion: Expansion) -> Opened:
    """Open a stream of bytes, such as a member of an archive; what it is compressed with is seen through."""
    first, chunks = peeked(chunks, 8)
    compression = compression_of(name, first)
    if compression:
        chunks = decompressed(chunks, compression, expansion)
    head, chunks = peeked(chunks, HEAD_BYTES)
    return Opened(name, spec, head[:HEAD_BYTES], chunks, expansion)


def peeked(chunks: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first `size` bytes or a little more (fewer of a shorter or damaged stream), and the whole stream."""
    seen, whole = peeked_until(chunks, lambda _: False, size)
    return b"".join(seen), whole


def peeked_until(
    chunks: Iterator[bytes], is_enough: Callable[[bytes], bool], size: int
) -> tuple[list[bytes], Iterator[bytes]]:
    """The first chunks, to the first that is enough or to `size` bytes (or to damage), and the whole stream."""
    seen: list[bytes] = []
    damage: list[DamagedStreamError] = []
    try:
        while sum(map(len, seen)) < size and (chunk := next(chunks, None)) is not None:
            seen.append(chunk)
            if is_enough(chunk):
                break
    except DamagedStreamError as error:
        damage.append(error.with_traceback(None))  # a traceback would keep this frame, and all it holds, alive

    def whole() -> Iterator[bytes]:
        while seen:
            yield seen.pop(0)
        if damage:
            raise damage[0]
        yield from chunks

    return list(seen), whole()


def _has_sample(chunk: bytes) -> bool:
    return len(chunk.translate(None, _ASCII)) >= _SAMPLE_BYTES


_ASCII = bytes(range(128))
_SAMPLE_BYTES = 1024
_MAX_LOOKAHEAD = 16 << 20
