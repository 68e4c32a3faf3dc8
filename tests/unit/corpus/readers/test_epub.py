import io
import zipfile

import pytest

from lm_pipeline.specs.corpus import EpubFormat
from tests.unit.corpus.readers.documents import epub

CHAPTERS = {"b%20二.xhtml": "<h1>一</h1><p>第一章的正文。</p>", "a.xhtml": "<p>The second &amp; last chapter.</p>"}
FIXED = {"OEBPS/b 二.xhtml": "<html><body><h1>一</h1><p>第一章的正文。</p></body></html>"}
ENCRYPTION = "<encryption xmlns:e='x'><e:EncryptionMethod xmlns:e='x' Algorithm='{}'/></encryption>"


@pytest.mark.parametrize("name", ["a.epub", "a"])
def test_a_book_is_its_spine_in_order(reading, name):
    (record,) = reading(name, epub(CHAPTERS, FIXED))
    assert record.text == "一\n\n第一章的正文。\n\nThe second & last chapter."
    assert (record.title, record.date) == ("书名 Title", "2020-01-02")


def test_a_chapter_may_be_a_document(reading):
    records = reading(
        "a.epub", epub({"a.xhtml": "<p>甲</p>", "b.xhtml": "", "c.xhtml": "<p>c</p>"}), EpubFormat(unit="chapter")
    )
    assert [(record.record, record.text) for record in records] == [(0, "甲"), (2, "c")]


def test_readings_beside_the_text_are_none_of_it(reading):
    ruby = "<ruby>道<rp>(</rp><rt>dào</rt><rp>)</rp>德<rt>dé</rt></ruby>经》、<ruby><rb>漢字</rb><rt>かんじ</rt></ruby>"
    (record,) = reading("a.epub", epub({"a.xhtml": f"<p>《{ruby}だ。</p>"}))
    assert record.text == "《道德经》、漢字だ。"


def not_a_book() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("x", "y")
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"nothing", "unreadable"),
        (not_a_book(), "unreadable"),
        (epub(CHAPTERS), "unreadable"),  # a chapter is missing
        (epub({"a.xhtml": "x"}, {"META-INF/container.xml": "<container/>"}), "unreadable"),
        (epub({"a.xhtml": "x"}, {"OEBPS/book.opf": "<!DOCTYPE x [<!ENTITY a 'b'>]><package/>"}), "unreadable"),
        (epub({"a.xhtml": "x"}, {"META-INF/encryption.xml": ENCRYPTION.format("http://drm")}), "encrypted"),
        (epub({"a.xhtml": "x" * 3_000_000}), "bomb"),
    ],
)
def test_what_is_no_sound_book_says_why(reading, data, reason):
    (bad,) = reading("a.epub", data, max_line_bytes=1 << 20)
    assert bad.reason == reason


def test_obfuscated_fonts_are_no_obstacle(reading):
    lock = ENCRYPTION.format("http://www.idpf.org/2008/embedding")
    (record,) = reading("a.epub", epub({"a.xhtml": "<p>文</p>"}, {"META-INF/encryption.xml": lock}))
    assert record.text == "文"
