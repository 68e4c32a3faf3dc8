import random

import pytest

from lm_pipeline.corpus.readers.charsets import detect
from lm_pipeline.specs.corpus import TextFormat

SAMPLES = {
    "gb18030": ("small/lm/zh/journey-to-the-west-ch1-20.txt", "gb18030"),
    "cp950": ("small/langid/cmn_hant.txt", "big5"),
    "cp932": ("small/langid/jpn.txt", "shift_jis"),
    "euc_jp": ("small/langid/jpn.txt", "euc_jp"),
    "cp949": ("small/langid/kor.txt", "euc_kr"),
    "cp1251": ("small/langid/rus.txt", "cp1251"),
    "koi8_r": ("small/langid/rus.txt", "koi8_r"),
    "cp866": ("small/langid/rus.txt", "cp866"),
    "cp1252": ("small/langid/fra.txt", "latin-1"),
    "cp1254": ("small/langid/tur.txt", "cp1254"),
    "utf-8": ("small/langid/hin.txt", "utf-8"),
}


@pytest.mark.parametrize("expected", SAMPLES)
def test_the_character_set_of_real_text_is_found(shared_data, expected):
    path, encoding = SAMPLES[expected]
    text = (shared_data / path).read_text("utf-8")
    assert detect([text.encode(encoding, "ignore")]) == expected


@pytest.mark.parametrize("language", ["deu_1901", "spa", "por_BR", "eng"])
def test_western_languages_are_cp1252_or_plain(shared_data, language):
    text = (shared_data / f"small/langid/{language}.txt").read_text("utf-8")
    data = text.encode("cp1252", "ignore")
    assert detect([data]) == ("utf-8" if data.isascii() else "cp1252")


@pytest.mark.parametrize(
    ("path", "encoding", "expected"),
    [
        ("small/lm/zh/journey-to-the-west-ch1-20.txt", "gb18030", "gb18030"),
        ("large/thucnews-titles/dev.txt", "gbk", "gb18030"),
        ("small/langid/cmn_hant.txt", "big5", "cp950"),
    ],
)
def test_chinese_is_found_on_twenty_characters(shared_data, path, encoding, expected):
    draw = random.Random(0)
    text = (shared_data / path).read_text("utf-8").replace("\n", "")
    pieces = [text[at : at + 20].encode(encoding, "ignore") for at in (draw.randrange(len(text)) for _ in range(500))]
    found = [detect([piece]) for piece in pieces if not piece.isascii()]
    assert found.count(expected) / len(found) >= 0.99


def test_a_few_wrong_bytes_leave_utf8_what_it_is():
    assert detect(["中文文本，".encode(), b"\xff\xfe"]) == "utf-8"
    assert detect([b"plain"]) == "utf-8"
    assert all(detect([b"plain, and one wrong byte: ", bytes([byte])]) == "utf-8" for byte in range(128, 256))
    assert detect([]) == "utf-8"
    assert detect(["中文文本".encode()[:-1]]) == "utf-8"


def test_random_bytes_are_no_text_of_another_character_set():
    noise = random.Random(1).randbytes(20_000)
    assert detect([noise]) == "utf-8"


JAPANESE = "日本の経済は戦後の復興から高度成長期を経て、世界有数の経済大国となった。"
CHINESE = "中华人民共和国的经济与社会发展是一个重要的问题，我们应该对这个问题进行研究。"


@pytest.mark.parametrize(("text", "charset"), [(JAPANESE, "iso2022_jp"), (CHINESE, "hz")])
def test_text_in_ascii_bytes_with_escapes_is_found_and_read_line_by_line(reading, text, charset):
    data = "".join(f"plain {n}\n{text}{n}\n" for n in range(3)).encode(charset)
    assert data.isascii()
    records = reading("a.txt", data, TextFormat(unit="line"))
    assert [record.text for record in records[1::2]] == [f"{text}{n}" for n in range(3)]


@pytest.mark.parametrize(
    "code", [b"\x1b[31mred\x1b[0m and \x1b$ more", b"a ~{b} c ~{d, e} ${f}~{g}", b"~{!!!~} ~{???~}"]
)
def test_terminal_colours_and_code_are_no_such_text(code):
    assert detect([code * 20]) == "utf-8"
