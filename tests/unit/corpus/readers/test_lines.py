import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.corpus.readers.compression import file_chunks
from lm_pipeline.corpus.readers.lines import line_start, split_lines

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
            found += split_lines(file_chunks(path, offset), 1 << 20, offset, number, end)
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
