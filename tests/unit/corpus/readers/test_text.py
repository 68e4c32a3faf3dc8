import gzip

import pytest

from lm_pipeline.corpus.readers.records import Quarantined, Record
from lm_pipeline.specs.corpus import TextFormat

BILINGUAL = "The quick brown fox.\n第一段的第二行。\n\n　　\n第二段，到此为止。\r\n\r\nEnd".encode()


def test_a_file_is_one_document_with_its_line_ends(reading):
    assert reading("a.txt", BILINGUAL) == [Record(0, BILINGUAL.decode(), byte_offset=0, byte_length=len(BILINGUAL))]


def test_paragraphs_stand_between_blank_lines_and_an_ideographic_space_is_blank(reading):
    records = reading("a.md", BILINGUAL, TextFormat(unit="paragraph"))
    assert [record.text for record in records] == [
        "The quick brown fox.\n第一段的第二行。",
        "第二段，到此为止。",
        "End",
    ]
    assert [record.record for record in records] == [0, 1, 2]


def test_lines_keep_their_number_in_the_file(reading):
    records = reading("a.txt", BILINGUAL, TextFormat(unit="line"))
    assert [(record.record, record.text) for record in records] == [
        (0, "The quick brown fox."),
        (1, "第一段的第二行。"),
        (4, "第二段，到此为止。"),
        (6, "End"),
    ]


@pytest.mark.parametrize("unit", ["file", "paragraph", "line"])
def test_a_locator_finds_the_text_in_the_raw_bytes(reading, unit):
    data = b"\xef\xbb\xbf" + BILINGUAL
    for record in reading("a.txt", data, TextFormat(unit=unit)):
        raw = data[record.byte_offset : record.byte_offset + record.byte_length]
        assert raw.decode() == record.text
        assert not record.text.startswith("\ufeff")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_utf16_mark_is_honoured_and_leaves_no_byte_locator(reading, encoding):
    records = reading("a.txt", "\ufeff中文 text\nsecond\n".encode(encoding), TextFormat(unit="line"))
    assert [record.text for record in records] == ["中文 text", "second"]
    assert all(record.byte_offset is None for record in records)


def test_cut_utf16_is_quarantined_after_the_lines_before_it(reading):
    records = reading("a.txt", "\ufeff中文\nsecond".encode("utf-16-le")[:-1], TextFormat(unit="line"))
    assert records[0].text == "中文"
    assert records[1].reason == "undecodable"


@pytest.mark.parametrize(("unit", "good"), [("line", ["ok", "好", "end"]), ("paragraph", ["ok", "end"]), ("file", [])])
def test_a_wrong_byte_costs_exactly_its_record(reading, unit, good):
    records = reading("a.txt", b"ok\n\nab\xffcd\n\xe5\xa5\xbd\n\nend", TextFormat(unit=unit))
    bad = [record for record in records if isinstance(record, Quarantined)]
    assert [record.text for record in records if isinstance(record, Record)] == good
    assert [(b.reason, b.byte_offset) for b in bad] == [("invalid_utf8", 6)]
    assert "0xff" in bad[0].detail
    assert "\\xff" in bad[0].excerpt


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", "第一章 这是一个没有说明字符集的文件。\n第二行也是中文。\n"),
        ("big5", "第一章 這是一個沒有說明字元集的檔案。\n第二行也是中文。\n"),
        ("shift_jis", "これは文字コードの説明がないファイルです。\n二行目もそうです。\n"),
        ("euc_kr", "이것은 문자 집합을 설명하지 않는 파일입니다.\n두 번째 줄도 그렇습니다.\n"),
        ("cp1252", "Voilà un fichier qui ne dit pas son jeu de caractères.\nLa deuxième ligne aussi.\n"),
    ],
)
def test_text_in_another_character_set_is_read_with_its_places_in_the_file(reading, encoding, text):
    data = text.encode(encoding)
    for file_format in (TextFormat(unit="line"), TextFormat(unit="line", encoding=encoding)):
        records = reading("a.txt", data, file_format)
        assert [record.text for record in records] == text.splitlines()
        for record in records:
            assert data[record.byte_offset :][: record.byte_length].decode(encoding) == record.text


