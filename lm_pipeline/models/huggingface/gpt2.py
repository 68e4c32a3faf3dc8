"""`GPT2LMHeadModel`: Radford et al. 2019."""

from collections.abc import Mapping
from typing import Any

from lm_pipeline.models.huggingface.entries import (
    THEIR_ACTIVATIONS,
    AttentionSpec,
    Entry,
    activation,
    linear,
    refuse,
    untied,
)
from lm_pipeline.specs.model import TransformerModel

FIXED = {"positions": "learned", "norm": "layer", "final_norm": True, "norm_position": "pre", "output_bias": False}
"""What the form leaves no choice in."""


def entries(spec: AttentionSpec) -> list[Entry]:
    """Its tensors."""
    table = [
        Entry("embedding.weight", ("transformer.wte.weight",)),
        Entry("backbone.positions.table_TD", ("transformer.wpe.weight",)),
        *linear("backbone.norm", "transformer.ln_f", bias=True),
    ]
    for layer in range(spec.num_layers):
        ours, theirs = f"backbone.blocks.{layer}", f"transformer.h.{layer}"
        table += linear(f"{ours}.attention_norm", f"{theirs}.ln_1", bias=True)
        table += linear(f"{ours}.attention.qkv", f"{theirs}.attn.c_attn", bias=True, transposed=True)
        table += linear(f"{ours}.attention.out", f"{theirs}.attn.c_proj", bias=True, transposed=True)
        table += linear(f"{ours}.mlp_norm", f"{theirs}.ln_2", bias=True)
        table += linear(f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", bias=True, transposed=True)
        table += linear(f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", bias=True, transposed=True)
    return table + untied(spec)


def import_spec(config: Mapping[str, Any]) -> tuple[AttentionSpec, int, int]:
    """Our spec, vocabulary size and context length."""
    refuse(config, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False, scale_attn_weights=True)
    width = config["n_embd"]
    spec = TransformerModel(
        **FIXED,
        num_layers=config["n_layer"],
        width=width,
        num_heads=config["n_head"],
        mlp_ratio=(config.get("n_inner") or 4 * width) / width,
        activation=activation(config.get("activation_function", "gelu_new")),
        norm_epsilon=config.get("layer_norm_epsilon", 1e-5),
        tie_embeddings=config.get("tie_word_embeddings", True),
    )
    return spec, config["vocab_size"], config["n_positions"]


def export_config(spec: AttentionSpec, context_length: int) -> dict[str, Any]:
    """What `config.json` says of the form."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": spec.width,
        "n_layer": spec.num_layers,
        "n_head": spec.num_heads,
        "n_positions": context_length,
        "n_inner": spec.mlp_width,
        "activation_function": THEIR_ACTIVATIONS[spec.activation],
        "layer_norm_epsilon": spec.norm_epsilon,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), spec.dropout),
    }
