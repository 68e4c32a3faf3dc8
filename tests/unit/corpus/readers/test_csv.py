import csv
import gzip
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.readers.read import ranges, read_records
from lm_pipeline.corpus.readers.records import Quarantined, Record
from lm_pipeline.specs.corpus import CsvFormat

TABLE = 'id,text,label\r\n1,"first, with a comma",a\r\n2,"两行\r\n中文 ""引号""",b\r\n\r\n3,plain,c\r\n'.encode()


def outcome(items) -> list:
    return [(item.record, item.reason if isinstance(item, Quarantined) else item.text) for item in items]


def test_quoted_fields_hold_delimiters_line_ends_and_quotation_marks(reading):
    records = reading("a.csv", TABLE, label="label")
    assert [(r.text, r.label) for r in records] == [
        ("first, with a comma", "a"),
        ('两行\r\n中文 "引号"', "b"),
        ("plain", "c"),
    ]
    assert [r.record for r in records] == [0, 1, 2]
    places = [TABLE[r.byte_offset :][: r.byte_length].decode() for r in records]
    assert places == ['1,"first, with a comma",a', '2,"两行\r\n中文 ""引号""",b', "3,plain,c"]


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "|"), ("a.tsv", "\t")])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_delimiter_is_found(reading, name, delimiter, pack):
    data = TABLE.decode().replace(",", delimiter).encode()
    records = reading(name + (".gz" if pack is gzip.compress else ""), pack(data))
    assert [r.text for r in records] == [f"first{delimiter} with a comma", '两行\r\n中文 "引号"', "plain"]


def test_columns_may_be_named_where_there_is_no_header(reading):
    records = reading("a.csv", b"1;x, y\n2;z\n", CsvFormat(columns=("n", "text")))
    assert [r.text for r in records] == ["x, y", "z"]


def test_a_row_of_another_width_costs_itself(reading):
    items = reading("a.csv", b"id,text\n1,a\n2\n3,b,c\n4,d\n")
    assert outcome(items) == [(0, "a"), (1, "ragged_row"), (2, "ragged_row"), (3, "d")]
    assert items[1].byte_offset == 12
    assert "1 fields; expected 2: id, text" in items[1].detail


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'2,"open', "invalid_csv"),
        (b'2,"a"b', "invalid_csv"),
        (b"2,\xff\xfe", "invalid_utf8"),
        (b"2,a\0b", "nul_character"),
        (b"2," + b"x" * 3000, "too_long"),
        (b'2,"two\nlines and \xff"', "invalid_utf8"),
    ],
)
def test_a_bad_row_costs_exactly_itself(reading, row, reason):
    data = "id,text\n1,好\n".encode() + row + '\n3,好的\n4,"end"\n'.encode()
    items = reading("a.csv", data, max_line_bytes=1024)
    if b"lines and" in row:  # its second line is no row of its own
        assert outcome(items)[0] == (0, "好")
        assert outcome(items)[-2:] == [(3, "好的"), (4, "end")]
        assert {item.reason for item in items[1:3]} == {"invalid_csv", "invalid_utf8"}
    else:
        assert outcome(items) == [(0, "好"), (1, reason), (2, "好的"), (3, "end")]
        assert items[1].byte_offset >= 8


def test_tab_separated_text_that_is_not_quoted_is_read_as_it_stands(reading):
    records = reading("a.tsv", b'id\ttext\n1\t"Hello," he said.\n2\t"open\n3\t"quoted\tfield"\n')
    assert outcome(records) == [(0, '"Hello," he said.'), (1, '"open'), (2, "quoted\tfield")]


def test_a_file_without_the_column_is_one_quarantined_record(reading):
    (bad,) = reading("a.csv", b"body,id\nx,1\n")
    assert (bad.reason, bad.record) == ("missing_field", None)
    assert "body, id" in bad.detail


def test_an_empty_file_and_a_lone_header_hold_no_record(reading):
    assert [item.reason for item in reading("a.csv", b"")] == ["empty_file"]
    assert reading("a.csv", b"\xef\xbb\xbfid,text\n") == []


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_tables_in_other_character_sets_are_read(reading, encoding):
    text = "编号,text\n1,这是一个没有说明字符集的表格\n2,第二行\n"
    records = reading("a.csv", text.encode(encoding))
    assert [r.text for r in records] == ["这是一个没有说明字符集的表格", "第二行"]
    assert records[0].byte_offset == (None if encoding == "utf-16" else len("编号,text\n".encode("gbk")))


CELLS = st.text(st.sampled_from(list('ab,;"\n\r\t 中文')), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), max_size=8))
def test_what_the_standard_library_writes_is_read_back(reading, rows):
    sink = io.StringIO(newline="")
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    records = reading("a.csv", sink.getvalue().encode(), CsvFormat(delimiter=","), label="label")
    assert [(record.text, record.label) for record in records if isinstance(record, Record)] == rows


def test_real_tables_are_read_whole(reading, shared_data):
    """Row counts as their makers give them."""
    bbc = (shared_data / "large/bbc-news/bbc.csv.gz").read_bytes()
    header = gzip.decompress(bbc)[:100].split(b"\n")[0].decode().strip().split(",")
    items = reading("bbc.csv.gz", bbc, text=header[-1])
    assert len(items) == 2225
    assert all(isinstance(item, Record) for item in items)


CELLS = st.sampled_from(
    [*('"', '""', ",", "\n", "\r\n", "\t", "a", "中文", '"two\nlines"', '"a"b', "x,y\n", "\udcff", "\0"), "long " * 300]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(CELLS, max_size=30), st.integers(1, 60), st.sampled_from(["a.csv", "a.tsv"]), st.booleans())
def test_ranges_read_apart_are_the_file_read_whole(reading, cells, num_bytes, name, has_header):
    separator = "\t" if name.endswith("tsv") else ","
    data = (f"id{separator}text\n" * has_header + "".join(cells)).encode("utf-8", "surrogateescape")
    table = CsvFormat() if has_header else CsvFormat(columns=("id", "text"))
    file, spec = reading.file(name, data), reading.spec(table, max_line_bytes=1024)
    whole = list(read_records(file, spec))
    cut = ranges(file, spec, num_bytes)
    assert [item for part in cut for item in read_records(file, spec, *part)] == whole
    assert len(cut) > 1 or len(data) < 2 * num_bytes or len(whole) < 3 or cut[0].end is None


def test_no_range_begins_within_a_quoted_field(reading):
    rows = [f'{n},"line one\n{n},line two ""{n}""\n\n第三行"\n' for n in range(100)]
    file, spec = reading.file("a.csv", "".join(["n,text\n", *rows]).encode()), reading.spec()
    cut = ranges(file, spec, 500)
    assert len(cut) > 8
    assert [part.record for part in cut] == sorted({part.record for part in cut})
    apart = [record for part in cut for record in read_records(file, spec, *part)]
    assert [record.record for record in apart] == list(range(100))
    assert apart == list(read_records(file, spec))
    assert all(record.text.endswith("第三行") for record in apart)
