"""Web archives: WARC and ARC captures, WET texts. A document is a captured page's main content, or a record's text."""

import io
from collections import Counter
from collections.abc import Iterator

from fastwarc.stream_io import Lz4Reader

from lm_pipeline.corpus.extraction.sandbox import Job
from lm_pipeline.corpus.readers.compression import DamagedStreamError, is_disk_fault
from lm_pipeline.corpus.readers.html import check_extractor
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt
from lm_pipeline.corpus.readers.sandboxed import Unparsed, parsed_records
from lm_pipeline.corpus.readers.web_archives import Block, read_blocks

_LZ4_MAGIC = b"\x04\x22\x4d\x18"


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a document or a reason for every capture; the record index counts all records of the archive.

    Records that are no captures (requests, metadata, revisits, descriptions of the archive) are counted in one
    quarantined record at the end, `skipped`.

    Raises:
        InputError: trafilatura is asked for and not installed.
    """
    check_extractor(file.spec)
    yield from parsed_records(file, _items(file))


def _items(file: Opened) -> Iterator[Unparsed | Record | Quarantined]:
    skipped: Counter[str] = Counter()
    number = offset = 0
    try:
        for number, block in enumerate(read_blocks(_chunks(file), file.max_file_bytes)):
            offset = block.offset + block.length
            item = _item(file, number, block)
            if item is None:
                skipped[block.headers.get("warc-type", "unknown")] += 1
            else:
                yield item
    except (DamagedStreamError, OSError) as error:
        if is_disk_fault(error):
            raise
        reason = error.reason if isinstance(error, DamagedStreamError) else "corrupt_lz4"
        yield Quarantined(number + 1, offset, reason, f"records before this one were read: {error}")
    if skipped:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
        yield Quarantined(None, None, "skipped", f"records that hold no page: {counts}")


def _chunks(file: Opened) -> Iterator[bytes]:
    """The content; lz4, which only web archives use, is undone here."""
    if not file.head.startswith(_LZ4_MAGIC):
        yield from file.content
        return
    reader = Lz4Reader(_Forward(file.stream()))
    while chunk := reader.read(1 << 20):
        yield chunk


class _Forward:
    """A stream that knows its place and cannot be rewound, as FastWARC wants it."""

    def __init__(self, stream: io.BufferedReader):
        self._stream = stream
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation(f"seek to {offset} ({whence})")

    def close(self) -> None:
        self._stream.close()


def _item(file: Opened, number: int, block: Block) -> Unparsed | Record | Quarantined | None:
    """What becomes of a record; None for one that is no capture."""
    headers = block.headers
    kind = headers.get("warc-type", "").lower()
    url = headers.get("warc-target-uri", "").strip("<>").replace(" ", "%20") or None
    is_capture = kind in {"response", "resource"} and not (url or "").startswith(("metadata:", "dns:", "filedesc:"))
    if not is_capture and kind != "conversion" and not block.reason:
        return None
    if block.reason:
        return Quarantined(number, block.offset, block.reason, block.detail, excerpt(url or ""))
    date = headers.get("warc-date")
    if kind == "conversion":
        if len(block.data) > file.max_bytes:
            detail = f"{len(block.data)} bytes; cleaning.max_line_bytes is {file.max_bytes}"
            return Quarantined(number, block.offset, "too_long", detail, excerpt(url or ""))
        text = file.decode(block.data, number, block.offset)
        if isinstance(text, Quarantined):
            return text
        return Record(number, text, url=url, date=date, byte_offset=block.offset, byte_length=block.length)
    options = {
        "media_type": headers.get("content-type", ""),
        "max_bytes": file.max_file_bytes,
        "extractor": file.spec.extraction.extractor,
    }
    job = Job("capture", block.data, options)
    return Unparsed(number, job, block.offset, block.length, url=url, date=date, excerpt=excerpt(url or ""))
