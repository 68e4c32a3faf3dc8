import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.models.loss import IGNORE
from lm_pipeline.training.counters import key_of, mix, permute, spread
from lm_pipeline.training.mixture import InTurn, Mixture, Stretch
from lm_pipeline.training.plan import StreamPlan, TokenStream, WindowPlan

PLANS = (WindowPlan, StreamPlan)


def numbered_stream(lengths):
    """Documents in which every token but BOS (0) is a number of its own."""
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    tokens = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    tokens[offsets[:-1]] = 0
    return TokenStream(tokens, offsets, bos_id=0)


def test_targets_are_counted_in_less_memory_than_the_shard_takes(tmp_path):
    """Its tokens are mapped from the disk, and those of a large one must never be in memory at once."""
    num_documents = 3_000_000
    np.tile(np.array([0, 3, 4, 4, 2], np.uint16), num_documents).tofile(tmp_path / "tokens.bin")
    tokens = np.memmap(tmp_path / "tokens.bin", np.uint16, "r")
    stream = TokenStream(tokens, np.arange(0, len(tokens) + 1, 5), bos_id=0)
    tracemalloc.start()
    try:
        counts = stream.target_counts(6).tolist()
        assert tracemalloc.get_traced_memory()[1] < tokens.nbytes  # as int64, all tokens would take four times as much
    finally:
        tracemalloc.stop()
    assert counts == [0, 0, num_documents, num_documents, 2 * num_documents, 0]


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(size, key):
    assert sorted(permute(np.arange(size), size, key).tolist()) == list(range(size))


def test_keys_are_those_of_the_vectorised_mixing_function():
    first = int(mix(np.array([5], np.uint64), 0x9E3779B97F4A7C15)[0])
    assert key_of(5) == first
    assert key_of(5, 9) == int(mix(np.array([9], np.uint64), first)[0])


def test_other_keys_permute_differently():
    images = {tuple(permute(np.arange(20), 20, key_of(seed)).tolist()) for seed in range(50)}
    assert len(images) == 50


def test_keys_depend_on_every_number_and_on_their_order():
    assert len({key_of(0, 1), key_of(1, 0), key_of(1), key_of(0), key_of(-1)}) == 5


@pytest.mark.parametrize("plan_class", PLANS)
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 30), min_size=1, max_size=12),
    batch_size=st.integers(1, 5),
    context_length=st.integers(2, 9),
    seed=st.integers(0, 5),
)
def test_every_token_but_bos_is_a_target_once_an_epoch(plan_class, lengths, batch_size, context_length, seed):
    stream = numbered_stream(lengths)
    plan = plan_class(stream, batch_size, context_length, seed)
    num_epochs = batch_size  # so many epochs are a whole number of steps in both plans
    seen = Counter()
    for position in range(round(plan.steps_per_epoch * num_epochs)):
        seen.update(plan.batch(position).targets_BT.flatten().tolist())
    del seen[IGNORE]
    assert seen == {token: num_epochs for token in stream.tokens.tolist() if token}


@pytest.mark.parametrize("plan_class", PLANS)
def test_a_target_is_the_token_after_its_input(plan_class):
    stream = numbered_stream([7, 12, 30, 4])
    plan = plan_class(stream, 3, 5, seed=2)
    for position in range(8):
        batch = plan.batch(position)
        within = (batch.targets_BT != IGNORE) & (batch.inputs_BT != 0) & (batch.inputs_BT % 53 != 0)
        following = batch.inputs_BT[within] + 1
        same_document = batch.targets_BT[within] - following
        # Between documents there stands a BOS, which is no target; inside one, numbers go up by one.
        assert (same_document == 0).all()


@pytest.mark.parametrize("plan_class", PLANS)
def test_a_batch_is_a_function_of_its_position_alone(plan_class):
    stream = numbered_stream([50, 20, 33])
    plan, other = plan_class(stream, 3, 4, seed=1), plan_class(stream, 3, 4, seed=1)
    forwards = [plan.batch(position) for position in range(40)]
    for position in reversed(range(40)):
        again = other.batch(position)
        assert (again.inputs_BT == forwards[position].inputs_BT).all()
        assert (again.targets_BT == forwards[position].targets_BT).all()


@pytest.mark.parametrize("plan_class", PLANS)
def test_epochs_and_seeds_have_orders_of_their_own(plan_class):
    stream = numbered_stream([9] * 40)

    def order(seed, epoch):
        plan = plan_class(stream, 4, 6, seed)
        steps = math.ceil(plan.steps_per_epoch)
        return tuple(plan.batch(epoch * steps + step).inputs_BT.flatten().tolist() for step in range(3))

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


def test_rows_of_a_stream_plan_read_on_where_they_stopped():
    stream = numbered_stream([40, 25, 31, 17])
    plan = StreamPlan(stream, 3, 6, seed=0)
    for position in range(1, plan.steps_per_epoch):
        before, after = plan.batch(position - 1), plan.batch(position)
        went_on = after.inputs_BT[:, 0] == before.targets_BT[:, -1]
        assert (went_on | (before.targets_BT[:, -1] == IGNORE)).all()
        assert not after.begins
    assert plan.batch(0).begins
    assert plan.batch(plan.steps_per_epoch).begins


def test_windows_always_begin_without_state():
    plan = WindowPlan(numbered_stream([40]), 2, 6, seed=0)
    assert all(plan.batch(position).begins for position in range(5))


