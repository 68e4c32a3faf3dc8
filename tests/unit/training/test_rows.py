import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.training import rows
from lm_pipeline.training.rows import RowIndex, Source, count_lengths


def source_of(lengths):
    lengths = np.array(lengths, np.int64)
    return Source(len(lengths), lambda texts: lengths[texts])


def cut(lengths, max_length):
    """The same rows, one after the other."""
    return [
        (text, begin, min(max_length, length - begin))
        for text, length in enumerate(lengths)
        for begin in range(0, length, max_length)
    ]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=150), st.integers(2, 12), st.data())
def test_every_row_is_found_by_its_number_among_those_of_like_length(lengths, max_length, data):
    widths = np.array([*sorted(data.draw(st.sets(st.integers(1, max_length - 1)))), max_length])
    index = RowIndex(source_of(lengths), max_length, widths)
    expected = cut(lengths, max_length)
    for kind, width in enumerate(widths):
        shortest = widths[kind - 1] if kind else 0
        wanted = [row for row in expected if shortest < row[2] <= width]
        assert index.num_rows[kind] == len(wanted)
        found = index.find(kind, np.arange(len(wanted))[::-1])
        assert list(zip(*(column.tolist() for column in found), strict=True)) == wanted[::-1]
    counts = count_lengths(source_of(lengths), max_length)
    assert counts.tolist() == np.bincount([row[2] for row in expected], minlength=max_length + 1).tolist()


@pytest.mark.parametrize("max_counts", [2, 50, rows.MAX_COUNTS])
def test_where_there_are_too_many_texts_blocks_grow_and_rows_stay_the_same(max_counts, monkeypatch):
    monkeypatch.setattr(rows, "MAX_COUNTS", max_counts)
    lengths = np.random.default_rng(0).integers(0, 30, 700).tolist()
    index = RowIndex(source_of(lengths), 9, np.array([4, 9]))
    assert index._before.size <= max(max_counts, 2 * 2 * len(lengths) / rows.MIN_BLOCK) + 4
    short = [row for row in cut(lengths, 9) if row[2] <= 4]
    found = index.find(0, np.arange(len(short)))
    assert list(zip(*(column.tolist() for column in found), strict=True)) == short


def test_what_is_held_is_four_bytes_a_text_and_no_more_than_16_megabytes():
    few, many = (RowIndex(Source(n, lambda t: t % 200 + 1), 256, np.arange(16, 257, 16)) for n in (10**5, 10**7))
    assert few._before.nbytes <= 4.1 * 10**5
    assert many._before.nbytes <= 16.8 * 10**6
    assert many.find(3, np.array([0, 7]))[2].tolist() == [49, 56]
