"""Which reader a raw file gets, and the one way in: `read_records`."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from lm_pipeline.corpus.raw.raw_files import RawFile, member_path
from lm_pipeline.corpus.readers import (
    apart,
    arrow,
    csv,
    docx,
    epub,
    html,
    json_values,
    jsonl,
    mediawiki,
    pdf,
    text,
    warc,
)
from lm_pipeline.corpus.readers.archives import MAX_DEPTH, archive_kind, members
from lm_pipeline.corpus.readers.compression import EXTENSIONS, DamagedStreamError
from lm_pipeline.corpus.readers.encodings import by_mark, by_nuls
from lm_pipeline.corpus.readers.opened import HEAD_BYTES, Opened, open_file
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt
from lm_pipeline.specs.corpus import CorpusSpec

READERS: dict[str, Callable[[Opened], Iterator[Record | Quarantined]]] = {
    "text": text.read,
    "jsonl": jsonl.read,
    "json": json_values.read,
    "csv": csv.read,
    "parquet": apart.read_parquet,
    "arrow": apart.read_arrow,
    "sqlite": apart.read_sqlite,
    "html": html.read,
    "warc": warc.read,
    "pdf": pdf.read,
    "docx": docx.read,
    "epub": epub.read,
    "mediawiki": mediawiki.read,
}
"""By `format.kind`."""

STARTS: dict[str, Callable[[Opened], Iterator[tuple[int, int]]]] = {"csv": csv.starts, "json": json_values.starts}
"""By `format.kind`: where each record begins and its index, for formats that can be cut there and nowhere else."""

FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".warc": "warc",
    ".arc": "warc",
    ".wet": "warc",
    ".wat": "warc",
    ".pdf": "pdf",
    ".docx": "docx",
    ".epub": "epub",
}
"""By extension, for `format: {kind: auto}`."""

_OTHER_FORMATS = {
    ".xml",
    *(".doc", ".odt", ".ppt", ".pptx", ".rtf", ".xls", ".xlsx"),
    *(".avro", ".npy", ".npz", ".orc", ".pickle", ".pkl"),
    *(".7z", ".lz4", ".rar"),
    *(".gif", ".jpeg", ".jpg", ".png"),
}
"""Extensions that are known to hold neither plain text nor what a reader takes."""
_TEXT_FORMATS = ("text", "jsonl", "json", "csv")
_MARKS = {
    b"%pdf-": "pdf",
    b"warc/": "warc",
    b"filedesc://": "warc",
    b"<!doctype html": "html",
    b"<html": "html",
    b"<mediawiki": "mediawiki",
}
"""How files of a format begin, in lower case and after white space."""
_ZIP_MARKS = {b"mimetypeapplication/epub+zip": "epub", b"[Content_Types].xml": "docx"}
"""What the first member of a zip file is, where the file is a document."""


def read_records(
    file: RawFile, spec: CorpusSpec, start: int = 0, end: int | None = None, record: int = 0
) -> Iterator[Record | Quarantined]:
    """Yield every record of a raw file, or the reason why it could not be read.

    An archive's records bring the member that they are in. Memory stays within a few times
    `spec.cleaning.max_line_bytes`.

    Args:
        file: the file.
        spec: its corpus: format, fields and limits.
        start: first byte of the wanted range. A record belongs to the range in which it begins; a file that is not
            `divisible` belongs as a whole to the range that begins at 0.
        end: first byte that is not wanted; None for the end of the file.
        record: index of the first record of the range, as `ranges` tells it.

    Raises:
        InputError: the file is gone or changed size since it was listed, or a query is wrong.
    """
    with file.local() as path, open_file(path, file.name, spec, start, end) as opened:
        if not _has_ranges(opened):
            if start:
                return
            opened.end = None
        opened.record = record
        yield from _read(opened)


def _read(opened: Opened, depth: int = 0) -> Iterator[Record | Quarantined]:
    is_empty = True
    for item in _items(opened, depth):
        is_empty = False
        yield item
    # Of a file of lines that are all blank, a range cannot know whether others have some that are not.
    if is_empty and not _has_ranges(opened):
        detail = "there is no record in it" if opened.head else "there is no byte in it"
        yield Quarantined(None, None, "empty_file", detail)


def _items(opened: Opened, depth: int) -> Iterator[Record | Quarantined]:
    try:
        archive = _archive_kind(opened)
        if archive:
            yield from _read_archive(opened, archive, depth)
            return
        kind = _detect(opened)
        if isinstance(kind, Quarantined):
            yield kind
        else:
            yield from READERS[kind](opened)
    except DamagedStreamError as error:  # of a format that needs the whole file
        yield Quarantined(None, None, error.reason, error.detail)


def _read_archive(opened: Opened, archive: Literal["zip", "tar"], depth: int) -> Iterator[Record | Quarantined]:
    if depth == MAX_DEPTH:
        detail = f"archives are nested deeper than {MAX_DEPTH} levels"
        yield Quarantined(None, None, "too_deep", detail)
        return
    for name, member in members(opened, archive):
        for item in (member,) if isinstance(member, Quarantined) else _read(member, depth + 1):
            yield item if name is None else replace(item, member=member_path(name, item.member))


def _archive_kind(opened: Opened) -> Literal["zip", "tar"] | None:
    suffix = _suffix(opened.name)
    return archive_kind(opened, suffix, is_known=suffix in _OTHER_FORMATS or suffix in FORMATS)


class Range(NamedTuple):
    """The records of a file that begin in the bytes from `start` to before `end` (None: its end)."""

    start: int
    end: int | None
    record: int
    """Index of the first of them, where the format's ranges begin at records; else 0."""


