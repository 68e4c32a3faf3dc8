import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import tarfile
import warnings
import zipfile

import pytest
import zstandard

from lm_pipeline.corpus.raw.raw_files import member_path, raw_path
from lm_pipeline.corpus.readers.records import Quarantined
from lm_pipeline.specs.corpus import TextFormat

COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
LINES = '{"text": "第一条"}\n{"text": "second"}\n'.encode()
FILES = {
    "法律/a.jsonl": LINES,
    "b/c.jsonl.zst": zstandard.compress(LINES),
    "b/d.txt": "一个文件".encode(),
}
TEXTS = [
    ("法律/a.jsonl", 0, "第一条"),
    ("法律/a.jsonl", 1, "second"),
    ("b/c.jsonl.zst", 0, "第一条"),
    ("b/c.jsonl.zst", 1, "second"),
    ("b/d.txt", 0, "一个文件"),
]


def tar(files, **options) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", **options) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


def zipped(files, compression=zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return sink.getvalue()


def outcome(items) -> list[tuple]:
    return [(item.member, item.record, item.reason if isinstance(item, Quarantined) else item.text) for item in items]


@pytest.mark.parametrize("compression", COMPRESS)
def test_members_of_a_tar_are_read_in_their_order_with_their_names(reading, compression):
    assert outcome(reading(f"a.tar{compression}", COMPRESS[compression](tar(FILES)))) == TEXTS


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("name", ["a.zip", "no extension"])
def test_members_of_a_zip_are_read_in_their_order_with_their_names(reading, name, method):
    assert outcome(reading(name, zipped(FILES, method))) == TEXTS


def test_archives_inside_archives_are_looked_into_but_not_for_ever(reading):
    data = tar({"x.zip": zipped({"y.tar.gz": gzip.compress(tar({"z.txt": b"deep"}))})})
    assert outcome(reading("a.tar", data)) == [("x.zip//y.tar.gz//z.txt", 0, "deep")]
    for _ in range(4):
        data = tar({"in.tar": data})
    assert outcome(reading("a.tar", data)) == [("in.tar//in.tar//in.tar//in.tar", None, "too_deep")]


@pytest.mark.parametrize("build", [tar, zipped])
def test_no_name_leads_out_of_the_archive_and_no_two_members_share_one(reading, build):
    names = ["../../../etc/passwd.txt", "/abs//olute.txt", "./same.txt", "same.txt", "__MACOSX/._same.txt", ".hidden"]
    data = build([(name, name.encode()) for name in names])
    assert [(item.member, item.text) for item in reading("a." + ("tar" if build is tar else "zip"), data)] == [
        ("../../../etc/passwd.txt", "../../../etc/passwd.txt"),
        ("abs/olute.txt", "/abs//olute.txt"),
        ("same.txt", "./same.txt"),
        ("same.txt;2", "same.txt"),
    ]


def test_links_and_devices_are_no_members(reading):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, kind in [("l.txt", tarfile.SYMTYPE), ("h.txt", tarfile.LNKTYPE), ("f.txt", tarfile.FIFOTYPE)]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    assert [item.reason for item in reading("a.tar", sink.getvalue())] == ["empty_file"]


def test_a_damaged_member_of_a_zip_costs_itself(reading):
    data = bytearray(zipped({"a.txt": b"first" * 100, "b.txt": b"second" * 100, "c.txt": b"third"}))
    data[data.index(b"b.txt") + 10] ^= 0xFF
    (a, b, c) = outcome(reading("a.zip", bytes(data)))
    assert (a, c) == (("a.txt", 0, "first" * 100), ("c.txt", 0, "third"))
    assert b == ("b.txt", 0, "corrupt_zip")


def test_an_encrypted_member_costs_itself(reading):
    data = bytearray(zipped({"a.txt": b"first", "b.txt": b"second"}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    assert outcome(reading("a.zip", bytes(data))) == [("a.txt", None, "encrypted"), ("b.txt", 0, "second")]


@pytest.mark.parametrize("data", [b"PK\x03\x04 and nothing", b"", zipped(FILES)[:-30]])
def test_a_zip_without_its_table_of_contents_is_one_quarantined_record(reading, data):
    assert outcome(reading("a.zip", data)) == [(None, None, "corrupt_zip")]


def test_a_damaged_header_in_a_tar_is_said_and_the_next_members_are_read(reading):
    data = bytearray(tar({f"{name}.txt": name.encode() for name in "abc"}))
    data[1024 + 150] ^= 0xFF  # the checksum of the second header
    assert outcome(reading("a.tar", bytes(data))) == [
        ("a.txt", 0, "a"),
        (None, None, "corrupt_tar"),
        ("c.txt", 0, "c"),
    ]


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_truncated_tar_costs_the_member_that_is_cut(reading, compression):
    files = {"a.jsonl": LINES, "b.jsonl": b'{"text": "x"}\n' * 5000}
    data = COMPRESS[compression](tar(files)[:60_000])
    found = outcome(reading(f"a.tar{compression}", data, None))
    assert found[:2] == [("a.jsonl", 0, "第一条"), ("a.jsonl", 1, "second")]
    assert [reason for _, _, reason in found[2:-1]] == ["x"] * (len(found) - 3)
    assert len(found) > 4000
    assert found[-1][0] == "b.jsonl"
    assert found[-1][2] == "truncated_tar"


@pytest.mark.parametrize("cut", [512, 1024, 1536])
def test_a_tar_that_ends_between_members_says_so(reading, cut):
    found = outcome(reading("a.tar", tar({"a.txt": b"a", "b.txt": b"b"})[:cut]))
    assert found[-1][2] == "truncated_tar"
    assert len(found) == {512: 1, 1024: 2, 1536: 2}[cut]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a"])
def test_a_truncated_compressed_tar_says_what_is_truncated(reading, name):
    found = outcome(reading(name, gzip.compress(tar(FILES))[:-12]))
    assert found[:4] == TEXTS[:4]
    assert found[-1][2] == "truncated_gzip"


def test_archives_put_together_are_both_read(reading):
    assert outcome(reading("a.tar", tar({"a.txt": b"a"}) + tar({"b.txt": b"b"}))) == [
        ("a.txt", 0, "a"),
        ("b.txt", 0, "b"),
    ]


def test_a_bomb_in_an_archive_costs_itself(reading):
    bomb = zstandard.compress(b"a" * (100 << 20))
    for name, data in (
        ("a.tar", tar({"bomb.txt.zst": bomb, "a.txt": b"a"})),
        ("a.zip", zipped({"bomb.txt.zst": bomb, "a.txt": b"a"}, zipfile.ZIP_STORED)),
        ("b.zip", zipped({"bomb.txt": b"a" * (70 << 20), "a.txt": b"a"})),
    ):
        found = outcome(reading(name, data))
        assert found[-1] == ("a.txt", 0, "a")
        assert [reason for _, _, reason in found[:-1]] == ["bomb"], name


def test_a_declared_format_holds_for_every_member(reading):
    items = reading("a.zip", zipped({"a.dat": b"x\ny", "b": b"z"}), TextFormat(unit="line"))
    assert outcome(items) == [("a.dat", 0, "x"), ("a.dat", 1, "y"), ("b", 0, "z")]


def test_a_sparse_member_of_a_tar_is_not_made_up(reading, tmp_path):
    path = tmp_path / "holes.txt"
    with path.open("wb") as file:
        file.write(b"text")
        file.truncate(1 << 30)
    command = ["tar", "--sparse", "-cf", str(tmp_path / "made.tar"), "-C", str(tmp_path), "holes.txt"]
    subprocess.run(command, check=True)
    data = (tmp_path / "made.tar").read_bytes()
    assert outcome(reading("a.tar", data)) == [("holes.txt", 0, "unsupported_format")]


def test_the_path_of_a_member_leads_back_to_its_archive():
    assert raw_path(member_path("a/b.zip", "c.tar//d.txt")) == "a/b.zip"
    assert raw_path(member_path("a!/b.txt", None)) == "a!/b.txt"


def test_a_hole_in_a_zip_costs_the_member_that_it_is_in(reading):
    data = zipped({"a.txt": b"first " * 50, "b.txt": "第二".encode() * 50}, zipfile.ZIP_STORED)
    hole = data[:100] + data[150:]
    assert outcome(reading("a.zip", hole)) == [("a.txt", 0, "corrupt_zip"), ("b.txt", 0, "第二" * 50)]


def test_a_member_without_a_name_costs_itself(reading):
    data = zipped([("n", b"lost"), ("b.txt", b"read")])
    assert outcome(reading("a.zip", _without_first_name(data))) == [(None, None, "corrupt_zip"), ("b.txt", 0, "read")]


def _without_first_name(data: bytes) -> bytes:
    """The table of contents says of its first entry that its name has no byte, and its comment one more."""
    entry = data.index(b"PK\x01\x02")
    lengths = struct.pack("<HHH", 0, 0, 1)  # of name, extra field and comment
    return data[: entry + 28] + lengths + data[entry + 34 :]


@pytest.mark.parametrize(
    ("name", "charset"),
    [("成功", "big5"), ("報告/成功", "big5"), ("中国法律/至誠", "gbk"), ("資料の一覧/発表", "cp932")],
)
def test_a_name_whose_last_byte_is_that_of_a_backslash_is_no_folder(reading, name, charset):
    written = name.encode(charset)
    assert written.endswith(b"\\")
    data = zipped([("n" * len(written), b"text"), ("folder\\", b""), ("other/", b""), ("b.txt", b"second")])
    data = data.replace(b"n" * len(written), written)
    assert outcome(reading("a.zip", data)) == [(name, 0, "text"), ("b.txt", 0, "second")]


def test_a_member_with_content_is_read_whatever_character_set_its_name_is_taken_for(reading):
    # 至誠 in GBK and 発表 in Shift-JIS: too short to tell which one it is.
    for written in ("至誠".encode("gbk"), "発表".encode("cp932")):
        data = zipped([("nnnn"[: len(written)], "正文".encode())]).replace(b"nnnn"[: len(written)], written)
        assert [item.text for item in reading("a.zip", data)] == ["正文"]


SHORT_NAMES = {
    "gbk": ["法律", "书", "至誠", "目录", "年报", "中国", "第一章", "学习", "数据", "说明", "成功"],
    "big5": ["法律", "書", "成功", "目錄", "年報", "臺灣", "第一章", "學習", "資料", "說明", "報告"],
    "cp932": ["法律", "本", "発表", "目次", "報告", "日本", "はじめ", "学ぶ", "データ", "説明", "資料の一覧"],
}


@pytest.mark.parametrize("charset", SHORT_NAMES)
def test_short_names_are_read_in_the_character_set_of_all_together(reading, charset):
    names = [f"{name}.txt" for name in SHORT_NAMES[charset]]
    assert outcome(reading("a.zip", undeclared([name.encode(charset) for name in names]))) == [
        (name, 0, f"text {number}") for number, name in enumerate(names)
    ]
    alone = [item.member for name in names for item in reading("a.zip", undeclared([name.encode(charset)]))]
    assert alone != names  # some of them are taken for other characters


@pytest.mark.parametrize("charset", SHORT_NAMES)
def test_names_that_are_declared_or_ascii_or_not_sound_in_that_character_set_are_looked_at_alone(reading, charset):
    names = [f"{name}.txt" for name in SHORT_NAMES[charset]]
    written = [*(name.encode(charset) for name in names), "déjà vu.txt".encode("cp1252"), b"plain.txt", "é.txt"]
    assert [item.member for item in reading("a.zip", undeclared(written))] == [
        *names,
        "déjà vu.txt",
        "plain.txt",
        "é.txt",
    ]


@pytest.mark.parametrize(
    ("others", "charset", "utf8"),
    [
        (["法律", "年报", "中国", "说明"], "gbk", ["数据"]),
        (["法律", "年报", "中国", "说明", "学习"], "gbk", ["数据", "Документ"]),
        (["臺灣", "學習", "資料", "說明", "報告"], "big5", ["数据"]),
        (["発表", "目次", "報告", "データ"], "cp932", ["資料の一覧"]),
        (["déjà vu", "à propos", "crème brûlée"], "cp1252", ["café", "日记"]),
        (["法律"], "gbk", ["数据", "日记", "café"]),
    ],
)
def test_names_in_utf8_are_read_beside_names_in_another_character_set(reading, others, charset, utf8):
    written = [*((name, charset) for name in others), *((name, "utf-8") for name in utf8)]
    data = undeclared([f"{name}.txt".encode(encoding) for name, encoding in written])
    assert [item.member for item in reading("a.zip", data)] == [f"{name}.txt" for name, _ in written]


IN_A_ROW = {
    "gbk": ["第一章　总则与一般规定", *SHORT_NAMES["gbk"]],
    "big5": ["第一章　總則與一般規定", *SHORT_NAMES["big5"]],
    "cp932": ["最初に読む資料の一覧", *SHORT_NAMES["cp932"]],
    "cp1252": ["À propos de la crème brûlée", "déjà vu", "ñu", "Öl", "œuf", "thé"],
}


@pytest.mark.parametrize("charset", IN_A_ROW)
def test_short_names_in_a_tar_are_read_in_the_character_set_of_those_before_them(reading, charset):
    names = [f"{name}.txt" for name in IN_A_ROW[charset]]
    assert outcome(reading("a.tar", unmarked([name.encode(charset) for name in names]))) == [
        (name, 0, f"text {number}") for number, name in enumerate(names)
    ]
    alone = [item.member for name in names for item in reading("a.tar", unmarked([name.encode(charset)]))]
    assert alone != names  # some of them are taken for other characters


@pytest.mark.parametrize(
    ("folder", "name", "charset"), [("中国法律汇编", "至誠.txt", "gbk"), ("春の資料の一覧", "発表.txt", "cp932")]
)
def test_folders_of_a_tar_count_among_the_names_before(reading, folder, name, charset):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT, encoding=charset) as archive:
        for path, kind in [(folder, tarfile.DIRTYPE), (name, tarfile.REGTYPE)]:
            entry = tarfile.TarInfo(path)
            entry.type, entry.size = kind, 4 * (kind == tarfile.REGTYPE)
            archive.addfile(entry, io.BytesIO(b"text"))
    assert outcome(reading("a.tar", sink.getvalue())) == [(name, 0, "text")]


def test_names_of_a_tar_in_utf8_are_read_beside_names_in_another_character_set(reading):
    names = ["第一章　总则与一般规定.txt", "年报.txt", "数据.txt", "学习.txt"]
    written = [name.encode("utf-8" if name == "数据.txt" else "gbk") for name in names]
    assert [item.member for item in reading("a.tar", unmarked(written))] == names


def unmarked(names: list[bytes]) -> bytes:
    """A tar archive of members whose names are such bytes."""
    files = {os.fsdecode(name): f"text {number}".encode() for number, name in enumerate(names)}
    return tar(files, format=tarfile.GNU_FORMAT)


def undeclared(names: list[bytes | str]) -> bytes:
    """A zip archive of members whose names are such bytes, of which it does not say what they are; text is declared."""
    places = [
        name if isinstance(name, str) else f"<{number}>".ljust(len(name), "#") for number, name in enumerate(names)
    ]
    data = zipped([(place, f"text {number}".encode()) for number, place in enumerate(places)])
    for place, name in zip(places, names, strict=True):
        if isinstance(name, bytes):
            data = data.replace(place.encode(), name)
    return data


def test_very_many_members_of_one_name_get_numbers_in_no_time(reading):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        data = zipped([("same.txt", b"x"), *[("same.txt", b"y")] * 3000, ("same.txt;2", b"z")])
    names = [item.member for item in reading("a.zip", data)]
    assert names == ["same.txt", *(f"same.txt;{number}" for number in range(2, 3002)), "same.txt;2;2"]


def test_a_damaged_table_of_contents_costs_what_is_behind_the_damage(reading):
    data = bytearray(zipped({"a.txt": b"first", "b.txt": "第二".encode(), "c.txt": b"third"}))
    data[data.rindex(b"PK\x01\x02")] ^= 0xFF
    *read, (name, _, reason) = outcome(reading("a.zip", bytes(data)))
    assert read == [("a.txt", 0, "first"), ("b.txt", 0, "第二")]
    assert (name, reason) == (None, "corrupt_zip")


def test_a_member_that_reaches_into_the_next_one_is_not_read(reading):
    data = bytearray(zipped({"a.txt": b"first", "b.txt": b"second"}, zipfile.ZIP_STORED))
    entry = data.index(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<2L", 20, 20)
    (a, b) = reading("a.zip", bytes(data))
    assert (a.reason, b.text) == ("corrupt_zip", "second")
    assert "overlap" in a.detail
