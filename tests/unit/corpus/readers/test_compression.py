import bz2
import gzip
import lzma

import pytest
import zstandard

from lm_pipeline.corpus.readers import compression
from lm_pipeline.corpus.readers.compression import MIN_BOMB_BYTES, DamagedStreamError, Expansion, decompressed
from lm_pipeline.corpus.readers.lines import split_lines

TEXT = "The first line.\n第二行，中文。\n\nlast, without an end".encode()
COMPRESS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def expanded(data: bytes, compression, max_expansion=10**9, step=1000):
    pieces = (bytes(data[start : start + step]) for start in range(0, len(data), step))
    return decompressed(pieces, compression, Expansion(max_expansion))


@pytest.mark.parametrize("compression", COMPRESS)
def test_all_members_of_a_compressed_file_are_read(compression):
    compress = COMPRESS[compression]
    data = compress(TEXT) + compress(b"\nsecond member") * 2
    assert b"".join(expanded(data, compression)) == TEXT + b"\nsecond member" * 2


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_truncated_stream_yields_what_is_whole_and_then_says_so(compression):
    compress = COMPRESS[compression]
    data = compress(TEXT) + compress(b"\nsecond member")[:-3]
    lines = list(split_lines(expanded(data, compression), 1 << 20))
    assert [line.data for line in lines[:3]] == TEXT.splitlines(keepends=True)[:3]
    assert lines[-1].reason == f"truncated_{compression}"
    assert all(line.reason is None for line in lines[:-1])


@pytest.mark.parametrize("compression", COMPRESS)
def test_an_empty_file_is_a_truncated_stream(compression):
    data = b""
    with pytest.raises(DamagedStreamError, match="ends before its end marker"):
        list(expanded(data, compression))


@pytest.mark.parametrize("compression", COMPRESS)
def test_what_is_no_such_stream_is_corrupt(compression):
    data = b"plain text and no stream at all"
    with pytest.raises(DamagedStreamError) as caught:
        list(expanded(data, compression))
    assert caught.value.reason == f"corrupt_{compression}"


def test_a_flipped_bit_in_gzip_is_corrupt():
    data = bytearray(gzip.compress(TEXT * 100))
    data[-8] ^= 1  # the checksum
    lines = list(split_lines(expanded(data, "gzip"), 1 << 20))
    assert lines[-1].reason == "corrupt_gzip"


def test_a_zstd_frame_that_expands_enormously_is_read_in_bounded_chunks():
    data = zstandard.compress(bytes(300_000_000))
    assert len(data) < 100_000
    sizes = [len(chunk) for chunk in expanded(data, "zstd")]
    assert sum(sizes) == 300_000_000
    assert max(sizes) <= 4096 * 32768


def until_damage(chunks):
    """The number of bytes before the damage, and the damage."""
    received = 0
    try:
        for chunk in chunks:
            received += len(chunk)
    except DamagedStreamError as error:
        return received, error.reason
    return received, None


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_stream_that_expands_beyond_measure_is_a_bomb(compression):
    data = COMPRESS[compression](bytes(1 << 20)) * 100
    received, reason = until_damage(expanded(data, compression, max_expansion=50))
    assert reason == "bomb"
    assert 0 < received <= MIN_BOMB_BYTES
    assert until_damage(expanded(data, compression, max_expansion=40_000_000)) == (100 << 20, None)


def test_only_the_first_bomb_of_a_file_is_granted_a_minimum():
    expansion = Expansion(10)
    bomb = gzip.compress(bytes(1 << 20)) * 65
    received, reason = until_damage(decompressed([bomb], "gzip", expansion))
    assert (received, reason) == (MIN_BOMB_BYTES, "bomb")
    received, reason = until_damage(decompressed([bomb], "gzip", expansion))
    assert received <= 10 * len(bomb)
    assert reason == "bomb"
    assert until_damage(decompressed([gzip.compress(b"text")], "gzip", expansion)) == (4, None)


def test_streams_that_are_no_bombs_alone_are_one_together(monkeypatch):
    monkeypatch.setattr(compression, "MIN_ARCHIVE_BOMB_BYTES", 1 << 20)
    expansion = Expansion(10, num_bytes=1000)
    expansion.count(1 << 20)
    with pytest.raises(DamagedStreamError, match="streams became"):
        expansion.count(1)
