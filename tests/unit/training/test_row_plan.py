from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.models.language_model import BIDIRECTIONAL, build_model
from lm_pipeline.models.loss import IGNORE
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.loop import backward
from lm_pipeline.training.masked_plan import MaskedPlan
from lm_pipeline.training.mixture import Mixture
from lm_pipeline.training.plan import TokenStream
from lm_pipeline.training.row_plan import RowPlan
from tests.unit.training.conftest import SPECS, VOCAB_SIZE

BUCKETS = {"batching": "length_buckets", "num_buckets": 3}


def numbered_stream(lengths):
    """Documents in which every token but BOS (0) is a number of its own."""
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    tokens = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    tokens[offsets[:-1]] = 0
    return TokenStream(tokens, offsets, bos_id=0)


def plan_of(stream, batch_size=3, context_length=7, seed=0, num_buckets=3, **more):
    return RowPlan(
        stream, batch_size=batch_size, context_length=context_length, seed=seed, num_buckets=num_buckets, **more
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=30), st.integers(1, 5), st.integers(2, 9), st.integers(0, 5))
def test_every_token_but_bos_is_a_target_once_an_epoch(lengths, batch_size, context_length, seed):
    stream = numbered_stream(lengths)
    plan = plan_of(stream, batch_size, context_length, seed)
    for epoch in range(2):
        seen = Counter()
        for step in range(plan.steps_per_epoch):
            batch = plan.batch(epoch * plan.steps_per_epoch + step)
            assert batch.inputs_BT.numel() <= batch_size * context_length
            assert len(batch.inputs_BT) >= batch_size
            assert batch.begins
            seen.update(batch.targets_BT.flatten().tolist())
        del seen[IGNORE]
        assert seen == {token: 1 for token in stream.tokens.tolist() if token}


def test_a_row_is_of_one_document_and_begins_with_it_or_where_its_last_row_ended():
    stream = numbered_stream([5, 30, 2, 9, 15, 8, 8, 3])
    plan, begins = plan_of(stream), Counter()
    for position in range(plan.steps_per_epoch):
        batch = plan.batch(position)
        read = set()
        for inputs, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            length = sum(target != IGNORE for target in targets)
            assert targets[length:] == [IGNORE] * (len(targets) - length)
            if length:
                assert targets[:length] == list(range(targets[0], targets[0] + length))
                assert inputs[1:length] == targets[: length - 1]
                document = int(np.searchsorted(stream.offsets, targets[0] - 1, side="right")) - 1
                within = targets[0] - 2 - int(stream.offsets[document])
                begins[document, within] += 1
                assert inputs[0] == (0 if within == 0 else targets[0] - 1)
                read.add(document)
        assert plan.documents(position) == sorted(read)
    lengths = np.diff(stream.offsets)
    assert begins == {(d, begin): 1 for d, length in enumerate(lengths) for begin in range(0, length - 1, 7)}


def test_corpora_are_mixed_by_weight():
    random = np.random.default_rng(0)
    lengths = np.concatenate((random.integers(5, 60, 3000), random.integers(5, 90, 300)))
    stream = numbered_stream(lengths)
    mixture = Mixture(("a", "b"), (np.arange(3000), np.arange(3000, 3300)), lengths, (1.0, 1.0))
    plan = plan_of(stream, 8, 32, mixture=mixture)
    border, first, total = int(stream.offsets[3000]), 0, 0
    for position in range(plan.steps_per_epoch):
        targets = plan.batch(position).targets_BT
        first, total = first + int(((targets > 0) & (targets <= border)).sum()), total + int((targets > 0).sum())
        if position > 100:
            assert first / total == pytest.approx(0.5, abs=0.02)
    assert first / total == pytest.approx(0.5, abs=2e-3)


def test_an_encoder_is_asked_for_every_token_of_a_document_and_never_for_padding():
    stream = numbered_stream([5, 30, 2, 9, 15, 8, 8, 3])
    plan = plan_of(stream, bidirectional=True)
    masked = MaskedPlan(plan, fraction=1.0, vocab_size=100, seed=0)
    asked, steps = Counter(), plan.steps_per_epoch
    for position in range(steps):
        batch, plain = masked.batch(position), plan.batch(position)
        padding = batch.documents_BT.bool()
        assert (batch.targets_BT[padding] == IGNORE).all()
        assert (plain.inputs_BT[padding] == 0).all()
        asked.update(plain.inputs_BT[~padding].tolist())
        left_out = plain.inputs_BT[~padding & (batch.targets_BT == IGNORE)]
        assert set(left_out.tolist()) <= {0, 1, 3}  # numbers 1 and 3 are control ids here
    assert asked == {token: (8 if token == 0 else 1) for token in stream.tokens.tolist()}


@pytest.mark.parametrize("family", SPECS)
@pytest.mark.parametrize("num_buckets", [1, 5])
def test_an_epoch_costs_what_its_documents_cost_one_by_one_however_they_are_padded(family, num_buckets, make_stream):
    stream = make_stream()
    torch.manual_seed(0)
    model = build_model(SPECS[family], VOCAB_SIZE, 64).eval()
    plan = plan_of(stream, 4, 64, num_buckets=num_buckets, bidirectional=family in BIDIRECTIONAL)
    total = count = 0
    with torch.no_grad():
        for position in range(plan.steps_per_epoch):
            batch = plan.batch(position)
            nll, targets, _ = model.loss_sums(batch.inputs_BT, batch.targets_BT, None, batch.documents_BT)
            total, count = total + nll.double().item(), count + targets
        alone = 0.0
        for begin, end in zip(stream.offsets, stream.offsets[1:], strict=False):
            tokens = torch.from_numpy(stream.tokens[begin:end].astype(np.int64))[None]
            inputs = tokens if family in BIDIRECTIONAL else tokens[:, :-1]
            targets = tokens[:, -inputs.shape[1] :].clone()
            if family in BIDIRECTIONAL:
                targets[:, 0] = IGNORE  # the BOS
            alone += model.loss_sums(inputs, targets)[0].double().item()
    assert count == len(stream) - 30
    assert total == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("family", SPECS)
def test_accumulation_changes_neither_loss_nor_gradient(family, make_job, listener, tmp_path):
    results = []
    for accumulation in (1, 2, 4):
        job = make_job(family, tmp_path / str(accumulation), context_length=32, accumulation=accumulation, **BUCKETS)
        session = begin(job, listener)
        session.model.eval()
        nll, num_targets, carried = backward(session, job.plan(job.train, 0).batch(1), job.training)
        assert carried == [None] * accumulation
        results.append((nll / num_targets, session.model.embedding.weight.grad))
    for loss, gradient in results[1:]:
        assert loss == pytest.approx(results[0][0], abs=1e-6)
        assert torch.allclose(gradient, results[0][1], atol=1e-6)
