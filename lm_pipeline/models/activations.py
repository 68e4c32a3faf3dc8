"""Activations, as fast as a CPU allows.

GPT-2's GELU is x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)) (Hendrycks & Gimpel 2016; tanh(u) = 2 sigmoid(2u) - 1). On
CPUs torch's kernel spends most of its time in tanh: 650 us for 768 x 512 numbers, where the matrix product that makes
them takes 490. Written out with sigmoid it takes half of that, forwards and backwards, as long as its temporary tensors
fit into the cache; larger ones are torch's.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _LINEAR
LARGEST = 1 << 20
"""Numbers (4 MB of float32) up to which sigmoid is faster."""


class _GeluTanh(torch.autograd.Function):
    """The approximation of GELU, at least float32 inside whatever the type outside.

    y = x s(u) with u = x (l + c x^2) has the slope s + s (1 - s) x du/dx, where x du/dx = x (l + 3 c x^2). It is
    computed forwards, where all that it takes is in the cache, and is all that is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        linear = torch.full((), _LINEAR, dtype=wide.dtype)
        gate = torch.addcmul(linear, wide, wide, value=_CUBIC).mul_(wide).sigmoid_()
        if ctx.needs_input_grad[0]:
            steepness = torch.addcmul(linear, wide, wide, value=3 * _CUBIC).mul_(wide)
            slope = torch.ops.aten.sigmoid_backward(steepness, gate).add_(gate)
            ctx.save_for_backward(slope.to(x.dtype))
        return gate.mul_(wide).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0] * ctx.saved_tensors[0]


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation; equal to torch's to 1e-6."""
    if x.device.type == "cpu" and x.numel() <= LARGEST and torch.is_grad_enabled():
        return _GeluTanh.apply(x)  # type: ignore[return-value]
    return F.gelu(x, approximate="tanh")


def swiglu(x: Tensor) -> Tensor:
    """silu(gate) times the gated (Shazeer 2020); the gate is the first half of the units."""
    gate, gated = x.chunk(2, dim=-1)
    return F.silu(gate) * gated
