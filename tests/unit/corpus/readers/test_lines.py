import bz2
import gzip
import lzma
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.corpus.readers.lines import DamagedStreamError, line_start, read_chunks, split_lines, transcode_utf16

TEXT = "The first line.\n第二行，中文。\n\nlast, without an end".encode()
COMPRESS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}
LINES = st.lists(st.sampled_from([b"a", b"\n", b"\r\n", "中文".encode(), b"\xff", b"{}"]), max_size=40).map(b"".join)


@given(st.lists(LINES, max_size=6))
def test_lines_put_together_are_the_stream_however_it_is_chunked(chunks: list[bytes]):
    whole = b"".join(chunks)
    lines = list(split_lines(chunks, max_bytes=1 << 20))
    assert b"".join(line.data for line in lines) == whole
    assert [line.number for line in lines] == list(range(len(lines)))
    assert all(whole[line.offset : line.offset + line.length] == line.data for line in lines)
    assert all(line.data.count(b"\n") == line.data.endswith(b"\n") for line in lines)


@given(LINES, st.lists(st.integers(0, 60), max_size=5))
def test_byte_ranges_partition_the_lines_exactly(data: bytes, cuts: list[int]):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        path.write_bytes(data)
        bounds = [0, *sorted(cuts), None]
        found = []
        for start, end in pairwise(bounds):
            offset, number = line_start(path, start)
            found += split_lines(read_chunks(path, None, offset), 1 << 20, offset, number, end)
        assert found == list(split_lines([data] if data else [], 1 << 20))
        assert b"".join(line.data for line in found) == data


@given(LINES, st.integers(1, 6))
def test_a_line_over_the_limit_is_measured_and_its_neighbours_are_whole(data: bytes, limit: int):
    whole = list(split_lines([data] if data else [], 1 << 20))
    limited = list(split_lines([data[i : i + 2] for i in range(0, len(data), 2)], limit))
    assert [(line.offset, line.length) for line in limited] == [(line.offset, line.length) for line in whole]
    for ours, theirs in zip(limited, whole, strict=True):
        assert ours.reason == ("too_long" if theirs.length > limit else None)
        assert ours.reason or ours.data == theirs.data


@pytest.mark.parametrize("compression", COMPRESS)
def test_all_members_of_a_compressed_file_are_read(tmp_path: Path, compression):
    compress = COMPRESS[compression]
    path = tmp_path / "file"
    path.write_bytes(compress(TEXT) + compress(b"\nsecond member") * 2)
    assert b"".join(read_chunks(path, compression)) == TEXT + b"\nsecond member" * 2


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_truncated_stream_yields_what_is_whole_and_then_says_so(tmp_path: Path, compression):
    compress = COMPRESS[compression]
    path = tmp_path / "file"
    path.write_bytes(compress(TEXT) + compress(b"\nsecond member")[:-3])
    lines = list(split_lines(read_chunks(path, compression), 1 << 20))
    assert [line.data for line in lines[:3]] == TEXT.splitlines(keepends=True)[:3]
    assert lines[-1].reason == f"truncated_{compression}"
    assert all(line.reason is None for line in lines[:-1])


@pytest.mark.parametrize("compression", COMPRESS)
def test_an_empty_file_is_a_truncated_stream(tmp_path: Path, compression):
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(DamagedStreamError, match="ends before its end marker"):
        list(read_chunks(path, compression))


@pytest.mark.parametrize("compression", COMPRESS)
def test_what_is_no_such_stream_is_corrupt(tmp_path: Path, compression):
    path = tmp_path / "file"
    path.write_bytes(b"plain text and no stream at all")
    with pytest.raises(DamagedStreamError) as caught:
        list(read_chunks(path, compression))
    assert caught.value.reason == f"corrupt_{compression}"


def test_a_flipped_bit_in_gzip_is_corrupt(tmp_path: Path):
    data = bytearray(gzip.compress(TEXT * 100))
    data[-8] ^= 1  # the checksum
    path = tmp_path / "file"
    path.write_bytes(data)
    lines = list(split_lines(read_chunks(path, "gzip"), 1 << 20))
    assert lines[-1].reason == "corrupt_gzip"


def test_a_zstd_frame_that_expands_enormously_is_read_in_bounded_chunks(tmp_path: Path):
    path = tmp_path / "zeros.zst"
    path.write_bytes(zstandard.compress(bytes(300_000_000)))
    assert path.stat().st_size < 100_000
    sizes = [len(chunk) for chunk in read_chunks(path, "zstd")]
    assert sum(sizes) == 300_000_000
    assert max(sizes) <= 4096 * 32768


@given(st.text(max_size=30), st.integers(1, 5), st.sampled_from(["utf-16-le", "utf-16-be"]))
def test_utf16_becomes_utf8_however_it_is_chunked(text: str, size: int, encoding: str):
    data = ("\ufeff" + text).encode(encoding)
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert b"".join(transcode_utf16(chunks, encoding)).decode() == text
