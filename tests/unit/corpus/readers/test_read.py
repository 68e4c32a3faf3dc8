import bz2
import gzip
import lzma
import os
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lm_pipeline.corpus.readers.read import READERS, divisible, read_records
from lm_pipeline.corpus.readers.records import Quarantined, Record
from lm_pipeline.errors import InputError
from lm_pipeline.specs.corpus import CorpusSpec, JsonFormat, JsonlFormat, PythonSource, TextFormat

COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
JSON = '{"text": "一"}\n{"text": "two"}\n'.encode()


def test_every_format_that_a_spec_names_has_a_reader():
    kinds = CorpusSpec.model_json_schema()["properties"]["format"]["discriminator"]["mapping"]
    assert set(READERS) | {"auto"} == set(kinds)


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "A.JSONL", "a", "a.jsonl.v2"])
def test_json_lines_are_known_by_extension_or_content(reading, name):
    assert [record.text for record in reading(name, JSON)] == ["一", "two"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a"])
def test_compression_is_known_by_extension_or_content(reading, name):
    data = zstandard.compress(JSON) if name.endswith("zst") else gzip.compress(JSON)
    assert [record.text for record in reading(name, data)] == ["一", "two"]


@pytest.mark.parametrize("text", ["# 标题\n\ntext", "{curly} prose", "{", '{"text": \n "pretty printed"}'])
def test_what_is_no_json_line_is_text(reading, text):
    assert [record.text for record in reading("README", text.encode())] == [text]


def test_a_binary_file_is_one_quarantined_record(reading):
    noise = random.Random(0).randbytes(20_000)
    for name in ("noise.txt", "noise", "noise.jsonl"):
        (bad,) = reading(name, noise)
        assert (bad.reason, bad.record) == ("binary", None)
    (bad,) = reading("program", b"\x7fELF" + bytes(100))
    assert bad.reason == "binary"


@pytest.mark.parametrize("name", ["a.odt", "图.PNG", "a.xls.gz", "a.xml"])
def test_known_formats_without_a_reader_are_refused_by_name(reading, name):
    data = gzip.compress(b"a,b") if name.endswith("gz") else b"a,b"
    (bad,) = reading(name, data)
    assert bad.reason == "unsupported_format"
    assert name.lower().removesuffix(".gz")[-4:] in bad.detail


def test_a_declared_format_overrides_the_extension(reading):
    assert len(reading("a.json", JSON, JsonlFormat())) == 2
    assert len(reading("a.csv", b"x,y\n1,2\n", TextFormat(unit="line"))) == 2


def test_a_database_without_a_query_says_that_it_needs_one(reading):
    (bad,) = reading("a", b"SQLite format 3\0" + bytes(100))
    assert bad.reason == "needs_query"
    assert "kind: sqlite" in bad.detail


@pytest.mark.parametrize("name", COMPRESS)
def test_a_compressed_table_is_read_like_a_plain_one(reading, name):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["法律", "law"]}), sink)
    data = COMPRESS[name](sink.getvalue().to_pybytes())
    assert [record.text for record in reading(f"a.parquet{name}", data)] == ["法律", "law"]
    (bad,) = reading(f"a.parquet{name}", data[:-10])
    assert bad.reason.startswith(("truncated_", "corrupt_"))


def test_a_file_that_changed_since_its_listing_is_refused(reading):
    file = reading.file("a.txt", b"text")
    file.location.write_bytes(b"longer text")
    with pytest.raises(InputError, match=r"has 11 bytes, but 4.*materialize raw_documents again"):
        list(read_records(file, reading.spec()))
    file.location.unlink()
    with pytest.raises(InputError, match="materialize raw_documents"):
        list(read_records(file, reading.spec()))


@pytest.mark.parametrize(
    ("name", "data", "file_format", "expected"),
    [
        ("a.jsonl", JSON, None, True),
        ("a.txt", b"x\ny\n", TextFormat(unit="line"), True),
        ("a.txt", b"x\ny\n", TextFormat(unit="paragraph"), False),
        ("a.txt", b"x\ny\n", None, False),
        ("a.jsonl.gz", gzip.compress(JSON, mtime=0), None, False),
        ("a.jsonl", "\ufeff{}".encode("utf-16-le"), None, False),
        ("a.parquet", b"PAR1", None, False),
        ("a.csv", b"text\n1\n", None, True),
        ("a.csv", "text\n一\n".encode("utf-16"), None, False),
        ("a.json", b'[{"text": "a"}]', None, True),
        ("a.json", '[{"text": "一"}]'.encode("gb18030"), JsonFormat(encoding="gb18030"), False),
        ("a.json.gz", gzip.compress(b"[]", mtime=0), None, False),
    ],
)
def test_only_plain_files_of_records_one_after_the_other_are_divisible(reading, name, data, file_format, expected):
    file = reading.file(name, data)
    spec = reading.spec(file_format)
    assert divisible(file, spec) is expected
    if not expected:
        whole = list(read_records(file, spec))
        assert list(read_records(file, spec, 0, 1)) == whole
        assert list(read_records(file, spec, 1)) == []


def test_text_from_python_has_fields_of_its_own(reading):
    file = reading.file("a.jsonl", b'{"text": "doc", "label": "torch", "group": "torch.nn", "name": "n"}')
    (record,) = read_records(file, CorpusSpec(source=PythonSource()))
    assert record == Record(0, "doc", label="torch", group="torch.nn", byte_offset=0, byte_length=file.bytes)


def test_real_corpora_are_read_without_a_loss(reading, shared_data):
    """Every text-like file of the small real corpora gives records; what does not says why."""
    seen = 0
    for path in sorted((shared_data / "small").rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        records = reading(path.name.replace(os.sep, "_"), data)
        reasons = {record.reason for record in records if isinstance(record, Quarantined)}
        assert reasons <= {"unsupported_format", "missing_field", "invalid_utf8", "needs_query", "binary", "skipped"}, (
            path
        )
        seen += len(records)
    assert seen


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.warc", "a.jsonl.zst", "a.zip"])
def test_a_file_in_which_nothing_is_says_so(reading, name):
    data = {"a.jsonl.zst": zstandard.compress(b""), "a.zip": b"PK\x05\x06" + bytes(18)}.get(name, b"")
    (bad,) = reading(name, data)
    assert (bad.reason, bad.record) == ("empty_file", None)
