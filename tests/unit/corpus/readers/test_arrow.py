import gzip

import pyarrow as pa
import pytest
from pyarrow import feather

from lm_pipeline.corpus.readers.records import Record

TABLE = pa.table({"text": ["法律", "law", "第三"], "label": [1, 2, 3], "other": [None] * 3})


def written(new_writer, table=TABLE, **options) -> bytes:
    sink = pa.BufferOutputStream()
    with new_writer(sink, table.schema, **options) as writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def feather_bytes(tmp_path) -> bytes:
    feather.write_feather(TABLE, str(tmp_path / "a.feather"), compression="zstd")
    return (tmp_path / "a.feather").read_bytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("kind", ["file", "stream", "feather", "no extension"])
def test_files_streams_and_feather_are_read_in_order(reading, tmp_path, kind, pack):
    make = {"stream": lambda: written(pa.ipc.new_stream), "feather": lambda: feather_bytes(tmp_path)}
    data = make.get(kind, lambda: written(pa.ipc.new_file))()
    name = "a" if kind == "no extension" else "a.arrow"
    records = reading(name + (".gz" if pack is gzip.compress else ""), pack(data), label="label")
    assert records == [Record(n, t, label=str(n + 1)) for n, t in enumerate(["法律", "law", "第三"])]


def test_dictionaries_and_views_are_text(reading):
    column = pa.array(["法律", "law", "法律"])
    for values in (column.dictionary_encode(), column.cast(pa.string_view()), column.cast(pa.large_string())):
        records = reading("a.arrow", written(pa.ipc.new_file, pa.table({"text": values})))
        assert [record.text for record in records] == ["法律", "law", "法律"]


@pytest.mark.parametrize("new_writer", [pa.ipc.new_file, pa.ipc.new_stream])
def test_a_dotted_field_is_a_path_into_structs(reading, new_writer):
    table = pa.table({"text": ["甲", "b", "c"], "metadata": [{"url": "u", "n": 1}, None, {"url": None, "n": 3}]})
    records = reading("a.arrow", written(new_writer, table), url="metadata.url", label="metadata.n")
    assert records == [Record(0, "甲", url="u", label="1"), Record(1, "b"), Record(2, "c", label="3")]


def test_a_missing_column_quarantines_the_file_and_names_those_there_are(reading):
    (bad,) = reading("a.arrow", written(pa.ipc.new_file), text="body")
    assert (bad.reason, bad.record) == ("missing_field", None)
    assert "text, label, other" in bad.detail


@pytest.mark.parametrize("data", [b"ARROW1 and nothing of the kind", b"", b"no arrow at all", b"FEA1"])
def test_what_is_no_arrow_file_is_one_quarantined_record(reading, data):
    (bad,) = reading("a.arrow", data)
    assert bad.record is None
    assert bad.reason == ("unsupported_format" if data == b"FEA1" else "unreadable")


def test_a_stream_that_is_cut_costs_the_batch_that_is_cut(reading):
    records = reading("a.arrow", written(pa.ipc.new_stream)[:-40])
    assert [record.text for record in records[:2]] == ["法律", "law"]
    assert records[-1].reason == "unreadable"
