"""RMSNorm (Zhang & Sennrich 2019), as fast as a CPU allows.

torch has no kernel of its own for it on CPUs: autograd differentiates its parts one by one. With the gradient in one
piece 1024 x 384 numbers take 651 us in place of 1,655, forwards and backwards (docs/training-profile.md).
"""

from typing import Any

import torch
from torch import Tensor, nn


class _RmsNorm(torch.autograd.Function):
    """y = w n, n = x / rms(x); dx = (w dy - n mean(w n dy)) / rms(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, inverse, weight_D)
        return (x * inverse).mul_(weight_D)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, inverse, weight_D = ctx.saved_tensors
        normed = x * inverse
        grad_weight = (grad_outputs[0] * normed).flatten(0, -2)
        mean = torch.mv(grad_weight, weight_D).div_(x.shape[-1]).view_as(inverse)
        grad_x = normed.mul_(mean.neg_()).addcmul_(grad_outputs[0], weight_D).mul_(inverse)
        return grad_x, grad_weight.sum(dim=0) if ctx.needs_input_grad[1] else None, None


class RmsNorm(nn.RMSNorm):
    """torch's norm, whose gradient is computed in one piece where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """A norm over the last dimension."""
        is_eager = torch.is_grad_enabled() and not torch.compiler.is_compiling()  # inductor fuses torch's own parts
        if is_eager and x.device.type == "cpu" and x.dtype == self.weight.dtype:
            return _RmsNorm.apply(x, self.weight, self.eps)  # type: ignore[return-value]
        return super().forward(x)
