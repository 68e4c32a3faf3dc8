"""Records of formats that are parsed in a child process that can be killed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lm_pipeline.corpus.extraction.sandbox import Failure, Job, Limits, Parsed, parse_all
from lm_pipeline.corpus.readers.compression import DamagedStreamError
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A record that waits to be parsed.

    Attributes:
        record: its index in the file; documents that come with an `index` of their own are counted from there.
        job: what the child gets.
        byte_offset: where it begins in the (decompressed) file.
        byte_length: its length there.
        title, url, date: what is known of it outside; used where the parser finds none, and the URL and the date
            before what the parser finds.
        excerpt: its beginning, shown if it cannot be parsed.
    """

    record: int
    job: Job
    byte_offset: int | None = None
    byte_length: int | None = None
    title: str | None = None
    url: str | None = None
    date: str | None = None
    excerpt: str = ""


def limits_of(file: Opened) -> Limits:
    """What a record of the file may cost."""
    extraction = file.spec.extraction
    return Limits(extraction.time_limit_seconds, extraction.memory_limit_bytes)


def parsed_records(file: Opened, items: Iterable[Unparsed | Record | Quarantined]) -> Iterator[Record | Quarantined]:
    """Parse what waits; what is read or quarantined already passes through in its place."""
    pairs = ((item, item.job if isinstance(item, Unparsed) else None) for item in items)
    for item, answer in parse_all(pairs, limits_of(file)):
        if not isinstance(item, Unparsed):
            yield item
        elif isinstance(answer, Failure):
            yield Quarantined(item.record, item.byte_offset, answer.reason, answer.detail, item.excerpt)
        else:
            assert answer is not None
            yield from (_record(file, item, document) for document in answer)


def _record(file: Opened, item: Unparsed, document: Parsed) -> Record | Quarantined:
    number = item.record + document.get("index", 0)
    text: str = document["text"]
    num_bytes = len(text.encode())
    if num_bytes > file.max_bytes:
        detail = f"its text has {num_bytes} bytes; cleaning.max_line_bytes is {file.max_bytes}"
        return Quarantined(number, item.byte_offset, "too_long", detail, excerpt(text[:1000]))
    return Record(
        number,
        text,
        title=document.get("title") or item.title,
        url=item.url or document.get("url"),
        date=item.date or document.get("date"),
        byte_offset=item.byte_offset,
        byte_length=item.byte_length,
        removals=tuple((rule, lines, characters) for rule, lines, characters in document.get("removals", ())),
    )


def whole(file: Opened) -> bytes | Quarantined:
    """All bytes of a file that is one record, or why there are none."""
    data = bytearray()
    try:
        for chunk in file.content:
            data += chunk
            if len(data) > file.max_file_bytes:
                detail = f"more than {file.max_file_bytes} bytes; extraction.max_file_bytes"
                return Quarantined(0, 0, "too_long", detail, excerpt(bytes(data[:1000])))
    except DamagedStreamError as error:
        return Quarantined(0, len(data), error.reason, error.detail, excerpt(bytes(data[:1000])))
    return bytes(data)
