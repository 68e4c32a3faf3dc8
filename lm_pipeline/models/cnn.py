"""Gated convolutional backbone: h = (X*W + b) (x) sigmoid(X*V + c), causal, with residual connections.

Papers: Dauphin et al. 2017, "Language Modeling with Gated Convolutional Networks"; scaling of residual sums and
initialisation from Gehring et al. 2017 (ConvS2S). The paper's weight normalisation is left out, for simplicity.

A token sees `num_layers * (kernel_size - 1)` tokens before it. What a layer needs of the past is its last
`kernel_size - 1` inputs: that is the state.

Shapes: B batch, T time, D width, K kernel size.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lm_pipeline.models.state import State
from lm_pipeline.specs.model import CnnModel


class GatedConvolution(nn.Module):
    """One layer: causal convolution to 2D channels, gated linear unit, residual sum."""

    def __init__(self, spec: CnnModel) -> None:
        super().__init__()
        self.kernel_size = spec.kernel_size
        self.dropout = nn.Dropout(spec.dropout)
        self.convolution = nn.Linear(spec.kernel_size * spec.width, 2 * spec.width)
        # The gate halves its input: variance 4/n keeps the output's (Gehring et al. 2017, section 3.5).
        nn.init.normal_(
            self.convolution.weight, std=math.sqrt(4 * (1 - spec.dropout) / (spec.kernel_size * spec.width))
        )
        nn.init.zeros_(self.convolution.bias)

    def forward(self, x_BTD: Tensor, past_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve after the K-1 inputs that came before; returns the output and the new last K-1 inputs."""
        time = x_BTD.shape[1]
        padded = torch.cat((past_BKD.to(x_BTD.dtype), self.dropout(x_BTD)), dim=1)
        # A convolution over time is a matrix product over K shifted copies, which runs at the speed of BLAS.
        windows = torch.cat([padded[:, k : k + time] for k in range(self.kernel_size)], dim=2)
        y_BTD = F.glu(self.convolution(windows), dim=2)
        return (x_BTD + y_BTD) * math.sqrt(0.5), padded[:, time:]


class GatedCnn(nn.Module):
    """Stacked gated convolutions."""

    embedding_std = 0.1
    """Gehring et al. 2017, section 3.5."""

    def __init__(self, spec: CnnModel, context_length: int) -> None:
        super().__init__()
        del context_length  # a convolution reads texts of any length
        self.kernel_size = spec.kernel_size
        self.layers = nn.ModuleList(GatedConvolution(spec) for _ in range(spec.num_layers))
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read T more tokens."""
        batch, time, width = x_BTD.shape
        tails = []
        for index, layer in enumerate(self.layers):
            past = x_BTD.new_zeros(batch, self.kernel_size - 1, width) if state is None else state.tensors[index]
            x_BTD, tail = layer(x_BTD, past)
            tails.append(tail)
        return self.dropout(x_BTD), State((state.position if state else 0) + time, tuple(tails))

    def macs_per_token(self, context_length: int) -> int:
        """Multiply-adds of one token's forward pass."""
        del context_length
        return sum(p.numel() for p in self.layers.parameters() if p.dim() > 1)
