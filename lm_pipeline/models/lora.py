"""Low-rank adapters: a frozen model learns W + (alpha / rank) B A, of which A and B alone are trained.

Paper: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models". Reference implementation: peft. A begins at
random and B at zero, so training starts from the frozen model itself. Merged, the adapters cost nothing.

Shapes: R rank, I and O units in and out.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lm_pipeline.errors import InputError
from lm_pipeline.specs.model import Lora

BASE, DOWN, UP = ".base.", ".down_RI", ".up_OR"
"""How names of an adapted layer's tensors tell the frozen ones, A and B."""


POSITIONS = "positions.table_TD"
"""How the name of a table of learned positions ends."""


class LowRankLinear(nn.Module):
    """A frozen linear layer and its adapter."""

    def __init__(self, base: nn.Linear, spec: Lora) -> None:
        super().__init__()
        self.base = base
        self.scale = spec.alpha / spec.rank
        self.dropout = nn.Dropout(spec.dropout)
        self.down_RI = nn.Parameter(base.weight.new_empty(spec.rank, base.in_features))
        self.up_OR = nn.Parameter(base.weight.new_zeros(base.out_features, spec.rank))
        nn.init.kaiming_uniform_(self.down_RI, a=math.sqrt(5))

    @property
    def weight(self) -> Tensor:
        """The matrix that it amounts to."""
        return self.base.weight + self.scale * self.up_OR @ self.down_RI

    def forward(self, x: Tensor) -> Tensor:
        """The frozen layer's output and the adapter's."""
        return self.base(x) + self.scale * F.linear(F.linear(self.dropout(x), self.down_RI), self.up_OR)


def add_adapters(model: nn.Module, spec: Lora) -> None:
    """Freeze a model and give each layer that the spec names an adapter, in place."""
    model.requires_grad_(False)
    found = [
        (part, name, layer)
        for part in model.modules()
        for name, layer in part.named_children()
        if name in spec.targets and isinstance(layer, nn.Linear)
    ]
    assert found, f"no layer is called {spec.targets}"
    for part, name, layer in found:
        setattr(part, name, LowRankLinear(layer, spec))


def merge_adapters(weights: Mapping[str, Tensor], spec: Lora) -> dict[str, Tensor]:
    """The weights of the plain model that an adapted one amounts to: equal logits without adapters."""
    merged = {}
    for name, tensor in weights.items():
        if name.endswith((DOWN, UP)):
            continue
        plain = name.replace(BASE, ".")
        if plain != name and name.endswith("weight"):
            stem = name.removesuffix(f"{BASE}weight")
            merged[plain] = tensor + spec.alpha / spec.rank * weights[stem + UP] @ weights[stem + DOWN]
        else:
            merged[plain] = tensor
    return merged


@torch.no_grad()
def load_base(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Begin with the weights of a trained model; adapters, where there are some, stay as they are.

    A table of positions may be longer than the model's: its first rows are taken.

    Raises:
        InputError: the weights are of a model of another shape.
    """
    own = {name.replace(BASE, "."): tensor for name, tensor in model.state_dict().items()}
    own = {name: tensor for name, tensor in own.items() if not name.endswith((DOWN, UP))}
    for name, tensor in weights.items():
        if name.endswith(POSITIONS) and name in own and len(tensor) < len(own[name]):
            raise InputError(
                f"The base has learned positions for {len(tensor)} tokens, and this experiment's context_length is"
                f" {len(own[name])}: those behind would begin untrained. Set `training: {{context_length:"
                f" {len(tensor)}}}` or less; a longer context needs a base with rotary or sinusoidal positions."
            )
    weights = {
        name: tensor[: own[name].shape[0]] if name.endswith(POSITIONS) and name in own else tensor
        for name, tensor in weights.items()
    }
    wrong = sorted(own.keys() ^ weights.keys())
    wrong += sorted(name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape)
    if wrong:
        raise InputError(
            f"The base has other weights than this model: {len(wrong)} differ, the first is {wrong[0]!r}. Give the"
            " experiment the `model` and `context_length` of its base; `lora` and dropout may differ."
        )
    for name, tensor in own.items():
        tensor.copy_(weights[name])