@pytest.mark.parametrize("plan_class", PLANS)
def test_documents_are_those_whose_tokens_are_targets(plan_class):
    stream = numbered_stream([5] * 30)
    plan = plan_class(stream, 2, 4, seed=3)
    for position in range(10):
        targets = plan.batch(position).targets_BT
        expected = {(token - 1) // 5 for token in targets[targets != IGNORE].tolist()}
        assert expected <= set(plan.documents(position))


@pytest.mark.parametrize("plan_class", PLANS)
def test_a_stream_with_nothing_to_predict_is_refused(plan_class):
    with pytest.raises(ValueError, match="nothing to predict"):
        plan_class(TokenStream(np.zeros(1, np.uint16), np.array([0, 1]), 0), 2, 4, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 2**63))
def test_an_evenly_spread_order_is_a_permutation(size, key):
    assert sorted(spread(np.arange(size), size, key).tolist()) == list(range(size))


@pytest.mark.parametrize("size", [5_000, 100_003])
def test_every_beginning_of_an_evenly_spread_order_has_each_stretch_s_share(size):
    order = spread(np.arange(size), size, key=3)
    for border in (0.1, 0.37, 0.5, 0.93):
        inside = np.cumsum(order < border * size)
        assert abs(inside - border * np.arange(1, size + 1)).max() < 10  # 0.1 % from 10,000 windows on
    assert (spread(np.arange(size), size, key=4) != order).mean() > 0.9


def mixed(lengths_by_corpus, weights):
    """A stream of several corpora, one after the other, and their mixture."""
    lengths = [length for corpus in lengths_by_corpus for length in corpus]
    ends = np.cumsum([len(corpus) for corpus in lengths_by_corpus])
    rows = tuple(np.arange(end - len(corpus), end) for end, corpus in zip(ends, lengths_by_corpus, strict=True))
    names = tuple("abc"[: len(rows)])
    return numbered_stream(lengths), Mixture(names, rows, np.array(lengths), weights)


def listed(epoch, total):
    """The pieces of an epoch, one after the other."""
    documents, within, pieces = epoch.locate(np.arange(total))
    begins = np.flatnonzero(np.concatenate(([True], pieces[1:] != pieces[:-1])))
    assert (np.diff(within)[np.diff(pieces) == 0] == 1).all()
    assert len(set(pieces[begins].tolist())) == len(begins)
    return Stretch(documents[begins], within[begins], np.diff([*begins, total]))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(2, 30), min_size=1, max_size=12), min_size=1, max_size=3),
    st.lists(st.floats(0.05, 5), min_size=3, max_size=3),
    st.integers(0, 3),
    st.booleans(),
)
def test_an_epoch_of_a_mixture_has_each_corpus_s_share_to_the_token(lengths, weights, seed, interleaved):
    _, mixture = mixed(lengths, tuple(weights[: len(lengths)]))
    total = sum(map(sum, lengths))
    assert mixture.quotas.sum() == total
    read = np.zeros(len(mixture.lengths), np.int64)
    for epoch in range(3):
        pieces = mixture.interleaved(seed, epoch) if interleaved else listed(InTurn(mixture, seed, epoch), total)
        assert (pieces.lengths > 0).all()
        assert (pieces.begins + pieces.lengths <= mixture.lengths[pieces.documents]).all()
        np.add.at(read, pieces.documents, pieces.lengths)
        for rows, quota, weight in zip(mixture.rows, mixture.quotas, mixture.weights, strict=True):
            tokens = int(pieces.lengths[np.isin(pieces.documents, rows)].sum())
            assert tokens == quota
            assert abs(tokens - total * weight / sum(mixture.weights)) <= 1
    # Passes are whole before the next begins: no document gets ahead of another of its corpus by more than one reading.
    for rows in mixture.rows:
        readings = read[rows] / mixture.lengths[rows]
        assert readings.max() - readings.min() <= 1 + 1e-9


@pytest.mark.parametrize("plan_class", PLANS)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (9.0, 1.0)])
def test_a_training_reads_each_corpus_by_its_weight(plan_class, weights):
    """Two corpora of very different size, while the training goes on and at its end."""
    random = np.random.default_rng(0)
    lengths = [random.integers(5, 200, 3000).tolist(), random.integers(5, 200, 300).tolist()]
    stream, mixture = mixed(lengths, weights)
    plan = plan_class(stream, 8, 16, 1, mixture)
    border = int(stream.offsets[len(lengths[0])])
    steps = math.floor(plan.steps_per_epoch)
    first = total = 0
    for position in range(0, steps, 10):
        found = plan._locate(position, min(10, steps - position))
        tokens = stream.offsets[found.documents] + found.within
        first += int((tokens[:, :-1] < border)[found.counts_BT].sum())
        total += int(found.counts_BT.sum())
        if total > 16 * 4000:
            tolerance = 1e-3 if plan_class is WindowPlan else 2e-2
            assert abs(first / total - weights[0] / sum(weights)) < tolerance
    assert abs(first / total - weights[0] / sum(weights)) < 1e-3
    assert mixture.epochs["b"] > mixture.epochs["a"]


@pytest.mark.parametrize("plan_class", PLANS)
def test_documents_are_kept_apart_where_it_is_asked_for(plan_class):
    stream = numbered_stream([7, 3, 12, 5, 9])
    plain, masked = (plan_class(stream, 2, 6, 1, mask_documents=mask) for mask in (False, True))
    for position in range(6):
        without, batch = plain.batch(position), masked.batch(position)
        assert without.documents_BT is None
        assert (batch.inputs_BT == without.inputs_BT).all()
        # The same targets: what follows a document's end is a BOS, which is none either way.
        assert (batch.targets_BT == without.targets_BT).all()
        for row in range(2):
            changes = batch.documents_BT[row, 1:] != batch.documents_BT[row, :-1]
            assert (batch.inputs_BT[row, 1:][changes] == 0).all()  # a document begins with BOS
            assert (batch.inputs_BT[row, 1:][~changes] != 0).all()
