"""Gated convolutional backbone: h = (X*W + b) (x) sigmoid(X*V + c), causal, with residual connections.

Papers: Dauphin et al. 2017, "Language Modeling with Gated Convolutional Networks"; scaling of residual sums and
initialisation from Gehring et al. 2017 (ConvS2S). The paper's weight normalisation is left out, for simplicity.

A token sees `num_layers * (kernel_size - 1)` tokens before it. What a layer needs of the past is its last
`kernel_size - 1` inputs: that is the state.

Shapes: B batch, T time, D width, K kernel size, S = K - 1 + T: the tokens that new outputs may read.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lm_pipeline.models.initialisation import initialise_convolution
from lm_pipeline.models.state import State, join_documents
from lm_pipeline.specs.model import CnnModel


class GatedConvolution(nn.Module):
    """One layer: causal convolution to 2D channels, gated linear unit, residual sum."""

    def __init__(self, spec: CnnModel) -> None:
        super().__init__()
        self.kernel_size = spec.kernel_size
        self.dropout = nn.Dropout(spec.dropout)
        self.convolution = nn.Linear(spec.kernel_size * spec.width, 2 * spec.width)
        initialise_convolution(self.convolution, spec)

    def forward(self, x_BTD: Tensor, past_BKD: Tensor, documents_BS: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolve after the K-1 inputs that came before; returns the output and the new last K-1 inputs."""
        time, last = x_BTD.shape[1], self.kernel_size - 1
        padded = torch.cat((past_BKD.to(x_BTD.dtype), self.dropout(x_BTD)), dim=1)
        # A convolution over time is a matrix product over K shifted copies, which runs at the speed of BLAS.
        copies = [padded[:, k : k + time] for k in range(self.kernel_size)]
        if documents_BS is not None:  # another document's tokens read as what stands before a text: zeros
            same = [documents_BS[:, k : k + time] == documents_BS[:, last:] for k in range(self.kernel_size)]
            copies = [copy * mask_BT.unsqueeze(2) for copy, mask_BT in zip(copies, same, strict=True)]
        y_BTD = F.glu(self.convolution(torch.cat(copies, dim=2)), dim=2)
        return (x_BTD + y_BTD) * math.sqrt(0.5), padded[:, time:]


class GatedCnn(nn.Module):
    """Stacked gated convolutions."""

    def __init__(self, spec: CnnModel, context_length: int) -> None:
        super().__init__()
        del context_length  # a convolution reads texts of any length
        self.kernel_size = spec.kernel_size
        self.layers = nn.ModuleList(GatedConvolution(spec) for _ in range(spec.num_layers))
        self.dropout = nn.Dropout(spec.dropout)

    def forward(
        self, x_BTD: Tensor, state: State | None = None, documents_BT: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read T more tokens; see `state.join_documents` for `documents_BT`."""
        batch, time, width = x_BTD.shape
        last = self.kernel_size - 1
        documents_BS = join_documents(state, documents_BT, last, x_BTD.shape)
        x_BTD, tails = self.dropout(x_BTD), []
        for index, layer in enumerate(self.layers):
            past = x_BTD.new_zeros(batch, last, width) if state is None else state.tensors[index]
            x_BTD, tail = layer(x_BTD, past, documents_BS)
            tails.append(tail)
        documents_BK = None if documents_BS is None else documents_BS[:, -last:]
        return self.dropout(x_BTD), State((state.position if state else 0) + time, tuple(tails), documents_BK)

    def macs_per_token(self, context_length: int) -> int:
        """Multiply-adds of one token's forward pass."""
        del context_length
        return sum(p.numel() for p in self.layers.parameters() if p.dim() > 1)

    def frozen_macs_per_token(self) -> int:
        """Those of them whose weights are not trained: none."""
        return 0
