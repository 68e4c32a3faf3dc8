import numpy as np
import pytest
import torch

from lm_pipeline.models.loss import IGNORE
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.masked_plan import MaskedPlan
from lm_pipeline.training.plan import TokenStream, make_plan
from lm_pipeline.training.row_plan import RowPlan
from lm_pipeline.training.validation import validation_batches, validation_loss

LENGTHS = [5, 30, 2, 9, 15, 8, 8, 3]


def stream_of(lengths):
    """Documents `BOS t1..tn EOS` in which every other token is a number of its own."""
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    tokens = 4 + np.arange(offsets[-1])
    tokens[offsets[:-1]], tokens[offsets[1:] - 1] = 1, 2
    return TokenStream(tokens, offsets, bos_id=1)


def windows(stream, batch_size, **more):
    return make_plan(stream, carries_state=False, batch_size=batch_size, context_length=8, seed=0, **more)


def masked(stream, batch_size):
    return MaskedPlan(windows(stream, batch_size, bidirectional=True), fraction=1.0, vocab_size=110, seed=0)


def rows(stream, batch_size):
    return RowPlan(stream, batch_size=batch_size, context_length=8, seed=0, num_buckets=3)


def streams(stream, batch_size):
    return make_plan(stream, carries_state=True, batch_size=batch_size, context_length=8, seed=0)


@pytest.mark.parametrize("lengths", [LENGTHS, [*LENGTHS, 4, 2]], ids=["whole windows", "padding in the last one"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 32])
@pytest.mark.parametrize("plan_of", [windows, masked, rows, streams])
def test_every_target_of_the_split_is_read_once_whatever_the_batch_size(plan_of, batch_size, lengths):
    stream = stream_of(lengths)
    plan = plan_of(stream, batch_size)
    batches = list(validation_batches(plan, None))
    read = torch.cat([batch.targets_BT.flatten() for batch in batches])
    assert sorted(read[read != IGNORE].tolist()) == sorted(stream.tokens[stream.tokens != 1].tolist())
    if plan_of is not rows:
        assert all(len(batch.targets_BT) == batch_size for batch in batches)  # compiled code is of one shape


def test_a_validation_of_some_batches_reads_the_first_ones():
    plan = windows(stream_of(LENGTHS), 3)
    some, all_of_them = list(validation_batches(plan, 2)), list(validation_batches(plan, 100))
    assert (len(some), len(all_of_them)) == (2, 4)
    assert all(torch.equal(ours.targets_BT, plan.batch(i).targets_BT) for i, ours in enumerate(some))


@pytest.mark.parametrize("family", ["transformer", "cnn"])
def test_the_loss_of_the_whole_split_does_not_depend_on_the_batch_size(family, make_job, listener, tmp_path):
    losses = []
    for batch_size in (1, 2, 8, 32):
        job = make_job(family, tmp_path / str(batch_size), batch_size=batch_size)
        losses.append(validation_loss(begin(job, listener), job.plan(job.validation, 0), None))
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-6)
