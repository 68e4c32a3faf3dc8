import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.training.buckets import LengthBuckets, choose_widths, max_tokens
from lm_pipeline.training.rows import Source


def buckets_of(*sources, max_length=16, tokens=64, num_buckets=4, seed=0, passes=None):
    """Buckets of sources given as lists of lengths."""
    texts = [np.array(lengths, np.int64) for lengths in sources]
    return LengthBuckets(
        [
            Source(len(lengths), lambda numbers, lengths=lengths: lengths[numbers], each)
            for lengths, each in zip(texts, passes or [1.0] * len(texts), strict=True)
        ],
        max_length=max_length,
        rows_of=max_tokens(tokens),
        num_buckets=num_buckets,
        seed=seed,
    )


def rows_at(buckets, position):
    rows = buckets.batch(position)
    columns = (rows.sources_R, rows.texts_R, rows.begins_R, rows.lengths_R)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def epoch(buckets, number=0):
    steps = buckets.steps_per_epoch
    return [rows_at(buckets, position) for position in range(number * steps, (number + 1) * steps)]


def long_tailed(size, seed=0):
    return (np.random.default_rng(seed).lognormal(3.5, 1, size).astype(int) + 1).tolist()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=200).filter(any),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(0, 2**63),
)
def test_an_epoch_reads_every_token_once_in_rows_that_fit(lengths, max_length, num_buckets, seed):
    buckets = buckets_of(lengths, max_length=max_length, tokens=2 * max_length, num_buckets=num_buckets, seed=seed)
    assert len(buckets.widths) <= num_buckets
    for number in range(2):
        tokens = Counter()
        for position in range(buckets.steps_per_epoch):
            rows = buckets.batch(number * buckets.steps_per_epoch + position)
            assert rows.width in buckets.widths
            assert 0 < len(rows.texts_R) <= rows.capacity
            assert rows.width * rows.capacity <= 2 * max_length
            assert (rows.lengths_R <= rows.width).all()
            for text, begin, length in zip(rows.texts_R, rows.begins_R, rows.lengths_R, strict=True):
                tokens.update((int(text), place) for place in range(begin, begin + length))
        assert tokens == {(text, place): 1 for text, length in enumerate(lengths) for place in range(length)}


def test_a_batch_is_a_function_of_its_position_alone():
    lengths = long_tailed(300)
    ours, theirs = buckets_of(lengths, max_length=64, tokens=256), buckets_of(lengths, max_length=64, tokens=256)
    positions = range(3 * ours.steps_per_epoch)
    forwards = [rows_at(ours, position) for position in positions]
    assert [rows_at(theirs, position) for position in reversed(positions)] == forwards[::-1]


def test_epochs_and_seeds_have_batches_of_their_own():
    lengths = long_tailed(400)
    read = [
        epoch(buckets_of(lengths, max_length=64, tokens=512, seed=seed), number) for seed in (0, 1) for number in (0, 1)
    ]
    for one, other in itertools.combinations(read, 2):
        assert {frozenset(rows) for rows in one}.isdisjoint(frozenset(rows) for rows in other)


def test_no_batch_is_left_over_batches_of_a_bucket_have_the_same_number_of_rows_up_to_one():
    buckets = buckets_of(long_tailed(5000), max_length=128, tokens=1024)
    sizes = {}
    for position in range(buckets.steps_per_epoch):
        rows = buckets.batch(position)
        sizes.setdefault(rows.width, set()).add(len(rows.texts_R))
    assert len(sizes) == 4
    assert all(max(found) - min(found) <= 1 for found in sizes.values())


def test_after_any_number_of_steps_each_bucket_has_been_read_by_its_share_to_within_ten_batches():
    buckets = buckets_of(long_tailed(30_000), max_length=128, tokens=1024, num_buckets=8)
    total = buckets.steps_per_epoch
    widths = np.array([buckets.batch(position).width for position in range(total)])
    for width, number in zip(buckets.widths, buckets.num_batches, strict=True):
        assert abs(np.cumsum(widths == width) - number / total * np.arange(1, total + 1)).max() <= 10


