import torch

from lm_pipeline.models.loss import IGNORE
from lm_pipeline.tokenization.controls import OURS
from lm_pipeline.training.masked_plan import MaskedPlan
from lm_pipeline.training.plan import make_plan


def plans(make_stream, seed=0, fraction=0.5):
    stream = make_stream()
    plain = make_plan(stream, carries_state=False, batch_size=4, context_length=8, seed=seed)
    return plain, MaskedPlan(plain, fraction=fraction, vocab_size=40, seed=seed)


def test_a_masked_batch_is_the_plain_one_with_tokens_hidden(make_stream):
    plain, masked = plans(make_stream)
    assert masked.steps_per_epoch == plain.steps_per_epoch
    for position in range(20):
        before, after = plain.batch(position), masked.batch(position)
        hidden = after.targets_BT != IGNORE
        assert torch.equal(after.targets_BT[hidden], before.inputs_BT[hidden])
        assert torch.equal(after.inputs_BT[~hidden], before.inputs_BT[~hidden])
        assert after.begins
        assert masked.documents(position) == plain.documents(position)


def test_every_token_but_bos_is_asked_for_at_some_time_the_end_included(make_stream):
    _, masked = plans(make_stream)
    asked = torch.cat([masked.batch(position).targets_BT.flatten() for position in range(100)])
    assert set(asked.tolist()) == {IGNORE, 2, *range(4, 40)}
    assert not (asked == OURS.mask).any()


def test_padding_of_the_last_window_is_not_asked_for(make_stream):
    plain, masked = plans(make_stream, fraction=0.99)
    for position in range(20):
        ignored = plain.batch(position).targets_BT == IGNORE
        assert set(masked.batch(position).targets_BT[ignored].tolist()) <= {IGNORE, 2}
