import gzip
import zlib

import pytest

from lm_pipeline.corpus.extraction.pdf import without_running_lines
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


def test_a_page_never_loses_its_only_line(reading):
    (record,) = reading("a.pdf", pdf(["12 apples"], ["13 apples"], ["14 apples"]))
    assert record.text == "12 apples\n\n13 apples\n\n14 apples"
    (record,) = reading("a.pdf", pdf(*[["指南", f"{n}"] for n in range(3)]))
    assert record.text == "0\n\n1\n\n2"


BODY = ["It was late.", "下雨了。", "No one came.", "他走了。", "The end."]


@pytest.mark.parametrize(
    "lines",
    [
        ["Chapter 1", "Chapter 2", "Chapter 3"],
        ["第1章", "第2章", "第3章", "第4章"],
        ["SECTION 4. Powers", "SECTION 5. Powers", "SECTION 6. Powers"],
        ["图 1", "图 2", "图 3"],
        ["1998: 3 cases", "2003: 9 cases", "2004: 1 cases"],
        ["Total 40", "Total 12", "Total 90"],
        ["合计12元", "合计7元", "合计30元"],
        ["#", "1", "2"],
        ["第#章", "第1章", "第2章"],
    ],
)
def test_headings_and_figures_that_differ_in_a_number_stay(lines):
    tops = [[line, text] for line, text in zip(lines, BODY, strict=False)]
    ends = [[text, line] for line, text in zip(lines, BODY, strict=False)]
    assert without_running_lines(tops) == tops
    assert without_running_lines(ends) == ends


@pytest.mark.parametrize(
    "lines",
    [
        ["第1页", "第2页", "第3页"],
        ["Page 7 of 9", "Page 8 of 9", "Page 9 of 9"],
        ["Annual report 2023 | 1", "Annual report 2023 | 2", "Annual report 2023 | 3"],
        ["第1章 开端 5", "第1章 开端 6", "第1章 开端 7"],
        ["Chapter 1, 9", "Chapter 1, 10", "Chapter 1, 11", "Chapter 1, 12", "Chapter 1, 13", "Chapter 2, 14"],
        ["ix", "x", "xi", "xii", "xiii", "1"],
        ["2-3", "4-5", "6-7"],
        ["机密", "机密", "机密"],
    ],
)
def test_lines_that_differ_in_the_page_number_alone_go(lines):
    texts = [*BODY, "Beyond."][: len(lines)]
    assert without_running_lines([[line, text] for line, text in zip(lines, texts, strict=True)]) == [
        [text] for text in texts
    ]


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
