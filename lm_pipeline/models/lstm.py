"""A layer of an LSTM in bfloat16 on a CPU, as fast as torch's own library computes it.

`torch.lstm` is given weights that autocast has rounded, so the float32 gradients that oneDNN has computed for them are
rounded too, and widened again for the optimizer: three passes over the weights for nothing. Here the layer takes the
weights as they are, and its gradients stay float32.

Shapes: B batch, T time, D width, G = 4 D gates.
"""

from typing import Any

import torch
from torch import Tensor

LSTM = 2
"""What torch calls the cell's kind (`mode`)."""


class _Layer(torch.autograd.Function):
    """torch's two calls, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x_TBD: Tensor, h_BD: Tensor, c_BD: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        given = [
            tensor.to(torch.bfloat16, memory_format=torch.contiguous_format) for tensor in (x_TBD, *weights, h_BD, c_BD)
        ]
        with torch.enable_grad():  # without, nothing is kept for the pass backwards
            y_TBD, h_after_BD, c_after_BD, workspace = torch.ops.aten.mkldnn_rnn_layer(
                *given, False, [], LSTM, h_BD.shape[-1], 1, True, False, False, True
            )
        ctx.save_for_backward(*given, y_TBD, h_after_BD, c_after_BD, workspace)
        return y_TBD, h_after_BD, c_after_BD

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        *given, workspace = ctx.saved_tensors
        grad_x, *grad_weights, grad_h, grad_c = torch.ops.aten.mkldnn_rnn_layer_backward(
            *given, *grad_outputs, False, LSTM, given[5].shape[-1], 1, True, True, False, [], False, workspace
        )
        return grad_x, grad_h, grad_c, *grad_weights


def computes(x: Tensor) -> bool:
    """Whether `lstm_layer` is for this input: in training, under autocast, on a CPU that has products in bfloat16."""
    return (
        torch.is_grad_enabled()
        and x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - what torch.lstm itself asks
    )


def lstm_layer(x_BTD: Tensor, before: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Read T tokens.

    Args:
        x_BTD: what enters.
        before: hidden and cell vectors (1 x B x D each).
        weights: of inputs (G x D) and of hidden vectors (G x D), and both biases (G), in float32.

    Returns:
        Hidden vectors of each token (B x T x D), and hidden and cell vectors of the last (1 x B x D each); bfloat16.
    """
    h_BD, c_BD = (tensor_1BD.squeeze(0) for tensor_1BD in before)
    y_TBD, h_BD, c_BD = _Layer.apply(x_BTD.transpose(0, 1), h_BD, c_BD, *weights)  # type: ignore[misc]
    return y_TBD.transpose(0, 1), h_BD.unsqueeze(0), c_BD.unsqueeze(0)
