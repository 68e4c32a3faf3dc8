"""Plain text (.txt, .md): a document is the file, a paragraph or a line."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lm_pipeline.corpus.readers.compression import DamagedStreamError
from lm_pipeline.corpus.readers.encodings import UTF8_BOM
from lm_pipeline.corpus.readers.lines import Line
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt

_IDEOGRAPHIC_SPACE = "\u3000".encode()


@dataclass(slots=True)
class _Draft:
    """Consecutive lines that become one document.

    Once a line cannot be used, or the limit is passed, only the beginning is held and the rest is measured.
    """

    number: int
    max_bytes: int
    offset: int = 0
    length: int = 0
    data: bytearray = field(default_factory=bytearray)
    reason: str | None = None
    detail: str = ""

    def add(self, line: Line) -> None:
        if not self.length:
            self.offset = line.offset
        self.length += line.length
        if not self.reason:
            self.data += line.data
            self.reason, self.detail = line.reason, line.detail
        if not self.reason and self.length > self.max_bytes:
            self.reason = "too_long"
        if self.reason == "too_long":
            self.detail = f"{self.length} bytes; cleaning.max_line_bytes is {self.max_bytes}"
        if self.reason:
            del self.data[1000:]

    def finish(self, file: Opened) -> Record | Quarantined:
        where = self.offset if file.has_offsets else None
        if self.reason:
            return Quarantined(self.number, where, self.reason, self.detail, excerpt(bytes(self.data)))
        data = bytes(self.data)
        if self.offset == 0 and data.startswith(UTF8_BOM):
            data = data[len(UTF8_BOM) :]
            where = None if where is None else len(UTF8_BOM)
        if file.unit != "file":
            data = data.rstrip(b"\r\n")
        text = file.decode(data, self.number, where)
        if isinstance(text, Quarantined):
            return text
        return Record(self.number, text, byte_offset=where, byte_length=None if where is None else len(data))


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield the file's documents. Blank lines separate paragraphs and are no records of their own."""
    if file.unit == "file":
        yield _whole(file)
        return
    if file.unit == "line":
        yield from (_line(file, line) for line in file.lines() if line.reason or not _is_blank(line.data))
        return
    draft = _Draft(0, file.max_bytes)
    for line in file.lines():
        if line.reason or not _is_blank(line.data):
            draft.add(line)
        elif draft.length:
            yield draft.finish(file)
            draft = _Draft(draft.number + 1, file.max_bytes)
    if draft.length:
        yield draft.finish(file)


def _line(file: Opened, line: Line) -> Record | Quarantined:
    if line.reason or line.offset == 0:
        draft = _Draft(line.number, file.max_bytes)
        draft.add(line)
        return draft.finish(file)
    data = line.data.rstrip(b"\r\n")
    where = line.offset if file.has_offsets else None
    text = file.decode(data, line.number, where)
    if isinstance(text, Quarantined):
        return text
    return Record(line.number, text, byte_offset=where, byte_length=None if where is None else len(data))


def _whole(file: Opened) -> Record | Quarantined:
    draft = _Draft(0, file.max_bytes)
    try:
        for chunk in file.text_chunks():
            draft.add(Line(0, draft.length, len(chunk), chunk))
    except DamagedStreamError as error:
        draft.reason, draft.detail = error.reason, error.detail
    return draft.finish(file)


def _is_blank(data: bytes) -> bool:
    stripped = data.strip()
    if not stripped.startswith(_IDEOGRAPHIC_SPACE):
        return not stripped
    return not stripped.replace(_IDEOGRAPHIC_SPACE, b"").strip()
