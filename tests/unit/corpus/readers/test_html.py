import bz2
import gzip
import importlib.util

import pytest

from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.errors import InputError
from lm_pipeline.specs.corpus import Extraction, HtmlFormat

PAGE = (
    "<html><head><meta charset={charset}><title>标题 Title</title></head><body><h1>标题 Title</h1>"
    "<p>这是一段正文，说的是今天的天气很好，大家都出门去了。This is text.</p></body></html>"
)
TEXT = "这是一段正文，说的是今天的天气很好，大家都出门去了。This is text."


@pytest.mark.parametrize("charset", ["utf-8", "gb18030"])
@pytest.mark.parametrize("name", ["a.html", "a.htm.gz", "b.bz2", "c"])
def test_a_page_is_one_document_with_its_title(reading, name, charset):
    data = PAGE.format(charset=charset).encode(charset)
    packed = gzip.compress(data) if name.endswith("gz") else bz2.compress(data) if name.endswith("bz2") else data
    (record,) = reading(name, packed)
    assert (record.record, record.title, record.text) == (0, "标题 Title", TEXT)
    assert (record.byte_offset, record.byte_length) == (0, len(data))


def test_a_declared_character_set_comes_before_the_pages_own(reading):
    data = PAGE.format(charset="iso-8859-1").encode("gb18030")
    (record,) = reading("a.html", data, HtmlFormat(encoding="gb18030"))
    assert record.text == TEXT


def test_what_rules_take_out_of_a_page_comes_with_it(reading):
    data = PAGE.format(charset="utf-8").replace("</p>", "</p><p>广告</p><p>Share on Facebook</p><p>尾。</p>")
    (record,) = reading("a.html", data.encode())
    assert record.text == f"{TEXT}\n\n尾。"
    assert record.removals == (("page_headline", 1, 9), ("page_labels", 2, 21))


def test_a_page_over_the_limit_and_a_truncated_one_are_quarantined(reading):
    (bad,) = reading("a.html", b"<p>" + b"x" * 5000, max_line_bytes=1024)
    assert (bad.reason, bad.record) == ("too_long", 0)
    (bad,) = reading("a.html.gz", gzip.compress(PAGE.encode())[:-9])
    assert bad.reason == "truncated_gzip"


def test_noise_is_undecodable_with_an_excerpt(reading):
    (bad,) = reading("a.html", b"<html>" + b"\x81\x8d\x8f\x90\x9d\xff\xfe\x80" * 100)
    assert bad.reason == "undecodable"
    assert bad.excerpt.startswith("<html>")


def test_a_page_that_takes_too_long_is_a_timeout_and_the_next_one_is_read(reading):
    spec = reading.spec().model_copy(update={"extraction": Extraction(time_limit_seconds=1)})
    (bad,) = read_records(reading.file("deep.html", b"<div>" * 400_000), spec)
    assert bad.reason in {"timeout", "memory_limit", "parser_crash"}
    (record,) = read_records(reading.file("a.html", PAGE.format(charset="utf-8").encode()), spec)
    assert record.text == TEXT


def test_a_missing_extractor_is_named_with_what_to_install(reading, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    spec = reading.spec().model_copy(update={"extraction": Extraction(extractor="trafilatura")})
    with pytest.raises(InputError, match=r"pip install 'lm-pipeline\[trafilatura\]'"):
        list(read_records(reading.file("a.html", b"<p>x"), spec))