def divisible(file: RawFile, spec: CorpusSpec) -> bool:
    """Whether byte ranges of the file can be read apart: uncompressed, no UTF-16, records one after the other."""
    if file.member is not None:
        return False
    file.check_size()
    with open_file(file.location, file.name, spec) as opened:
        return _has_ranges(opened)


def ranges(file: RawFile, spec: CorpusSpec, num_bytes: int) -> list[Range]:
    """Cut a divisible file into ranges of about `num_bytes`.

    Files of lines are not read for it: which line is the first of a range is found where the range is read. Where a
    record may hold line ends (CSV, JSON), the file is gone through once, and ranges begin where records do.
    """
    starts = [(at, 0) for at in range(0, max(1, file.bytes), num_bytes)]
    with open_file(file.location, file.name, spec) as opened:
        kind = _detect(opened)
        if isinstance(kind, str) and kind in STARTS:
            starts = [(0, 0)]
            for at, record in STARTS[kind](opened):
                if at >= starts[-1][0] + num_bytes:
                    starts.append((at, record))
    ends = [*(at for at, _ in starts[1:]), None]
    return [Range(at, end, record) for (at, record), end in zip(starts, ends, strict=True)]


def _has_ranges(file: Opened) -> bool:
    if file.path is None or not file.head or _archive_kind(file):
        return False
    kind = _detect(file)
    if kind == "json":
        return file.charset == "utf-8"
    if file.has_old_line_ends:
        return False
    return (kind in ("jsonl", "csv") or (kind == "text" and file.unit == "line")) and file.has_offsets


def _detect(file: Opened) -> str | Quarantined:
    """The reader's kind, or why no reader takes the file."""
    kind = file.spec.format.kind
    if kind == "auto":
        kind = _by_extension(file.name) or _by_content(file.head)
        if kind == ".xml" and _by_content(file.head) == "mediawiki":
            kind = "mediawiki"
    if kind == "sqlite" and file.spec.format.kind == "auto":
        detail = "an SQLite database has no text of its own: give `format: {kind: sqlite, query: SELECT ...}`"
        return Quarantined(None, None, "needs_query", detail)
    if kind not in READERS:
        detail = f"{kind} files have no reader; declare `format` if it is text or JSON lines, else convert it"
        return Quarantined(None, None, "unsupported_format", detail, excerpt(file.head))
    if kind in _TEXT_FORMATS and _is_binary(file.head):
        detail = f"not {kind}: NULs and other non-text among the first {len(file.head)} bytes"
        return Quarantined(None, file.head.index(0), "binary", detail, excerpt(file.head))
    return kind


def _by_extension(name: str) -> str | None:
    suffix = _suffix(name)
    return suffix if suffix in _OTHER_FORMATS else FORMATS.get(suffix)


def _suffix(name: str) -> str:
    """The extension, in lower case, that of a compression left out."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and (suffixes[-1] in EXTENSIONS or suffixes[-2:] == [".warc", ".lz4"]):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _by_content(head: bytes) -> str:
    if head.startswith(b"SQLite format 3\0"):
        return "sqlite"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(arrow.FILE_MAGIC):
        return "arrow"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[: max(map(len, _MARKS))].lower()
    found = [kind for mark, kind in _MARKS.items() if start.startswith(mark)]
    if head.startswith(b"PK\x03\x04"):
        found = [kind for mark, kind in _ZIP_MARKS.items() if head[30:].startswith(mark)]
    if found:
        return found[0]
    first_line = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0].strip()
    if not first_line.startswith(b"{"):
        return "text"
    if len(first_line) >= HEAD_BYTES - 1024:
        return "jsonl"  # a long first line is cut by the head; nobody writes prose like that
    try:
        return "jsonl" if isinstance(json.loads(first_line), dict) else "text"
    except (ValueError, RecursionError):
        return "text"


def _is_binary(head: bytes) -> bool:
    """Whether the first bytes cannot be text: NULs, and a tenth that is neither text nor space.

    A stray NUL or a wrong byte leaves it text, so that they cost one record and not the file; text in another encoding
    has no NULs and is reported as what it is, invalid UTF-8.
    """
    if by_mark(head) or by_nuls(head) or 0 not in head:
        return False
    controls = sum(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in head)
    undecodable = head.decode("utf-8", "replace").count("\ufffd")
    return controls + undecodable > 0.1 * len(head)
