"""A raw file that a reader works on: where it is, how it is compressed, which part of it is wanted."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lm_pipeline.corpus.readers.lines import (
    UTF16,
    Compression,
    Line,
    line_start,
    read_chunks,
    split_lines,
    transcode_utf16,
)
from lm_pipeline.specs.corpus import CorpusSpec, Fields, PythonSource, TextFormat


@dataclass(frozen=True, slots=True)
class Opened:
    """What every reader is given.

    Attributes:
        path: a local file with the bytes.
        spec: the corpus.
        head: the first (decompressed) bytes, at most 8 KB.
        compression: how `path` is compressed; None if it is not.
        start: first byte wanted; a line belongs to the range in which it begins.
        end: first byte not wanted; None for all.
    """

    path: Path
    spec: CorpusSpec
    head: bytes
    compression: Compression | None = None
    start: int = 0
    end: int | None = None

    @property
    def max_bytes(self) -> int:
        """Longest record, in bytes."""
        return self.spec.cleaning.max_line_bytes

    @property
    def fields(self) -> Fields:
        """Which fields of a record are used; text from Python itself has its own."""
        if isinstance(self.spec.source, PythonSource) and self.spec.fields == Fields():
            return Fields(label="label", group="group")
        return self.spec.fields

    @property
    def utf16(self) -> str | None:
        """The encoding that a UTF-16 byte-order mark declares."""
        return UTF16.get(self.head[:2])

    @property
    def has_offsets(self) -> bool:
        """Whether positions in the decompressed bytes are positions in UTF-8 text."""
        return self.utf16 is None

    @property
    def unit(self) -> Literal["file", "paragraph", "line"]:
        """What one document of a text file is."""
        return self.spec.format.unit if isinstance(self.spec.format, TextFormat) else "file"

    def lines(self) -> Iterator[Line]:
        """The lines of the wanted range, as UTF-8."""
        offset = number = 0
        if self.start:
            offset, number = line_start(self.path, self.start)
        chunks = read_chunks(self.path, self.compression, offset)
        if self.utf16:
            chunks = transcode_utf16(chunks, self.utf16)
        return split_lines(chunks, self.max_bytes, offset, number, self.end)
