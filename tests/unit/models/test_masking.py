import numpy as np
import pytest
import torch

from lm_pipeline.models.loss import IGNORE
from lm_pipeline.models.masking import mask_groups, mask_tokens
from lm_pipeline.tokenization.controls import OURS

TOKENS = torch.arange(4, 204).repeat(64, 2)


def mask(step=0, seed=0, eligible=None, fraction=0.15):
    eligible = torch.ones_like(TOKENS, dtype=torch.bool) if eligible is None else eligible
    return mask_tokens(TOKENS, eligible, fraction=fraction, vocab_size=204, seed=seed, step=step)


def test_shares_are_those_of_bert():
    read, targets = mask()
    chosen = targets != IGNORE
    masked = chosen & (read == OURS.mask)
    kept = chosen & (read == TOKENS)
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (masked.sum() / chosen.sum()).item() == pytest.approx(0.8, abs=0.02)
    assert (kept.sum() / chosen.sum()).item() == pytest.approx(0.1 + 0.1 / 200, abs=0.02)


def test_targets_are_the_tokens_themselves_and_the_rest_is_as_it_was():
    read, targets = mask()
    chosen = targets != IGNORE
    assert torch.equal(targets[chosen], TOKENS[chosen])
    assert torch.equal(read[~chosen], TOKENS[~chosen])
    replaced = read[chosen & (read != OURS.mask) & (read != TOKENS)]
    assert replaced.min() >= OURS.first_piece
    assert replaced.max() < 204


def test_masks_are_a_function_of_seed_and_step():
    assert all(torch.equal(a, b) for a, b in zip(mask(7, 3), mask(7, 3), strict=True))
    torch.manual_seed(99)
    first = mask(7, 3)[1]
    assert torch.equal(first, mask(7, 3)[1]), "torch's own generator has no part in it"
    assert not torch.equal(first, mask(8, 3)[1])
    assert not torch.equal(first, mask(7, 4)[1])
    assert not torch.equal(mask(0, -1)[1], first), "a negative seed is a seed"


def test_only_eligible_tokens_are_hidden():
    eligible = torch.zeros_like(TOKENS, dtype=torch.bool)
    eligible[:, ::3] = True
    read, targets = mask(eligible=eligible, fraction=0.9)
    assert (targets[~eligible] == IGNORE).all()
    assert torch.equal(read[~eligible], TOKENS[~eligible])
    assert (targets[eligible] != IGNORE).float().mean() > 0.85


@pytest.mark.parametrize("length", [1, 2, 6, 7, 50])
def test_groups_hide_each_place_once_and_about_as_much_as_training(length):
    groups = mask_groups(length, 0.15)
    assert sorted(np.concatenate(groups).tolist()) == list(range(length))
    assert all(1 <= len(group) <= -(-length // 7) + (length < 7) for group in groups)
    assert [group.tolist() for group in groups] == [group.tolist() for group in mask_groups(length, 0.15)]