def test_texts_of_like_length_come_in_an_order_that_has_nothing_to_do_with_their_place():
    """Neither when they come nor with whom: as if drawn, to four standard deviations."""
    buckets = buckets_of([10] * 20_000, tokens=160)
    texts = np.array([[text for _, text, _, _ in rows] for rows in epoch(buckets)])
    assert texts.shape == (1250, 16)
    when = np.repeat(np.arange(1250), 16)
    assert abs(np.corrcoef(when, texts.ravel())[0, 1]) < 4 / np.sqrt(20_000)
    means = texts.mean(axis=1)
    assert means.std() == pytest.approx(20_000 / np.sqrt(12 * 16), rel=4 / np.sqrt(2 * 1250))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=12, max_size=12).filter(any), st.integers(1, 3))
def test_widths_are_those_with_which_an_epoch_computes_least(counts, num_buckets):
    counts = np.array([0, *counts])
    longest = int(np.flatnonzero(counts)[-1])
    counts = counts[: longest + 1]

    def room(widths):
        upto = [0, *(int(counts[: width + 1].sum()) for width in widths)]
        capacities = [30 // width for width in widths]
        numbers = [-(-(b - a) // c) for a, b, c in zip(upto[:-1], upto[1:], capacities, strict=True)]
        return sum(n * c * w for n, c, w in zip(numbers, capacities, widths, strict=True))

    chosen = choose_widths(counts, max_tokens(30), num_buckets).tolist()
    shorter = range(1, longest)
    every = ((*few, longest) for n in range(num_buckets) for few in itertools.combinations(shorter, n))
    assert chosen[-1] == longest
    assert len(chosen) <= num_buckets
    assert room(chosen) == min(map(room, every))


def test_more_buckets_pad_less():
    padding = [buckets_of(long_tailed(20_000), max_length=256, tokens=4096, num_buckets=n).padding for n in (1, 4, 16)]
    assert padding[0] > 0.6
    assert 0.2 < padding[1] < 0.35
    assert padding[2] < 0.12


def test_a_batch_of_a_fixed_number_of_rows_weighs_rows_equally():
    lengths = np.array(long_tailed(1000))
    buckets = LengthBuckets(
        [Source(len(lengths), lambda texts: np.minimum(lengths[texts], 64))],
        max_length=64,
        rows_of=lambda widths: np.full_like(widths, 20),
        num_buckets=4,
        seed=0,
    )
    read = epoch(buckets)
    assert all(15 <= len(rows) <= 20 for rows in read)
    assert sorted(text for rows in read for _, text, _, _ in rows) == list(range(1000)), (
        "what is cut short stays one row"
    )


def test_each_source_is_read_by_its_passes_in_every_batch_and_no_row_twice_before_another():
    few, many = long_tailed(400, seed=1), long_tailed(4000, seed=2)
    buckets = buckets_of(few, many, max_length=64, tokens=2048, passes=[2.5, 0.4])
    readings = Counter()
    for number in range(3):
        for rows in epoch(buckets, number):
            readings.update((source, text, begin) for source, text, begin, _ in rows)
            share = np.mean([source == 0 for source, *_ in rows])
            assert 0.25 < share < 0.55
    of_few, of_many = ([n for row, n in readings.items() if row[0] == source] for source in (0, 1))
    assert set(of_few) <= {7, 8}
    assert sum(of_few) == pytest.approx(3 * 2.5 * len(of_few), rel=0.01)
    assert set(of_many) <= {1, 2}
    assert len(of_many) == sum(-(-length // 64) for length in many)


def test_texts_without_a_token_are_refused():
    with pytest.raises(ValueError, match="no text with a token"):
        buckets_of([0, 0])
