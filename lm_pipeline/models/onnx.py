"""Models for ONNX runtimes: tokens (B x T) to logits (B x T x V), with B and T left open.

Torch traces the model into its own writer, `dynamo=False`: the newer one fixes B or T for some of our families.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lm_pipeline.errors import InputError
from lm_pipeline.models.language_model import LanguageModel

ONNX_MODEL = "model.onnx"


class _TokensToLogits(nn.Module):
    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self._model = model

    def forward(self, tokens_BT: Tensor) -> Tensor:
        hidden_BTD, _ = self._model(tokens_BT)
        return self._model.logits(hidden_BTD)


class _WrittenOutRmsNorm(nn.Module):
    """`nn.RMSNorm` in operators that the writer knows."""

    def __init__(self, norm: nn.RMSNorm) -> None:
        super().__init__()
        self.weight = norm.weight
        self._epsilon = torch.finfo(norm.weight.dtype).eps if norm.eps is None else norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self._epsilon) * self.weight


def require_onnx() -> None:
    """Nothing, where the package that torch's writer needs is there.

    Raises:
        InputError: it is not.
    """
    try:
        import onnx  # noqa: F401 - whether it is there
    except ImportError as error:
        raise InputError("Export to ONNX needs the package onnx: `pip install 'lm-pipeline[onnx]'`.") from error


def export_onnx_model(model: LanguageModel, folder: Path) -> None:
    """Write `model.onnx`: input `tokens` (int64, batch x time), output `logits` (float32, batch x time x vocabulary).

    A text begins with every call: no state is carried. Models with a limit read `context_length` tokens at most.

    Args:
        model: any neural model, on the CPU and in evaluation mode; its norms and its attention kernel are replaced by
            equal ones that can be written.
        folder: an existing folder.

    Raises:
        InputError: the package onnx is not installed.
    """
    require_onnx()
    model.set_attention_kernel("explicit")  # the fused kernel takes its settings from shapes, which are open here
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, nn.RMSNorm):
                setattr(parent, name, _WrittenOutRmsNorm(part))
    open_axes = {0: "batch", 1: "time"}
    tokens_BT = torch.zeros(2, min(8, model.context_length), dtype=torch.int64)
    with warnings.catch_warnings():
        # Deprecation of the writer, and notes on constants of the trace; tests run the file at other shapes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _TokensToLogits(model),
            (tokens_BT,),
            str(folder / ONNX_MODEL),
            input_names=["tokens"],
            output_names=["logits"],
            dynamic_axes={"tokens": open_axes, "logits": open_axes},
            dynamo=False,
        )
