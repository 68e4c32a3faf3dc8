import gzip
import zlib

import pytest

from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.corpus.readers.records import Record
from lm_pipeline.specs.corpus import Extraction, PdfFormat
from tests.unit.corpus.readers.documents import pdf

CHINESE = ["你好，世界。这是第一页的第一行，它很长，", "所以接着写。", "Hello world."]


@pytest.mark.parametrize("name", ["a.pdf", "a.pdf.gz", "a"])
def test_the_text_layer_is_one_document_with_lines_that_run_on_joined(reading, name):
    data = pdf(CHINESE, ["The second page", "has a title", ""])
    (record,) = reading(name, gzip.compress(data) if name.endswith("gz") else data)
    assert record.text.startswith("你好，世界。这是第一页的第一行，它很长，所以接着写。\nHello world.\n\n")
    assert (record.title, record.date, record.record) == ("A title", "2024-01-31", 0)


def test_a_page_may_be_a_document(reading):
    first, third = reading("a.pdf", pdf(CHINESE, [], ["第三页"]), PdfFormat(unit="page"))
    assert (first.record, third.record, third.text) == (0, 2, "第三页")


def test_running_heads_and_page_numbers_go(reading):
    pages = [["Guide 指南", f"Text of page {'abcd'[n]}.", f"- {n} -"] for n in range(4)]
    (record,) = reading("a.pdf", pdf(*pages))
    assert record.text.split("\n\n") == [f"Text of page {letter}." for letter in "abcd"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf([]), "no_text_layer"),
        (pdf(["x"], encrypted=True), "encrypted"),
        (b"%PDF-1.4 and nothing", "unreadable"),
        (pdf(["x"])[:200], "unreadable"),
        (b"", "unreadable"),
    ],
)
def test_what_has_no_text_says_why(reading, data, reason):
    (bad,) = reading("a.pdf", data)
    assert (bad.reason, bad.record) == (reason, 0)


def test_an_object_that_expands_enormously_costs_its_file(reading):
    press = zlib.compressobj(9)
    bomb = b"".join(press.compress(b"BT /F1 9 Tf (a) Tj ET " * 50_000) for _ in range(400)) + press.flush()
    spec = reading.spec().model_copy(
        update={"extraction": Extraction(memory_limit_bytes=256 << 20, time_limit_seconds=20)}
    )
    (bad,) = read_records(reading.file("bomb.pdf", pdf(bomb)), spec)
    assert bad.reason in {"memory_limit", "timeout"}
    (record,) = read_records(reading.file("a.pdf", pdf(["text"])), spec)
    assert isinstance(record, Record)
