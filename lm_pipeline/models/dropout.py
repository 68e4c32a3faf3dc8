"""Dropout for recurrent networks: one mask for all steps of a window, on words, and on recurrent weights.

Papers: Gal & Ghahramani 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks"; Merity
et al. 2018, "Regularizing and Optimizing LSTM Language Models" (weight drop; Wan et al. 2013, DropConnect). Reference
implementation: awd-lstm-lm.

Shapes: B batch, T time, D width, V vocabulary, N tokens of any layout.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def keep_mask(shape: tuple[int, ...], probability: float, like: Tensor) -> Tensor:
    """Zeros with that probability, else what keeps the expectation: 1 / (1 - probability)."""
    kept = torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(1 - probability)
    return kept.div_(max(1 - probability, torch.finfo(like.dtype).tiny))


def variational_dropout(x: Tensor, rows_N: Tensor | None, num_rows: int, probability: float) -> Tensor:
    """Drop the same units of a row at all its steps.

    Args:
        x: B x T x D; or N x D with the row of each token in `rows_N`.
        rows_N: see there.
        num_rows: B.
        probability: of a unit of a row.
    """
    if probability == 0:
        return x
    mask_BD = keep_mask((num_rows, x.shape[-1]), probability, x)
    return x * (mask_BD[:, None] if rows_N is None else mask_BD[rows_N])


def embedding_dropout(x_BTD: Tensor, tokens_BT: Tensor, vocab_size: int, probability: float) -> Tensor:
    """Drop words: all occurrences of a token in the window, or none (Gal & Ghahramani 2016, section 4.2)."""
    if probability == 0:
        return x_BTD
    mask_V = keep_mask((vocab_size,), probability, x_BTD)
    return x_BTD * mask_V[tokens_BT].unsqueeze(-1)


def weight_drop(weight: Tensor, probability: float) -> Tensor:
    """Drop single weights of a recurrent matrix, the same ones at all steps."""
    return F.dropout(weight, probability)
