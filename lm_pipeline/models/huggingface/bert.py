"""`BertForMaskedLM`: Devlin et al. 2018. Its token types are added to the positions on import, and zero on export."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lm_pipeline.errors import InputError
from lm_pipeline.models.huggingface.entries import (
    THEIR_ACTIVATIONS,
    AttentionSpec,
    Entry,
    activation,
    heads,
    joined,
    linear,
    refuse,
)
from lm_pipeline.specs.model import EncoderModel

FIXED = {
    "positions": "learned",
    "norm": "layer",
    "final_norm": False,
    "norm_position": "post",
    "output_bias": True,
    "embedding_norm": True,
    "tie_embeddings": True,
}
"""What the form leaves no choice in."""

TYPES = "bert.embeddings.token_type_embeddings.weight"
"""Their table of token types."""

_POSITIONS = "backbone.stack.positions.table_TD"


def entries(spec: AttentionSpec) -> list[Entry]:
    """Its tensors."""
    stack = "backbone.stack"
    table = [
        Entry("embedding.weight", ("bert.embeddings.word_embeddings.weight",)),
        Entry(_POSITIONS, ("bert.embeddings.position_embeddings.weight",)),
        *linear(f"{stack}.embedding_norm", "bert.embeddings.LayerNorm", bias=True),
        *linear("backbone.head", "cls.predictions.transform.dense", bias=True),
        *linear("backbone.head_norm", "cls.predictions.transform.LayerNorm", bias=True),
        Entry("output_bias_V", ("cls.predictions.bias",)),
    ]
    for layer in range(spec.num_layers):
        ours, theirs = f"{stack}.blocks.{layer}", f"bert.encoder.layer.{layer}"
        parts = tuple(f"{theirs}.attention.self.{part}" for part in ("query", "key", "value"))
        table += joined(f"{ours}.attention.qkv", parts, heads(spec), bias=True)
        table += linear(f"{ours}.attention.out", f"{theirs}.attention.output.dense", bias=True)
        table += linear(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm", bias=True)
        table += linear(f"{ours}.mlp.up", f"{theirs}.intermediate.dense", bias=True)
        table += linear(f"{ours}.mlp.down", f"{theirs}.output.dense", bias=True)
        table += linear(f"{ours}.mlp_norm", f"{theirs}.output.LayerNorm", bias=True)
    return table


def import_spec(config: Mapping[str, Any]) -> tuple[AttentionSpec, int, int]:
    """Our spec, vocabulary size and context length."""
    refuse(config, is_decoder=False, position_embedding_type="absolute")
    spec = EncoderModel(
        **FIXED,
        num_layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        num_heads=config["num_attention_heads"],
        mlp_ratio=config["intermediate_size"] / config["hidden_size"],
        activation=activation(config.get("hidden_act", "gelu")),
        norm_epsilon=config.get("layer_norm_eps", 1e-12),
    )
    return spec, config["vocab_size"], config["max_position_embeddings"]


def export_config(spec: AttentionSpec, context_length: int) -> dict[str, Any]:
    """What `config.json` says of the form."""
    return {
        "architectures": ["BertForMaskedLM"],
        "hidden_size": spec.width,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": spec.num_heads,
        "intermediate_size": spec.mlp_width,
        "max_position_embeddings": context_length,
        "hidden_act": THEIR_ACTIVATIONS[spec.activation],
        "layer_norm_eps": spec.norm_epsilon,
        "type_vocab_size": 1,
        **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), spec.dropout),
    }


def add_token_types(weights: dict[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Add the first type, which every token of a single text has, to the positions.

    Raises:
        InputError: there are no types.
    """
    if TYPES not in theirs:
        raise InputError(f"The weights lack {TYPES!r}. Save the whole model again with `save_pretrained`.")
    weights[_POSITIONS] = weights[_POSITIONS] + theirs[TYPES].float()[0]


def no_token_types(spec: AttentionSpec) -> dict[str, Tensor]:
    """Their table of types, which adds nothing."""
    return {TYPES: torch.zeros(1, spec.width)}