def test_a_wrong_byte_in_another_character_set_costs_its_line(reading):
    lines = ["第一章 这是一个没有说明字符集的文件。", "第二行也是中文。"]
    data = lines[0].encode("gbk") + b"\n\xd6\xd0\xff\xff\n" + lines[1].encode("gbk")
    records = reading("a.txt", data, TextFormat(unit="line"))
    assert [getattr(record, "text", None) for record in records] == [lines[0], None, lines[1]]
    assert records[1].reason == "undecodable"
    assert "gb18030" in records[1].detail
    assert records[1].byte_offset == data.index(b"\xff")


def test_a_character_set_is_found_far_from_the_beginning(reading):
    data = b"plain line\n" * 300_000 + "最后一行是中文，没有说明字符集。".encode("gbk")
    records = reading("a.txt", data, TextFormat(unit="line"))
    assert records[-1].text == "最后一行是中文，没有说明字符集。"


def test_utf16_without_a_mark_is_known_by_its_nuls(reading):
    text = "an old export\nwithout a mark 中文\n"
    for encoding in ("utf-16-le", "utf-16-be"):
        records = reading("a.txt", text.encode(encoding), TextFormat(unit="line"))
        assert [record.text for record in records] == text.splitlines()


def test_a_lone_surrogate_in_utf16_costs_its_line(reading):
    data = "\ufeff好的\n".encode("utf-16-le") + b"\x00\xd8\n\0" + "end".encode("utf-16-le")
    records = reading("a.txt", data, TextFormat(unit="line"))
    assert [getattr(record, "reason", None) or record.text for record in records] == ["好的", "undecodable", "end"]


def test_a_nul_costs_its_line(reading):
    records = reading("a.txt", "好的\nx\0y\nthe end of a text that is long enough\n".encode(), TextFormat(unit="line"))
    assert [getattr(record, "reason", None) for record in records] == [None, "nul_character", None]
    assert records[1].byte_offset == 8


@pytest.mark.parametrize("unit", ["file", "paragraph"])
def test_a_document_of_many_short_lines_over_the_limit_is_too_long(reading, unit):
    data = "一行。\n".encode() * 500 + b"\nlast\n"
    records = reading("a.txt", data, TextFormat(unit=unit), max_line_bytes=1024)
    assert records[0].reason == "too_long"
    assert str(len(data) if unit == "file" else 5000) in records[0].detail
    assert [record.text for record in records[1:]] == ([] if unit == "file" else ["last"])


@pytest.mark.parametrize("unit", ["file", "paragraph", "line"])
def test_a_truncated_gzip_costs_the_record_that_is_cut(reading, unit):
    data = gzip.compress(b"one\n\ntwo\n\n") + gzip.compress("第三段".encode())[:-4]
    records = reading("a.txt.gz", data, TextFormat(unit=unit))
    assert records[-1].reason == "truncated_gzip"
    assert [record.text for record in records[:-1]] == ([] if unit == "file" else ["one", "two"])


def test_an_empty_file_is_an_empty_document_and_no_lines(reading):
    assert reading("a.txt", b"") == [Record(0, "", byte_offset=0, byte_length=0)]
    assert [item.reason for item in reading("a.txt", b"", TextFormat(unit="line"))] == ["empty_file"]
    assert [item.reason for item in reading("a.txt", b"\n\n", TextFormat(unit="paragraph"))] == ["empty_file"]


@pytest.mark.parametrize("unit", ["line", "paragraph"])
def test_lines_of_old_macs_are_lines(reading, unit):
    lines = ["第一行", "second", "third"]
    data = "\r\r".join(lines).encode()
    records = reading("a.txt", data, TextFormat(unit=unit))
    assert [record.text for record in records] == lines
    assert data[records[2].byte_offset :] == b"third"
