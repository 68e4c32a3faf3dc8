"""Files of every format, damaged at random: whatever is in them, a reader says so and does not raise."""

import bz2
import contextlib
import gzip
import json
import lzma
import random
import sqlite3
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lm_pipeline.corpus.readers.records import Quarantined
from lm_pipeline.errors import InputError
from lm_pipeline.specs.corpus import AutoFormat, SqliteFormat
from tests.unit.corpus.readers.documents import epub, pdf
from tests.unit.corpus.readers.test_archives import tar, zipped

TEXT = "".join(f"word{n} 一些文字{n}\n" for n in range(300)).encode()
TABLE = pa.table(
    {
        "text": [f"hello 中文 {n}" for n in range(300)],
        "date": pa.array(range(300), pa.timestamp("us")),
        "label": pa.array(["a", "b"] * 150).dictionary_encode(),
    }
)
HTML = b"<html><title>A title</title><body><p>" + b"Some text. " * 20 + b"</p></body></html>"
FIELDS = {"a.parquet": {"date": "date", "label": "label"}, "a.arrow": {"date": "date"}, "s.arrow": {"label": "label"}}


def arrow(new_writer) -> bytes:
    sink = pa.BufferOutputStream()
    with new_writer(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, 50)
    return sink.getvalue().to_pybytes()


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(TABLE, sink, row_group_size=50)
    return sink.getvalue().to_pybytes()


def database(folder: Path) -> bytes:
    path = folder / "seed.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (text TEXT)")
    connection.executemany("INSERT INTO t VALUES (?)", [(f"行 {n} " * 20,) for n in range(300)])
    connection.commit()
    connection.close()
    return path.read_bytes()


def warc() -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + HTML
    header = "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.b/\r\nContent-Type: application/http\r\n"
    return f"{header}Content-Length: {len(http)}\r\n\r\n".encode() + http + b"\r\n\r\n"


def seeds(folder: Path) -> dict[str, bytes]:
    members = {f"{name}.txt": "文 text ".encode() * 200 for name in "abc"}
    wiki = "".join(
        f"<page><title>T{n}</title><ns>0</ns><revision><text>'''b''' 文</text></revision></page>" for n in "12"
    )
    return {
        "a.txt.gz": gzip.compress(TEXT),
        "a.txt.bz2": bz2.compress(TEXT),
        "a.txt.xz": lzma.compress(TEXT),
        "a.txt.zst": zstandard.compress(TEXT),
        "a.zip": zipped(members),
        "a.tar": tar(members),
        "a.parquet": parquet(),
        "a.arrow": arrow(pa.ipc.new_file),
        "s.arrow": arrow(pa.ipc.new_stream),
        "a.sqlite": database(folder),
        "a.csv": b"text,label\n" + b"".join(b'"a ""q"" %d\nb",x\n' % n for n in range(50)),
        "a.jsonl": b"".join(json.dumps({"text": f"行 {n}"}).encode() + b"\n" for n in range(50)),
        "a.json": json.dumps([{"text": f"行 {n}"} for n in range(50)]).encode(),
        "a.warc": warc() * 3,
        "a.html": HTML,
        "a.pdf": pdf(["One", "二"]),
        "a.epub": epub({"a.xhtml": "<p>" + "二 " * 50 + "</p>"}),
        "a.xml": f"<mediawiki xmlns='http://www.mediawiki.org/xml/export-0.11/'>{wiki}</mediawiki>".encode(),
    }


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Bytes overwritten, cut off, taken out or put in; places are more often overwritten by large numbers."""
    at, size = draw.randrange(len(data)), draw.choice([1, 2, 4, 8])
    change = draw.randrange(5)
    if change == 0:
        return data[:at]
    if change == 1:
        return data[:at] + data[at + 10 * size :]
    if change == 2:
        return data[:at] + draw.randbytes(size) + data[at:]
    new = draw.randbytes(size) if change == 3 else draw.choice([b"\xff", b"\0", b"\x7f"]) + b"\xff" * (size - 1)
    return data[:at] + new + data[at + size :]


NAMES = ["a.txt.gz", "a.txt.bz2", "a.txt.xz", "a.txt.zst", "a.zip", "a.tar", "a.parquet", "a.arrow", "s.arrow"]
NAMES += ["a.sqlite", "a.csv", "a.jsonl", "a.json", "a.warc", "a.html", "a.pdf", "a.epub", "a.xml"]


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_no_damage_makes_a_reader_raise(reading, tmp_path, name, count):
    data = seeds(tmp_path)[name]
    draw = random.Random(zlib.crc32(name.encode()))
    file_format = SqliteFormat(query="SELECT text FROM t") if name == "a.sqlite" else AutoFormat()
    sound = reading(name, data, file_format, **FIELDS.get(name, {}))
    assert sound
    assert not [item for item in sound if isinstance(item, Quarantined)]
    for _ in range(count):
        # Of a database whose table has lost its name, nobody can tell whether it or the query is wrong.
        allowed = pytest.raises(InputError, match=name) if name == "a.sqlite" else contextlib.nullcontext()
        broken = damaged(data, draw)
        try:
            items = reading(name, broken, file_format, **FIELDS.get(name, {}))
        except InputError:
            with allowed:
                raise
        else:
            assert all(item.reason and item.detail for item in items if isinstance(item, Quarantined))
    assert reading(name, data, file_format, **FIELDS.get(name, {})) == sound
