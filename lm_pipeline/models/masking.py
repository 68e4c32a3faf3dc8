"""The masked-language-model objective: which tokens of a text are to be filled in.

Paper: Devlin et al. 2018 (BERT), section 3.1: of the tokens to predict, 80 % are masked, 10 % replaced by a random
token, 10 % left as they are. Masks are drawn anew each time a text is read, as in RoBERTa (Liu et al. 2019), but as a
pure function of seed and step, so that a resumed training sees the masks that it would have seen.

Shapes: B batch, T time.
"""

import numpy as np
import torch
from torch import Tensor

from lm_pipeline.errors import InputError
from lm_pipeline.models.loss import IGNORE
from lm_pipeline.tokenization.controls import OURS, Controls

MASKED, REPLACED = 0.8, 0.1
"""Of the tokens to predict; the rest is left as it is."""


def mask_of(controls: Controls) -> int:
    """The id that stands in for a masked token: one that no text can spell.

    Of the tokenizers that are trained here it is the unknown piece, which is free, as every byte has a piece.

    Raises:
        InputError: the tokenizer has none.
    """
    if controls.mask is None:
        raise InputError(
            "The tokenizer has no mask token, which an encoder needs: take a decoder, or another tokenizer."
        )
    return controls.mask


def mask_tokens(
    tokens_BT: Tensor,
    eligible_BT: Tensor,
    *,
    fraction: float,
    vocab_size: int,
    seed: int,
    step: int,
    controls: Controls = OURS,
) -> tuple[Tensor, Tensor]:
    """Hide some tokens of a batch.

    Args:
        tokens_BT: int64 token ids.
        eligible_BT: bool; tokens that may have to be predicted.
        fraction: probability of an eligible token to be predicted.
        vocab_size: pieces.
        seed: seed of the training.
        step: position of the batch; equal arguments give equal masks.
        controls: control ids of the tokenizer.

    Returns:
        The tokens that the model reads, and the targets: the original token where it is to be predicted, else `IGNORE`.
    """
    draw = np.random.Generator(np.random.Philox(key=np.array([seed & (2**64 - 1), step], np.uint64)))
    shape = tuple(tokens_BT.shape)
    chosen = torch.from_numpy(draw.random(shape) < fraction) & eligible_BT
    how = torch.from_numpy(draw.random(shape))
    replacements = torch.from_numpy(draw.integers(controls.first_piece, vocab_size, shape))
    read_BT = torch.where(chosen & (how < MASKED), mask_of(controls), tokens_BT)
    read_BT = torch.where(chosen & (how >= MASKED) & (how < MASKED + REPLACED), replacements, read_BT)
    return read_BT, torch.where(chosen, tokens_BT, IGNORE)


def mask_groups(length: int, fraction: float) -> list[np.ndarray]:
    """Divide the places of a text so that masking one group at a time hides each place exactly once.

    A group holds about `fraction` of the places, spread at random, as training hid them; equal lengths have equal
    groups.

    >>> sorted(int(place) for group in mask_groups(10, 0.3) for place in group) == list(range(10))
    True
    """
    num_groups = max(1, min(length, round(1 / fraction)))
    places = np.random.Generator(np.random.Philox(key=length)).permutation(length)
    return [np.sort(places[group::num_groups]) for group in range(num_groups)]
