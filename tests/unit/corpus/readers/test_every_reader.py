"""What holds for every reader: both languages are read, and damage anywhere loses no record without a reason."""

import io
import json
import random
import sqlite3
import struct
import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from lm_pipeline.corpus.documents import clean_part, merge_summaries, plan_parts
from lm_pipeline.corpus.quality.decisions import decide_part
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.corpus.readers.read import READERS
from lm_pipeline.digests import digest_file
from lm_pipeline.specs.corpus import CorpusSpec
from tests.unit.corpus.readers.documents import epub, pdf
from tests.unit.corpus.readers.test_docx import word
from tests.unit.corpus.readers.test_mediawiki import dump, page
from tests.unit.corpus.readers.test_warc import lz4, record

TEXTS = {
    "en": "The river that runs through the town is old, and people walk along it to work.",
    "zh": "这条河流过小镇已经有很多年了，人们每天沿着河边走去上班。",
}
HTML = "<html><head><title>Title</title></head><body><article><p>{}</p></article></body></html>"


def arrow(text: str) -> bytes:
    sink = io.BytesIO()
    feather.write_feather(pa.table({"text": [text, text]}), sink)
    return sink.getvalue()


def parquet(text: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [text, text]}), sink)
    return sink.getvalue()


def sqlite(text: str) -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE articles (text TEXT)")
        connection.executemany("INSERT INTO articles VALUES (?)", [(text,), (text,)])
        connection.commit()
        return connection.serialize()


def web_archive(text: str) -> bytes:
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{HTML.format(text * 5)}"
    return record(answer.encode()) * 2


# By reader: the name of a file, how it is made of a text, and what the format says beyond its kind.
SOUND = {
    "text": ("a.txt", str.encode, {}),
    "jsonl": ("a.jsonl", lambda text: (json.dumps({"text": text}) + "\n").encode() * 2, {}),
    "json": ("a.json", lambda text: json.dumps([{"text": text}] * 2, indent=1).encode(), {}),
    "csv": ("a.csv", lambda text: f'n,text\n1,"{text}"\n2,"{text}"\n'.encode(), {}),
    "parquet": ("a.parquet", parquet, {}),
    "arrow": ("a.feather", arrow, {}),
    "sqlite": ("a.db", sqlite, {"query": "SELECT text FROM articles ORDER BY rowid"}),
    "html": ("a.html", lambda text: HTML.format(text * 5).encode(), {}),
    "warc": ("a.warc", web_archive, {}),
    "pdf": ("a.pdf", lambda text: pdf([text], [text]), {}),
    "docx": ("a.docx", word, {}),
    "epub": ("a.epub", lambda text: epub({"one.xhtml": HTML.format(text), "two.xhtml": HTML.format(text)}), {}),
    "mediawiki": ("a.xml", lambda text: dump(page("One", text), page("二", text)), {}),
}


def spec_of(kind: str) -> CorpusSpec:
    options = SOUND[kind][2]
    return CorpusSpec.model_validate(
        {
            "source": {"kind": "path", "path": "."},
            "format": {"kind": kind, **options} if options else {"kind": "auto"},
            "cleaning": {"profile": "none"},
        }
    )


def test_every_reader_is_here():
    assert set(SOUND) == set(READERS)


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("kind", SOUND)
def test_text_of_both_languages_is_read(reading, kind, language):
    name, make, _ = SOUND[kind]
    records = reading(name, make(TEXTS[language]), spec_of(kind).format)
    assert records
    assert all(TEXTS[language] in item.text.replace("\n", "") for item in records)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Cut off somewhere, a byte changed, a stretch gone, a stretch of zeros, or a stretch twice."""
    begin, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    harm = draw.choice(["cut", "flip", "gone", "zeros", "twice"])
    changed = bytes([data[begin - 1] ^ draw.randint(1, 255)])
    return {
        "cut": data[:begin],
        "flip": data[: max(begin - 1, 0)] + changed + data[max(begin, 1) :],
        "gone": data[:begin] + data[end:],
        "zeros": data[:begin] + bytes(end - begin) + data[end:],
        "twice": data[:end] + data[begin:],
    }[harm]


@pytest.mark.parametrize("num", [pytest.param(3, id="few"), pytest.param(60, id="many", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", SOUND)
def test_every_record_of_a_damaged_file_is_kept_rejected_or_quarantined(tmp_path: Path, kind, num):
    draw, spec = random.Random(f"{kind} {num}"), spec_of(kind)
    name, make, _ = SOUND[kind]
    files = {}
    for number in range(num):
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(damaged(make(draw.choice(list(TEXTS.values()))), draw))
        files[path.name] = RawFile(path.name, path.stat().st_size, digest_file(path), path)
    out = tmp_path / "out"
    out.mkdir()
    (part,) = plan_parts(list(files.values()), spec)
    counts = clean_part("damaged", part, files, spec, out)
    summary = merge_summaries(
        [counts, decide_part(out / "statistics.parquet", spec.cleaning, out / "decisions.parquet")]
    )
    assert summary["records_in"] == summary["kept"] + summary["rejected"] + summary["quarantined"]
    documents, bad = (pl.read_parquet(out / f"{table}.parquet") for table in ("documents", "quarantine"))
    assert (len(documents), len(bad)) == (summary["kept"] + summary["rejected"], summary["quarantined"])
    assert documents["document_id"].n_unique() == len(documents)
    assert (bad["reason"].str.len_chars() > 0).all()
    assert (bad["detail"].str.len_chars() > 0).all()
    # A file of which nothing is left had nothing in it.
    empty = {file for file in files if file not in {*documents["file"], *bad["file"]}}
    assert all(files[file].bytes < 200 for file in empty)


@pytest.mark.parametrize("language", TEXTS)
def test_a_damaged_lz4_stream_is_quarantined(reading, language):
    data = bytearray(lz4(record(HTML.format(TEXTS[language]).encode(), kind="conversion")))
    data[4:8] = b"\xff" * 4  # the frame's description
    (bad,) = reading("a.warc.lz4", bytes(data))
    assert bad.reason == "corrupt_lz4"


@pytest.mark.parametrize("language", TEXTS)
def test_a_member_that_is_longer_than_its_archive_is_quarantined(reading, language):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("文.txt", TEXTS[language] * 300)
    data = bytearray(sink.getvalue())
    at = data.index(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 1_000_000, 1_000_000)
    (bad,) = reading("a.zip", bytes(data))
    # Newer versions of zipfile see at once that the member reaches into the table of contents.
    assert (bad.member, bad.reason) in {("文.txt", "truncated_zip"), ("文.txt", "corrupt_zip")}
