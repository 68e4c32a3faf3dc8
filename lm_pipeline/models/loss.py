"""Cross-entropy of a linear output layer without ever holding all its logits.

The logits of a step (2048 tokens x 4096 pieces: 33 MB, several times over in autograd) are the largest tensors of a
small language model. Here they are computed a few rows at a time, turned into the gradient in place and dropped, so
they stay in cache. Gradients of the layer are added up over these chunks in float32: of hundreds of terms of one sign,
bfloat16 would lose the later ones. Idea: Wijmans et al. 2024, "Cut Your Losses", and Liger-Kernel's fused linear
cross-entropy.

Shapes: N tokens, D width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -100
"""Target of a position that costs nothing: padding, or the beginning of a document, which nobody could predict."""

CHUNK_LOGITS = 1 << 20
"""Logits held at a time on a CPU (4 MB in float32): about what a core's share of cache holds."""

CHUNKS_HELD = 16
"""Chunks whose gradients are multiplied at once in bfloat16 on a CPU. The sum has the layer's size: to pass over it in
float32 for all of them costs what it would cost in bfloat16 for each. On a GPU chunks are large."""


@dataclass(frozen=True)
class Penalties:
    """What is trained on beside the likelihood.

    Attributes:
        label_smoothing: e; the target is 1 - e of the token and e spread evenly over the vocabulary (Szegedy et al.
            2016).
        z_loss: weight of the squared log of the softmax's normaliser (Chowdhery et al. 2022).
    """

    label_smoothing: float = 0.0
    z_loss: float = 0.0


