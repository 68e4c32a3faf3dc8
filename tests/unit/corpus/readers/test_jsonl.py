import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.readers.records import Record
from lm_pipeline.specs.corpus import JsonlFormat

GOOD = '{"text": "好的"}'.encode()
BAD = {
    "invalid_utf8": (b'{"text": "ab\xff"}', 12),
    "lone_surrogate": (rb'{"text": "\ud800"}', 0),
    "nul_character": (rb'{"text": "a\u0000b"}', 0),
    "missing_field": (b'{"body": "x"}', 0),
    "wrong_type": (b'{"text": ["x"]}', 0),
    "not_an_object": (b'["text"]', 0),
    "invalid_json": (b'{"text": "x"', 0),
    "too_deep": (b'{"text": ' + b"[" * 200_000, 0),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_line_costs_exactly_itself(reading, reason):
    line, position = BAD[reason]
    records = reading("a.jsonl", GOOD + b"\n" + line + b"\n" + GOOD)
    assert [getattr(record, "reason", "read") for record in records] == ["read", reason, "read"]
    assert records[1].record == 1
    assert records[1].byte_offset == len(GOOD) + 1 + position
    assert records[1].detail
    assert len(records[1].excerpt) <= 200


def test_a_number_too_long_for_python_costs_its_line(reading):
    records = reading("a.jsonl", b'{"text": "x", "n": ' + b"9" * 10_000 + b"}\n" + GOOD)
    assert [getattr(record, "reason", "read") for record in records] == ["invalid_json", "read"]


def test_fields_become_columns_and_simple_values_become_text(reading):
    rows = [
        {"正文": "你好", "id": 7, "ok": True, "en": "hello"},
        {"正文": "再见", "id": None, "ok": False, "en": "bye"},
    ]
    data = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    records = reading("a.jsonl", data, text="正文", target="en", label="ok", group="id")
    assert [(r.text, r.target, r.label, r.group) for r in records] == [
        ("你好", "hello", "true", "7"),
        ("再见", "bye", "false", None),
    ]


def test_a_label_that_is_a_list_is_a_wrong_type_and_an_absent_one_is_null(reading):
    wrong, absent = reading("a.jsonl", b'{"text": "x", "y": []}\n{"text": "x"}\n', label="y")
    assert wrong.reason == "wrong_type"
    assert (absent.text, absent.label) == ("x", None)
    missing, found = reading("a.jsonl", b'{"text": "x"}\n{"text": "x", "to": "y"}\n', target="to")
    assert (missing.reason, found.target) == ("missing_field", "y")
    assert "has: text" in missing.detail


def test_a_dotted_field_is_a_path_unless_a_field_has_that_name(reading):
    rows = [
        {"doc": {"正文": "甲"}, "metadata": {"url": "https://例子.中国/", "date": 2024}},
        {"doc": {"正文": "b"}, "metadata": {"url": "nested"}, "metadata.url": "of that name"},
        {"doc": {"正文": "c"}, "metadata": None},
        {"doc": {"正文": "d"}},
        {"doc": "no object"},
    ]
    data = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    *records, bad = reading("a.jsonl", data, text="doc.正文", url="metadata.url", date="metadata.date")
    assert [(r.text, r.url, r.date) for r in records] == [
        ("甲", "https://例子.中国/", "2024"),
        ("b", "of that name", None),
        ("c", None, None),
        ("d", None, None),
    ]
    assert (bad.reason, bad.record) == ("missing_field", 4)


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(reading):
    data = b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n" + GOOD + b"\r\n"
    first, second = reading("a.jsonl", data)
    assert (first.byte_offset, first.record, second.record) == (3, 0, 2)
    assert data[second.byte_offset : second.byte_offset + second.byte_length] == GOOD


def test_utf16_lines_are_read(reading):
    (record,) = reading("a.jsonl", "\ufeff".encode("utf-16-le") + GOOD.decode().encode("utf-16-le"))
    assert record == Record(0, "好的")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=12), st.lists(st.integers(0, 300), max_size=4))
def test_ranges_read_apart_are_the_file_read_whole(reading, texts, cuts):
    lines = [json.dumps({"text": text}, ensure_ascii=bool(len(text) % 2)) for text in texts]
    data = "\n".join(lines).encode("utf-8", "replace")
    whole = reading("a.jsonl", data, JsonlFormat())
    bounds = [0, *sorted(cuts), None]
    apart = [
        record
        for start, end in pairwise(bounds)
        for record in reading("a.jsonl", data, JsonlFormat(), start=start, end=end)
    ]
    assert apart == whole
    assert len(whole) == len(texts)


MEASURE = """
import re, sys
from pathlib import Path
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.specs.cleaning import Cleaning
from lm_pipeline.specs.corpus import CorpusSpec, PathSource
path, limit = Path(sys.argv[1]), int(sys.argv[2])
spec = CorpusSpec(source=PathSource(path="x"), cleaning=Cleaning(max_line_bytes=limit))
for record in read_records(RawFile(path.name, path.stat().st_size, "", path), spec):
    print(getattr(record, "reason", "read"), len(getattr(record, "text", "")))
# Not getrusage: its maximum includes the process that forked this one.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.parametrize(
    ("limit", "unit", "reason", "peak_megabytes"),
    [(64 << 20, "English text. ", "too_long", 350), (256 << 20, "中文文本。", "read", 1024)],
)
def test_a_line_of_200_megabytes_takes_bounded_memory(tmp_path: Path, limit, unit, reason, peak_megabytes):
    path = tmp_path / "long.jsonl"
    piece = unit * ((1 << 20) // len(unit.encode()))
    with path.open("wb") as file:
        file.write(GOOD + b'\n{"text": "')
        for _ in range(200):
            file.write(piece.encode())
        file.write(b'"}\n' + GOOD)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), str(limit)], check=True, capture_output=True, text=True
    )
    *records, peak = done.stdout.splitlines()
    assert records[0] == records[2] == "read 2"
    assert records[1] == f"{reason} {200 * len(piece) if reason == 'read' else 0}"
    assert int(peak) < peak_megabytes
