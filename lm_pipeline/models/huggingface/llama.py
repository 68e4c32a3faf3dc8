"""`LlamaForCausalLM`: Touvron et al. 2023."""

from collections.abc import Mapping
from typing import Any

from lm_pipeline.errors import InputError
from lm_pipeline.models.huggingface.entries import AttentionSpec, Entry, heads, joined, linear, refuse, untied
from lm_pipeline.specs.model import TransformerModel

FIXED = {
    "positions": "rotary",
    "norm": "rms",
    "final_norm": True,
    "norm_position": "pre",
    "output_bias": False,
    "activation": "swiglu",
}
"""What the form leaves no choice in."""


def entries(spec: AttentionSpec) -> list[Entry]:
    """Its tensors."""
    table = [
        Entry("embedding.weight", ("model.embed_tokens.weight",)),
        Entry("backbone.norm.weight", ("model.norm.weight",)),
    ]
    for layer in range(spec.num_layers):
        ours, theirs = f"backbone.blocks.{layer}", f"model.layers.{layer}"
        parts = tuple(f"{theirs}.self_attn.{part}_proj" for part in "qkv")
        gated = (f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj")
        table += linear(f"{ours}.attention_norm", f"{theirs}.input_layernorm", bias=False)
        table += joined(f"{ours}.attention.qkv", parts, heads(spec), bias=spec.attention_bias)
        table += linear(f"{ours}.attention.out", f"{theirs}.self_attn.o_proj", bias=spec.attention_bias)
        table += linear(f"{ours}.mlp_norm", f"{theirs}.post_attention_layernorm", bias=False)
        table += joined(f"{ours}.mlp.up", gated, (spec.mlp_width, spec.mlp_width), bias=spec.mlp_bias)
        table += linear(f"{ours}.mlp.down", f"{theirs}.mlp.down_proj", bias=spec.mlp_bias)
    return table + untied(spec)


def import_spec(config: Mapping[str, Any]) -> tuple[AttentionSpec, int, int]:
    """Our spec, vocabulary size and context length."""
    refuse(config, hidden_act="silu")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    scaling = rope.get("rope_type", rope.get("type", "default"))  # `type` before transformers 4.43
    if scaling != "default":
        raise InputError(f"rope_type {scaling!r} is not there: only unscaled rotary positions are.")
    spec = TransformerModel(
        **FIXED,
        num_layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        num_heads=config["num_attention_heads"],
        mlp_ratio=config["intermediate_size"] / config["hidden_size"],
        num_kv_heads=config.get("num_key_value_heads"),
        head_width=config.get("head_dim"),
        rope_base=rope.get("rope_theta", config.get("rope_theta", 10_000.0)),
        norm_epsilon=config.get("rms_norm_eps", 1e-6),
        attention_bias=config.get("attention_bias", False),
        mlp_bias=config.get("mlp_bias", False),
        tie_embeddings=config.get("tie_word_embeddings", False),
    )
    return spec, config["vocab_size"], config["max_position_embeddings"]


def export_config(spec: AttentionSpec, context_length: int) -> dict[str, Any]:
    """What `config.json` says of the form."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": spec.width,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": spec.num_heads,
        "intermediate_size": spec.mlp_width,
        "max_position_embeddings": context_length,
        "hidden_act": "silu",
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.width_of_head,
        "rms_norm_eps": spec.norm_epsilon,
        "rope_theta": spec.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": spec.rope_base},
        "attention_bias": spec.attention_bias,
        "mlp_bias": spec.mlp_bias,
        "attention_dropout": spec.dropout,
    }
