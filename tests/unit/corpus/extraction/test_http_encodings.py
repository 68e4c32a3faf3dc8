"""Content as servers send it, and as crawlers keep it."""

import gzip
import zlib

import pytest
import zstandard

from lm_pipeline.corpus.extraction.http_encodings import undo_encodings
from lm_pipeline.corpus.extraction.parsed import BadRecordError

PAGE = "<html><body><p>第一条 of the law</p></body></html>".encode() * 30


def chunks(body: bytes, extension: bytes = b"", end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = [body[at : at + 97] for at in range(0, len(body), 97)]
    return b"".join(b"%X%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces) + end


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    "body",
    [
        chunks(PAGE),
        chunks(PAGE, b";a=1"),
        chunks(PAGE, b"  "),
        chunks(PAGE, end=b"0\r\nX-Trailer: y\r\n\r\n"),
        chunks(PAGE, end=b""),
        PAGE,  # the crawler took the chunks apart and left the header
    ],
    ids=["plain", "extensions", "padded", "trailer", "cut off", "none"],
)
def test_chunks_are_joined(body):
    assert undo_encodings(body, "chunked", "", 1 << 20) == PAGE


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ("gzip", gzip.compress(PAGE)),
        ("x-gzip", gzip.compress(PAGE)),
        ("GZIP", gzip.compress(PAGE[:50]) + gzip.compress(PAGE[50:])),
        ("deflate", zlib.compress(PAGE)),
        ("deflate", raw_deflate(PAGE)),
        ("zstd", zstandard.compress(PAGE)),
        ("gzip, zstd", zstandard.compress(gzip.compress(PAGE))),
        ("identity", PAGE),
        ("gzip", PAGE),
    ],
    ids=["gzip", "x-gzip", "two members", "zlib", "raw deflate", "zstd", "gzip in zstd", "identity", "not as declared"],
)
def test_compression_is_undone(content, body):
    assert undo_encodings(body, "", content, 1 << 20) == PAGE
    assert undo_encodings(chunks(body, b";x"), "Chunked", content, 1 << 20) == PAGE


def test_a_page_with_a_mark_under_a_false_header_stays_as_it_is():
    assert undo_encodings(b"\xef\xbb\xbf" + PAGE, "", "gzip", 1 << 20) == b"\xef\xbb\xbf" + PAGE


def test_what_is_cut_off_is_read_so_far():
    assert PAGE.startswith(undo_encodings(gzip.compress(PAGE)[:-10], "", "gzip", 1 << 20))
    assert PAGE.startswith(undo_encodings(chunks(PAGE)[:500], "chunked", "", 1 << 20)[:400])


def test_a_bomb_is_stopped_at_the_limit():
    assert len(undo_encodings(gzip.compress(bytes(10 << 20)), "", "gzip", 1000)) == 1001


@pytest.mark.parametrize(("transfer", "content"), [("", "gzip"), ("", "compress"), ("", "br")])
def test_what_is_neither_a_page_nor_encoded_as_declared_is_unreadable(transfer, content):
    with pytest.raises(BadRecordError, match="not encoded as HTTP declares"):
        undo_encodings(b"nothing of the kind" * 9, transfer, content, 1 << 20)
