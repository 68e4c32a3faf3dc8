import pytest

from lm_pipeline.corpus.extraction.page_charset import UndecodableError, decode_page

CHINESE = "<p>中华人民共和国的一切权力属于人民。人民行使国家权力的机关是全国人民代表大会。</p>"


@pytest.mark.parametrize("charset", ["gb2312", "gbk", "gb18030", "big5", "utf-8", "utf-16"])
def test_a_byte_order_mark_or_a_declaration_decides(charset):
    text = CHINESE if charset != "big5" else "<p>中華民國的一切權力屬於人民，這是傳統字。</p>"
    html = f"<meta charset={charset}>{text}"
    assert decode_page(html.encode(charset)) == html


def test_http_declares_before_the_page_does():
    data = f"<meta charset=iso-8859-1>{CHINESE}".encode("gbk")
    assert CHINESE in decode_page(data, "gbk")


def test_utf8_is_utf8_whatever_it_declares():
    assert CHINESE in decode_page(f"<meta charset=gbk>{CHINESE}".encode(), "iso-8859-1")


@pytest.mark.parametrize(("text", "charset"), [(CHINESE * 3, "gb18030"), ("Il a été élevé à Nîmes. " * 5, "cp1252")])
def test_what_declares_nothing_is_detected(text, charset):
    assert decode_page(text.encode(charset)) == text


def test_a_stray_byte_costs_a_character_and_not_the_page():
    data = CHINESE.encode() * 10
    assert decode_page(data[:200] + b"\xff" + data[200:]).count("\ufffd") >= 1


def test_noise_is_undecodable():
    with pytest.raises(UndecodableError, match="one character in a hundred"):
        decode_page(b"<meta charset=utf-8>" + b"\x81\x8d\x8f\x90\x9d\xff\xfe\x80" * 100, "utf-8")


def test_nuls_are_no_text_and_an_unknown_label_is_no_obstacle():
    assert decode_page(b"a\0b", "x-nonsense") == "ab"


@pytest.mark.parametrize("label", ["zlib", "rot13", "idna", "undefined", "punycode", "hz-gb-2312", "bogus", ""])
def test_what_is_no_character_set_of_the_web_is_passed_over(label):
    text = "Il a été élevé à Nîmes. " * 5
    assert decode_page(text.encode("cp1252"), label) == text


@pytest.mark.parametrize("meta", ["", "<meta charset=gb2312>", "<meta charset=iso-8859-1>"])
@pytest.mark.parametrize("label", ["ISO-8859-1", "windows-1252"])
def test_latin_1_is_not_believed_of_a_chinese_page(meta, label):
    assert CHINESE in decode_page(f"{meta}{CHINESE * 3}".encode("gb18030"), label)


def test_latin_1_is_believed_of_a_page_that_is():
    text = "<p>Il a été élevé à Nîmes, où l'on a déjà répété la leçon.</p>"
    assert decode_page(text.encode("cp1252"), "ISO-8859-1") == text


def test_pages_whose_bytes_are_all_ascii_may_be_japanese():
    text = "<p>日本の経済は戦後の復興から高度成長期を経て、世界有数の経済大国となった。</p>"
    assert decode_page(text.encode("iso2022_jp")) == text
