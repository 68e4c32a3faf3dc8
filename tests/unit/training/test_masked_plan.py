from collections import Counter

import numpy as np
import pytest
import torch

from lm_pipeline.models.loss import IGNORE
from lm_pipeline.tokenization.controls import OURS, Controls
from lm_pipeline.training.masked_plan import MaskedPlan
from lm_pipeline.training.mixture import Mixture
from lm_pipeline.training.plan import TokenStream, make_plan
from lm_pipeline.training.row_plan import RowPlan
from lm_pipeline.training.validation import validation_batches

ENGLISH = ("To be, or not to be", "that is the question:", "Whether 'tis nobler in the mind", "to suffer", "")
CHINESE = ("床前明月光", "疑是地上霜。", "举头望明月", "低头思故乡。", "")


def plans(make_stream, seed=0, fraction=0.5):
    stream = make_stream()
    plain = make_plan(stream, carries_state=False, batch_size=4, context_length=8, seed=seed, bidirectional=True)
    return plain, MaskedPlan(plain, fraction=fraction, vocab_size=40, seed=seed)


def stream_of(texts, eos=2):
    """Documents whose tokens are the bytes of texts: many occur often."""
    documents = [[1, *(4 + byte for byte in text.encode()), eos] for text in texts]
    offsets = np.concatenate(([0], np.cumsum([len(document) for document in documents])))
    return TokenStream(np.concatenate(documents).astype(np.uint16), offsets, bos_id=1)


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


@pytest.mark.parametrize("mask_documents", [False, True])
@pytest.mark.parametrize("context_length", [5, 8, 16, 64])
@pytest.mark.parametrize("texts", [ENGLISH, CHINESE, ENGLISH + CHINESE], ids=["en", "zh", "both"])
@pytest.mark.parametrize("controls", [OURS, Controls(eos=1, excluded=(0, 3))], ids=["ours", "eos is bos"])
def test_every_token_but_bos_is_asked_for_once_an_epoch(controls, texts, context_length, mask_documents):
    stream = stream_of(texts, controls.eos)
    once = Counter(stream.tokens.tolist()) - Counter({1: len(texts)})
    packed = make_plan(
        stream,
        carries_state=False,
        batch_size=3,
        context_length=context_length,
        seed=0,
        mask_documents=mask_documents,
        bidirectional=True,
    )
    rows = RowPlan(stream, batch_size=3, context_length=context_length, seed=0, num_buckets=3, bidirectional=True)
    for plan in (packed, rows):
        masked = MaskedPlan(plan, fraction=1.0, vocab_size=260, seed=0, controls=controls)
        asked = torch.cat([batch.targets_BT.flatten() for batch in validation_batches(masked, None)])
        assert Counter(asked[asked != IGNORE].tolist()) == once


@pytest.mark.parametrize("mask_documents", [False, True])
def test_an_epoch_of_a_mixture_asks_for_what_it_reads(mask_documents):
    stream = stream_of(ENGLISH + CHINESE)
    lengths = np.diff(stream.offsets)
    mixture = Mixture(("en", "zh"), (np.arange(5), np.arange(5, 10)), lengths, (1.0, 2.0))
    plan = make_plan(
        stream,
        carries_state=False,
        batch_size=3,
        context_length=7,
        seed=0,
        mixture=mixture,
        mask_documents=mask_documents,
        bidirectional=True,
    )
    masked = MaskedPlan(plan, fraction=1.0, vocab_size=260, seed=0)
    asked = torch.cat([batch.targets_BT.flatten() for batch in validation_batches(masked, None)])
    documents, within, _ = plan._epoch(0).locate(np.arange(len(stream)))
    read = stream.tokens[stream.offsets[documents] + within][within != 0]
    assert Counter(asked[asked != IGNORE].tolist()) == Counter(read.tolist())


def test_documents_of_a_batch_are_those_that_it_may_ask_for():
    stream = stream_of(ENGLISH)
    plan = make_plan(stream, carries_state=False, batch_size=1, context_length=6, seed=0, bidirectional=True)
    named = set()
    for position in range(int(plan.steps_per_epoch)):
        named |= set(plan.documents(position))
    assert named == set(range(len(ENGLISH)))
