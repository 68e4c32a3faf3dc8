import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.readers.read import ranges, read_records
from lm_pipeline.corpus.readers.records import Quarantined
from lm_pipeline.specs.corpus import JsonFormat

OBJECTS = [
    {"text": 'A "quoted" [text] with {brackets}, and a \\ at its end \\', "label": "en"},
    {"text": "这是一段文字，\n有两行。", "label": "zh", "meta": {"tags": ["一", {"text": "inner"}]}},
    {"label": 3, "text": ""},
]
STYLES = {
    "array": lambda objects: json.dumps(objects, ensure_ascii=False),
    "escaped": json.dumps,
    "pretty": lambda objects: json.dumps(objects, ensure_ascii=False, indent=2),
    "one a line": lambda objects: "[\n" + ",\n".join(map(json.dumps, objects)) + "\n]\n",
    "comma first": lambda objects: "[ " + "\r\n, ".join(map(json.dumps, objects)) + "]",
    "lines": lambda objects: "\n".join(map(json.dumps, objects)),
    "one after the other": lambda objects: "".join(map(json.dumps, objects)),
    "pretty, without an array": lambda objects: "\n".join(json.dumps(value, indent="\t") for value in objects),
}


def outcome(items) -> list:
    return [(item.record, item.reason if isinstance(item, Quarantined) else item.text) for item in items]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_object_is_a_record_however_it_is_laid_out(reading, style, pack, mark):
    data = mark + STYLES[style](OBJECTS).encode()
    records = reading("a.json.gz" if pack is gzip.compress else "a.json", pack(data), label="label")
    assert [(record.text, record.label) for record in records] == [
        (value["text"], str(value["label"])) for value in OBJECTS
    ]
    places = [data[record.byte_offset :][: record.byte_length] for record in records]
    assert [json.loads(place) for place in places] == OBJECTS


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-be", "utf-32", "gb18030", "big5", "shift_jis"])
def test_character_sets_whose_second_bytes_look_like_brackets_are_read(reading, charset):
    text = {"big5": '許功蓋的\\"資料', "shift_jis": "表示ソースの「十」"}.get(charset, "許功蓋的“誠”字、乗匸俓")
    data = json.dumps([{"text": text}, {"text": "二"}], ensure_ascii=False).encode(charset)
    records = reading("a.json", data, JsonFormat(encoding=charset) if "utf" not in charset else None)
    assert [(record.text, record.byte_offset) for record in records] == [(text, None), ("二", None)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"text": nope}', "invalid_json"),
        ('{"text": "a" "b"}', "invalid_json"),
        ('{"text": "tab\there"}', "invalid_json"),
        ('{"text": "a"', "invalid_json"),
        ('{"text": ["a", {"b": 1}}', "invalid_json"),
        ('{"text": "a"]', "invalid_json"),
        ('{"text": "open}', "invalid_json"),
        ('{"open: "a", "b": {"text": "x"}}', "invalid_json"),
        ("nope nope", "invalid_json"),
        ('{"text": "\\ud800"}', "lone_surrogate"),
        ('{"text": "a\\u0000"}', "nul_character"),
        ('{"text": 1}', "wrong_type"),
        ('{"body": "a"}', "missing_field"),
        ('["text"]', "not_an_object"),
        ('"text"', "not_an_object"),
        ("null", "not_an_object"),
        ('{"text": ' + "[" * 20_000 + "]" * 20_000 + "}", "too_deep"),
        ('{"text": "' + "长" * 20_000 + '"}', "too_long"),
        (b'{"text": "\xff"}', "invalid_utf8"),
        (b'{"text": "a\0"}', "nul_character"),
    ],
)
@pytest.mark.parametrize("between", [",\n", "\n,", "\n"])
def test_a_bad_record_costs_exactly_itself(reading, bad, reason, between):
    good = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in ("好的", "fine", "好", "end")]
    rows = [good[0], good[1], bad if isinstance(bad, bytes) else bad.encode(), good[2], good[3]]
    items = reading("a.json", b"[" + between.encode().join(rows) + b"]", max_line_bytes=50_000)
    assert outcome(items) == [(0, "好的"), (1, "fine"), (2, reason), (3, "好"), (4, "end")]
    assert items[2].byte_offset >= len(rows[0]) + len(rows[1])
    assert items[2].detail


@pytest.mark.parametrize("bad", ['{"text": nope}', '{"text": "a"', '{"text": ["a", {"b": 1}}', '{"text": "a"]', "nope"])
def test_most_errors_cost_no_more_on_a_line_that_holds_everything(reading, bad):
    items = reading("a.json", f'[{{"text": "a"}}, {bad}, {{"text": "b"}}]'.encode())
    assert outcome(items) == [(0, "a"), (1, "invalid_json"), (2, "b")]


def test_a_file_that_ends_within_a_record_says_so(reading):
    data = STYLES["array"](OBJECTS).encode()
    assert outcome(reading("a.json", data[:-10])) == [
        (0, OBJECTS[0]["text"]),
        (1, OBJECTS[1]["text"]),
        (2, "invalid_json"),
    ]
    cut = reading("a.json", data[:40])
    assert outcome(cut) == [(0, "invalid_json")]
    assert "Unterminated string" in cut[0].detail
    packed = gzip.compress(STYLES["array"](OBJECTS * 20_000).encode())
    (first, *_, last) = reading("a.json.gz", packed[: len(packed) * 3 // 4])
    assert (first.text, last.reason) == (OBJECTS[0]["text"], "truncated_gzip")


@pytest.mark.parametrize("data", [b"", b"[]", b" [ ]\n", b"\n"])
def test_nothing_is_no_record(reading, data):
    assert [item.reason for item in reading("a.json", data)] == ["empty_file"] * (not data)


def test_an_object_that_holds_the_records_says_what_it_has(reading):
    (bad,) = reading("a.json", json.dumps({"version": 1, "data": OBJECTS}).encode())
    assert bad.reason == "missing_field"
    assert "the record has: version, data" in bad.detail


def test_other_json_is_no_text(reading):
    (bad,) = reading("a.json", bytes(3000))
    assert bad.reason == "binary"


PIECES = st.sampled_from(
    [
        *(
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            '"',
            "\\",
            "\n",
            " ",
            '\\"',
            '{"text": "',
            '"}',
            '{"text": "一"}',
            '{"text": 1}',
        ),
        *(",\n", '{"a": {"text": "x"}, ', "nope", "7", "[1, {}]"),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join), st.integers(1, 40))
def test_ranges_read_apart_are_the_file_read_whole(reading, text, num_bytes):
    file, spec = reading.file("a.json", text.encode()), reading.spec(max_line_bytes=1024)
    whole = list(read_records(file, spec))
    cut = ranges(file, spec, num_bytes)
    assert [item for part in cut for item in read_records(file, spec, *part)] == whole
    assert all(after.start >= before.start + num_bytes for before, after in pairwise(cut))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda values: st.lists(values) | st.dictionaries(st.text(), values),
        ),
        max_size=6,
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_the_values_of_an_array_are_those_that_a_parser_of_whole_documents_finds(reading, values, indent, ascii_only):
    rows = [{"text": json.dumps(value), "value": value} for value in values]
    data = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")
    records = reading("a.json", data)
    assert [record.text for record in records] == [row["text"] for row in json.loads(data)]
