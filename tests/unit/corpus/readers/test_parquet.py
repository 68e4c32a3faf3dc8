import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm_pipeline.corpus.readers.records import Record


def as_bytes(table: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def test_rows_are_read_in_order_over_batches(reading):
    texts = [f"第{n}行 row {n}" for n in range(20_000)]
    table = pa.table({"text": texts, "label": list(range(20_000)), "other": [None] * 20_000})
    records = reading("a.parquet", as_bytes(table, row_group_size=9000), label="label")
    assert records == [Record(n, text, label=str(n)) for n, text in enumerate(texts)]


def test_a_dictionary_column_is_text(reading):
    column = pa.array(["法律", "law", "法律"]).dictionary_encode()
    records = reading("a.parquet", as_bytes(pa.table({"text": column})))
    assert [record.text for record in records] == ["法律", "law", "法律"]


def test_a_dotted_field_is_a_path_into_structs_unless_a_column_has_that_name(reading):
    structs = [{"url": "https://例子.中国/", "of": {"day": "2024-01-01"}}, None, {"url": None, "of": None}]
    table = pa.table({"text": ["甲", "b", "c"], "metadata": structs})
    data, names = as_bytes(table), {"url": "metadata.url", "date": "metadata.of.day"}
    records = reading("a.parquet", data, **names)
    assert records == [
        Record(0, "甲", url="https://例子.中国/", date="2024-01-01"),
        Record(1, "b"),
        Record(2, "c"),
    ]
    literal = as_bytes(table.append_column("metadata.url", pa.array(["x", "y", "z"])))
    assert [record.url for record in reading("a.parquet", literal, **names)] == ["x", "y", "z"]
    (bad,) = reading("a.parquet", data, url="metadata.uri")
    assert (bad.reason, bad.record) == ("missing_field", None)
    assert "no column metadata.uri; the file has: text, metadata.url, metadata.of.day" in bad.detail


def test_a_missing_column_quarantines_the_file_and_names_those_there_are(reading):
    (bad,) = reading("a.parquet", as_bytes(pa.table({"body": ["x"], "标题": ["y"]})))
    assert (bad.reason, bad.record) == ("missing_field", None)
    assert "body, 标题" in bad.detail


def test_a_bad_row_costs_itself(reading):
    invalid = pa.Array.from_buffers(
        pa.string(), 4, pa.array([b"ok", b"\xff\xfe", b"a\0b", b"x" * 2000], pa.binary()).buffers()
    )
    records = reading("a.parquet", as_bytes(pa.table({"text": invalid})), max_line_bytes=1024)
    assert [getattr(record, "reason", "read") for record in records] == [
        "read",
        "invalid_utf8",
        "nul_character",
        "too_long",
    ]


@pytest.mark.parametrize("column", [[None, "x"], [1, 2]])
def test_a_null_or_a_number_is_no_text(reading, column):
    records = reading("a.parquet", as_bytes(pa.table({"text": column})))
    assert records[0].reason == "wrong_type"


@pytest.mark.parametrize("data", [b"PAR1 and nothing of the kind", b"", b"PAR1"])
def test_a_corrupt_file_is_one_quarantined_record(reading, data):
    (bad,) = reading("a.parquet", data)
    assert (bad.reason, bad.record) == ("unreadable", None)


def test_a_damaged_page_costs_the_rest_of_the_file(reading):
    table = pa.table({"text": [f"row {n} 行" for n in range(30_000)]})
    data = bytearray(as_bytes(table, row_group_size=8192, compression="zstd", use_dictionary=False))
    page = pq.read_metadata(pa.BufferReader(bytes(data))).row_group(2).column(0).data_page_offset
    data[page : page + 100] = b"\xaa" * 100
    records = reading("a.parquet", bytes(data))
    assert records[-1].reason == "unreadable"
    assert [record.record for record in records] == list(range(len(records)))
    assert len(records) == 2 * 8192 + 1
