import gzip
import io
import lzma

import pytest
import warcio
import zstandard
from fastwarc.stream_io import Lz4Writer
from warcio.archiveiterator import ArchiveIterator

from lm_pipeline.corpus.readers.records import Record

HTML = "<html><head><title>标题</title></head><body><p>{}</p></body></html>"
FIRST, SECOND = "第一页的正文，说的是天气，大家都出门去了。", "The second page has a sentence of its own."


def http(body: bytes, content_type: str = "text/html; charset=utf-8", status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{more}\r\n".encode() + body


def record(content: bytes, kind: str = "response", url: str = "http://example.org/页 面", length=None) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: <{url}>\r\nWARC-Date: 2024-05-01T00:00:00Z\r\n"
        f"Content-Length: {len(content) if length is None else length}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n\r\n"


PAGES = [record(http(HTML.format(text).encode())) for text in (FIRST, SECOND)]


def texts(records) -> list[str]:
    return [item.text if isinstance(item, Record) else item.reason for item in records]


def lz4(data: bytes) -> bytes:
    sink = io.BytesIO()
    writer = Lz4Writer(sink)
    writer.write(data)
    writer.close()
    return sink.getvalue()


PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress, ".lz4": lz4}


@pytest.mark.parametrize("extension", PACK)
def test_captures_become_documents_with_address_and_date(reading, extension):
    data = b"".join(PACK[extension](page) for page in PAGES) if extension == ".gz" else PACK[extension](b"".join(PAGES))
    first, second = reading(f"a.warc{extension}", data)
    assert (first.text, second.text) == (FIRST, SECOND)
    assert (first.title, first.url, first.date) == ("标题", "http://example.org/页%20面", "2024-05-01T00:00:00Z")
    assert (first.record, second.record, second.byte_offset) == (0, 1, len(PAGES[0]))


def test_what_is_no_capture_is_counted_and_what_is_no_page_says_why(reading):
    data = b"".join(
        [
            record(b"software: x", "warcinfo"),
            record(b"GET / HTTP/1.1\r\n\r\n", "request"),
            record(http(b"\x89PNG", "image/png")),
            record(http(b"<p>gone</p>", status="404 Not Found")),
            record(b"no http at all"),
            PAGES[0],
            record("纯文本的内容，没有标记，只有几句话而已。".encode("gbk"), "resource").replace(
                b"Date", b"Date: 2024\r\nContent-Type: text/plain\r\nX-Date", 1
            ),
        ]
    )
    records = reading("a.warc", data)
    assert texts(records) == [
        "not_a_page",
        "http_status",
        "not_a_page",
        FIRST,
        "纯文本的内容，没有标记，只有几句话而已。",
        "skipped",
    ]
    assert "1 request, 1 warcinfo" in records[-1].detail
    assert [item.record for item in records] == [2, 3, 4, 5, 6, None]


def test_contents_are_decoded_as_http_says(reading):
    body = HTML.format(FIRST).encode("gb18030")
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    data = b"".join(
        [
            record(http(gzip.compress(body), "text/html; charset=gbk", more="Content-Encoding: gzip\r\n")),
            record(http(chunked, "text/html; charset=gbk", more="Transfer-Encoding: chunked\r\n")),
            record(http(body, "text/html; charset=gbk", more="Content-Encoding: gzip\r\n")),
            record(http(b"\x00\x01", more="Content-Encoding: gzip\r\n")),
        ]
    )
    assert texts(reading("a.warc", data)) == [FIRST, FIRST, FIRST, "unreadable"]


def test_texts_of_wet_files_are_taken_as_they_are(reading):
    data = record(f"{FIRST}\n菜单".encode(), "conversion") + record(b"\xff", "conversion")
    assert texts(reading("a.warc.wet", data)) == [f"{FIRST}\n菜单", "invalid_utf8"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (PAGES[0] + b"garbage\r\n\r\n" + PAGES[1], [FIRST, "corrupt_warc", SECOND]),
        (PAGES[0][30:] + PAGES[1], ["corrupt_warc", SECOND]),
        (record(http(b"<p>x</p>"), length=100_000) + PAGES[1], ["corrupt_warc", SECOND]),
        (record(http(b"<p>x</p>" * 9), length=60) + PAGES[1], ["corrupt_warc", "corrupt_warc", SECOND]),
        (record(http(b"<p>x</p>"), length="many") + PAGES[1], ["corrupt_warc", SECOND]),
        (PAGES[0] + PAGES[1][:-40], [FIRST, "truncated_warc"]),
        (PAGES[0] + record(http(b"x" * 5000)) + PAGES[1], [FIRST, "too_long", SECOND]),
    ],
)
def test_a_damaged_record_costs_itself(reading, damage, expected):
    assert texts(reading("a.warc", damage, max_line_bytes=2048 if "too_long" in expected else 1 << 26)) == expected


def test_a_truncated_stream_says_so_after_what_is_whole(reading):
    data = gzip.compress(PAGES[0]) + gzip.compress(PAGES[1])[:-20]
    assert texts(reading("a.warc.gz", data))[-1].startswith("truncated_")
    assert texts(reading("a.warc.gz", data))[0] == FIRST


def test_arc_files_are_read(reading):
    body = http(HTML.format(FIRST).encode())
    data = (
        b"filedesc://a.arc 0.0.0.0 20240101000000 text/plain 5\nabcde\n"
        b"http://example.org/x y 127.0.0.1 20240102030405 text/html %d\n%s\n"
        % (len(body), body)
        + b"http://example.org/z 127.0.0.1 20240102030405 text/html abc\n"
    )
    records = reading("a.arc", data)
    assert texts(records) == [FIRST, "corrupt_warc", "skipped"]
    assert (records[0].url, records[0].date) == ("http://example.org/x%20y", "2024-01-02T03:04:05Z")


def test_real_archives_agree_with_warcio(reading, shared_data):
    """Every record of every sound archive: as many successful captures of pages and texts as warcio finds."""
    compared = 0
    for path in sorted((shared_data / "large/warc").rglob("*arc*")):
        if not path.is_file():
            continue
        ours = reading(path.name, path.read_bytes())
        try:
            with path.open("rb") as file:
                theirs = [
                    (item.rec_type, (item.rec_headers.get_header("WARC-Target-URI") or ""))
                    for item in ArchiveIterator(file, arc2warc=True)
                    if item.rec_type in {"response", "resource", "conversion"}
                ]
        except (warcio.exceptions.ArchiveLoadFailed, OSError):
            assert ours, path  # warcio gives up; we read what is whole
            continue
        theirs = [url for _, url in theirs if not url.startswith("metadata:")]
        found = [item for item in ours if isinstance(item, Record) or item.reason != "skipped"]
        if path.name in {"bad.arc", "example-trunc.warc"}:
            assert any(not isinstance(item, Record) for item in found)
        else:
            assert len(found) == len(theirs), path
            compared += 1
    assert compared >= 10
