"""Every entry is what Python's zipfile makes of it."""

import io
import zipfile
from pathlib import Path

import pytest

from lm_pipeline.corpus.readers.zip_entries import open_entry, zip_entries

NAMES = ["a.txt", "folder/", "法律/第一条.txt", "é.txt", "empty.txt"]
CONTENTS = [b"first" * 100, b"", "第一条".encode() * 50, b"fourth", b""]


def archive(comment: bytes = b"") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        for name, content, method in zip(NAMES, CONTENTS, [8, 0, 12, 14, 0], strict=True):
            file.writestr(zipfile.ZipInfo(name), content, method)
        file.comment = comment
    return sink.getvalue()


def check(path: Path) -> None:
    with zipfile.ZipFile(path) as expected, path.open("rb") as file:
        entries = list(zip_entries(path))
        for entry, info in zip(entries, expected.infolist(), strict=True):
            encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
            assert entry.name == info.orig_filename.encode(encoding)
            assert entry.version == info.extract_version
            assert (entry.flags, entry.method, entry.checksum) == (info.flag_bits, info.compress_type, info.CRC)
            assert (entry.compressed, entry.size) == (info.compress_size, info.file_size)
            assert (entry.begin, entry.damage) == (info.header_offset, None)
            with open_entry(file, entry) as content:
                assert content.read() == expected.read(info)
        begins = [entry.begin for entry in entries]
        assert [entry.end for entry in entries] == [*begins[1:], expected.start_dir]


@pytest.mark.parametrize("comment", [b"", b"made by", b"PK\x05\x06" * 9, bytes(0xFFFF)])
@pytest.mark.parametrize("front", [b"", b"#!/bin/sh\nexit\n" * 7])
def test_entries_and_contents_are_those_of_zipfile(tmp_path, comment, front):
    path = tmp_path / "a.zip"
    path.write_bytes(front + archive(comment))
    try:
        zipfile.ZipFile(path).close()
    except zipfile.BadZipFile:  # it does not look further back than the last mark; nor do we
        with pytest.raises(zipfile.BadZipFile):
            list(zip_entries(path))
    else:
        check(path)


@pytest.mark.parametrize("limits", [(100, 0xFFFF), (1 << 31, 2), (100, 2)])
def test_sizes_and_counts_beyond_32_and_16_bits_are_read(tmp_path, monkeypatch, limits):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limits[0])
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", limits[1])
    path = tmp_path / "a.zip"
    path.write_bytes(archive())
    check(path)


def test_sizes_that_stand_nowhere_are_said_to_be_missing(tmp_path):
    data = bytearray(archive())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = b"\xff" * 4
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    first, *others = zip_entries(path)
    assert "32 bits" in (first.damage or "")
    assert [entry.damage for entry in others] == [None] * 4


def test_a_table_with_fewer_members_than_it_says_is_damaged(tmp_path):
    data = bytearray(archive())
    end = data.rindex(b"PK\x05\x06")
    data[end + 8 : end + 12] = b"\x09\x00" * 2
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(zipfile.BadZipFile, match="5 members and says 9"):
        list(zip_entries(path))


def test_a_part_of_a_divided_archive_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    data = bytearray(archive())
    locator = data.rindex(b"PK\x06\x07")
    data[locator + 16] = 3
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(zipfile.BadZipFile, match="join them"):
        list(zip_entries(path))
