"""Exponential moving average of the weights (Polyak & Juditsky 1992; decay warmed up as in Adam's bias correction).

    average <- decay average + (1 - decay) weights,   decay = min(average_decay, (1 + step) / (10 + step))

The average is what is validated and published; training goes on with the weights themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Average = dict[str, Tensor]


def begin_average(model: nn.Module) -> Average:
    """The average of no steps: a copy of the weights."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@torch.no_grad()
def update_average(average: Average, model: nn.Module, decay: float, step: int) -> None:
    """Take in the weights after a step, counted from 0."""
    decay = min(decay, (1 + step) / (10 + step))
    for name, weights in model.named_parameters():
        average[name].lerp_(weights, 1 - decay)


@contextmanager
def averaged(model: nn.Module, average: Average | None) -> Iterator[None]:
    """While this is open, the model computes with the average; nothing happens where there is none."""
    if average is None:
        yield
        return
    weights = begin_average(model)
    try:
        _fill(model, average)
        yield
    finally:
        _fill(model, weights)


@torch.no_grad()
def _fill(model: nn.Module, values: Average) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])