def chunk_rows(weight_VD: Tensor) -> int:
    """Tokens whose logits are held at a time."""
    return max(1, CHUNK_LOGITS // weight_VD.shape[0]) if weight_VD.device.type == "cpu" else 8192


class _LinearCrossEntropy(torch.autograd.Function):
    """Sums of objective and negative log-likelihood; gradients are computed on the way, as the logits are at hand."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor, targets_N: Tensor, penalties: Penalties
    ) -> tuple[Tensor, Tensor]:
        hidden_learns, weight_learns, bias_learns = ctx.needs_input_grad[:3]
        smoothing, z_loss = penalties.label_smoothing, penalties.z_loss
        total, extra = torch.zeros(2, dtype=torch.float32, device=hidden_ND.device)
        grad_hidden = torch.empty_like(hidden_ND) if hidden_learns else None
        weight_sum = _OuterProducts(hidden_ND, weight_VD) if weight_learns else None
        grad_bias = torch.zeros_like(bias_V, dtype=torch.float32) if bias_learns else None
        rows = chunk_rows(weight_VD)
        for begin in range(0, hidden_ND.shape[0], rows):
            part = slice(begin, begin + rows)
            targets = targets_N[part]
            counted = targets != IGNORE
            index = targets.clamp(min=0).unsqueeze(1)
            logits = torch.addmm(bias_V, hidden_ND[part], weight_VD.t()).float()
            chosen = logits.gather(1, index).squeeze(1)
            highest = logits.amax(dim=1, keepdim=True)
            mean = logits.mean(dim=1) if smoothing else chosen
            exponentials = logits.sub_(highest).exp_()
            sums = exponentials.sum(dim=1)
            normaliser = sums.log() + highest.squeeze(1)
            total += (normaliser - chosen).masked_fill(~counted, 0.0).sum()
            if smoothing or z_loss:
                penalty = smoothing * (chosen - mean) + z_loss * normaliser.square()
                extra += penalty.masked_fill(~counted, 0.0).sum()
            if hidden_learns or weight_learns or bias_learns:
                # d objective / d logits = (1 + 2 z normaliser) softmax - (1 - e) onehot - e / V, and nothing where the
                # target is ignored.
                weight = counted / sums
                if z_loss:
                    weight = weight * (1 + 2 * z_loss * normaliser)
                gradient = exponentials.mul_(weight.unsqueeze(1))
                gradient.scatter_add_(1, index, (smoothing - 1) * counted.float().unsqueeze(1))
                if smoothing:
                    gradient -= (smoothing / weight_VD.shape[0]) * counted.float().unsqueeze(1)
                if grad_bias is not None:
                    grad_bias += gradient.sum(dim=0)
                gradient = gradient.to(hidden_ND.dtype)
                if grad_hidden is not None:
                    torch.mm(gradient, weight_VD, out=grad_hidden[part])
                if weight_sum is not None:  # that of a frozen matrix would cost as much as the rest
                    weight_sum.add(gradient)
        ctx.gradients = (
            grad_hidden,
            None if weight_sum is None else weight_sum.total(),
            None if grad_bias is None else grad_bias.to(bias_V.dtype),
        )
        ctx.mark_non_differentiable(total)
        return total + extra, total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of forward, times that of the sum; in place, since they are used once."""
        gradients = tuple(None if g is None else g.mul_(grad_outputs[0]) for g in ctx.gradients)
        ctx.gradients = None
        return (*gradients, None, None)


class _OuterProducts:
    """The sum over chunks of gradient.T @ hidden; in float32 as soon as there is more than one term.

    Args:
        hidden_ND: hidden states of all chunks.
        weight_VD: the matrix, whose gradient the sum is.
    """

    def __init__(self, hidden_ND: Tensor, weight_VD: Tensor) -> None:
        self._hidden_ND, self._weight_VD, self._num_done = hidden_ND, weight_VD, 0
        self._is_reduced = hidden_ND.dtype in (torch.bfloat16, torch.float16)
        self._num_held = CHUNKS_HELD if self._is_reduced and hidden_ND.device.type == "cpu" else 1
        self._held: list[Tensor] = []
        self._sum_VD: Tensor | None = None
        self._term_VD: Tensor | None = None

    def add(self, gradient_NV: Tensor) -> None:
        """Take in the gradient of the next chunk's logits."""
        self._held.append(gradient_NV)
        if len(self._held) == self._num_held:
            self._multiply()

    def total(self) -> Tensor:
        """The sum, in the matrix's type."""
        if self._held:
            self._multiply()
        return torch.zeros_like(self._weight_VD) if self._sum_VD is None else self._sum_VD.to(self._weight_VD.dtype)

    def _multiply(self) -> None:
        gradient_NV = self._held[0] if len(self._held) == 1 else torch.cat(self._held)
        hidden_ND = self._hidden_ND[self._num_done : self._num_done + len(gradient_NV)]
        self._num_done += len(gradient_NV)
        self._held.clear()
        if self._sum_VD is None:
            self._sum_VD = torch.mm(gradient_NV.t(), hidden_ND)
        elif self._is_reduced:
            self._term_VD = torch.mm(gradient_NV.t(), hidden_ND, out=self._term_VD)
            self._sum_VD = self._sum_VD.float().add_(self._term_VD)
        else:
            self._sum_VD.addmm_(gradient_NV.t(), hidden_ND)


def linear_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor, targets_N: Tensor) -> Tensor:
    """Sum over targets of -log softmax(hidden @ weight.T + bias)[target], in natural units.

    Args:
        hidden_ND: hidden states; under autocast the product runs in their reduced type.
        weight_VD: output matrix.
        bias_V: output bias.
        targets_N: int64 targets; `IGNORE` costs nothing.

    Returns:
        A float32 scalar that can be differentiated once.
    """
    return penalized_cross_entropy(hidden_ND, weight_VD, bias_V, targets_N, Penalties())[0]


def penalized_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor, targets_N: Tensor, penalties: Penalties
) -> tuple[Tensor, Tensor]:
    """Sums over targets of what is trained on, and of the negative log-likelihood, in natural units.

    Args:
        hidden_ND: hidden states; under autocast the product runs in their reduced type.
        weight_VD: output matrix.
        bias_V: output bias.
        targets_N: int64 targets; `IGNORE` costs nothing.
        penalties: what the objective adds to the likelihood.

    Returns:
        Two float32 scalars; the first can be differentiated once, the second not at all.
    """
    device = hidden_ND.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden_ND, weight_VD, bias_V = hidden_ND.to(dtype), weight_VD.to(dtype), bias_V.to(dtype)
    with torch.autocast(device, enabled=False):
        return _LinearCrossEntropy.apply(hidden_ND, weight_VD, bias_V, targets_N, penalties)  # type: ignore[return-value]


def token_losses(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Negative log-likelihood of each target (float32, natural units); 0 where the target is `IGNORE`."""
    return F.cross_entropy(logits_NV.float(), targets_N, ignore_index=IGNORE, reduction="none")
