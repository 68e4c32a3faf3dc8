"""Which of their tensors is which of ours: what the tables of all forms are made of."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lm_pipeline.errors import InputError, nearest
from lm_pipeline.specs.model import EncoderModel, TransformerModel

AttentionSpec = TransformerModel | EncoderModel


class Entry(NamedTuple):
    """One of our tensors.

    Attributes:
        ours: its name.
        theirs: the tensors that are its rows, one after the other.
        rows: how many rows each of them is; empty for a single one.
        transposed: whether theirs is its transpose (GPT-2's Conv1D).
    """

    ours: str
    theirs: tuple[str, ...]
    rows: tuple[int, ...] = ()
    transposed: bool = False


def linear(ours: str, theirs: str, *, bias: bool, transposed: bool = False) -> list[Entry]:
    """A layer, or a norm, that is one of theirs."""
    return [Entry(f"{ours}.weight", (f"{theirs}.weight",), (), transposed)] + (
        [Entry(f"{ours}.bias", (f"{theirs}.bias",))] if bias else []
    )


def joined(ours: str, theirs: tuple[str, ...], rows: tuple[int, ...], *, bias: bool) -> list[Entry]:
    """A layer that is several of theirs, one below the other."""
    kinds = ("weight", "bias") if bias else ("weight",)
    return [Entry(f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in theirs), rows) for kind in kinds]


def heads(spec: AttentionSpec) -> tuple[int, int, int]:
    """Rows of queries, keys and values."""
    keys = spec.kv_heads * spec.width_of_head
    return spec.num_heads * spec.width_of_head, keys, keys


def untied(spec: AttentionSpec) -> list[Entry]:
    """The output layer, where it has weights of its own."""
    return [] if spec.tie_embeddings else [Entry("output_weight_VE", ("lm_head.weight",))]


ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
"""Names of theirs and of ours."""

THEIR_ACTIVATIONS = {ours: theirs for theirs, ours in ACTIVATIONS.items()} | {"gelu_tanh": "gelu_new"}
"""The other way round."""


def activation(name: str) -> Any:
    """Ours of theirs.

    Raises:
        InputError: there is none.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"activation {name!r} is not there. {nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def refuse(config: Mapping[str, Any], **expected: Any) -> None:
    """Refuse what ours has not.

    Raises:
        InputError: a setting has another value than the one that can be imported.
    """
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise InputError(f"config.json has {name}: {config[name]!r}; only {value!r} can be imported.")


CONSTANTS = ("attn.bias", "attn.masked_bias", "rotary_emb.inv_freq", "embeddings.position_ids")
"""Ends of names of what older releases saved and what is computed here: masks, frequencies, counts."""

TIED = ("lm_head.weight", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
"""Copies of other tensors, where a model ties them."""


def unused_tensors(theirs: Mapping[str, Tensor], used: Collection[str]) -> list[str]:
    """Names of weights that are not imported, in order; constants and copies of imported ones are not among them."""

    def is_copy(name: str) -> bool:
        return name in TIED and any(
            theirs[name].shape == theirs[other].shape and torch.equal(theirs[name], theirs[other]) for other in used
        )

    return sorted(name for name in theirs if name not in used and not name.endswith(CONSTANTS) and not is_copy(name))


def import_weights(theirs: Mapping[str, Tensor], entries: list[Entry]) -> dict[str, Tensor]:
    """Our tensors from theirs, in float32.

    Raises:
        InputError: a tensor is missing.
    """
    missing = [name for entry in entries for name in entry.theirs if name not in theirs]
    if missing:
        raise InputError(
            f"The weights lack {len(missing)} tensors that the model of config.json has; the first is {missing[0]!r}."
            " Save the whole model again with `save_pretrained`."
        )
    weights = {}
    for entry in entries:
        tensor = torch.cat([theirs[name].float() for name in entry.theirs])
        weights[entry.ours] = tensor.t().contiguous() if entry.transposed else tensor
    return weights


def export_weights(ours: Mapping[str, Tensor], entries: list[Entry]) -> dict[str, Tensor]:
    """Their tensors from ours."""
    weights = {}
    for entry in entries:
        tensor = ours[entry.ours]
        parts = tensor.split(entry.rows) if entry.rows else (tensor.t() if entry.transposed else tensor,)
        weights |= {name: part.contiguous() for name, part in zip(entry.theirs, parts, strict=True)}
    return weights
