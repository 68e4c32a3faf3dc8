"""Models from and for Hugging Face transformers: GPT-2, Llama and BERT, weights and configuration, both ways.

One table per form says which of their tensors is which of ours; both directions read it. Nothing of `transformers` is
imported: a folder of theirs is `config.json` and `model.safetensors`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lm_pipeline.errors import InputError, nearest
from lm_pipeline.models.language_model import LanguageModel, NeuralSpec, build_model
from lm_pipeline.models.storage import CONFIG, WEIGHTS
from lm_pipeline.specs.model import EncoderModel, TransformerModel
from lm_pipeline.tokenization.tokenizer import BOS, EOS, PAD

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


def _linear(ours: str, theirs: str, bias: bool, transposed: bool = False) -> list[Entry]:
    return [Entry(f"{ours}.weight", (f"{theirs}.weight",), (), transposed)] + (
        [Entry(f"{ours}.bias", (f"{theirs}.bias",))] if bias else []
    )


def _joined(ours: str, theirs: tuple[str, ...], rows: tuple[int, ...], bias: bool) -> list[Entry]:
    kinds = ("weight", "bias") if bias else ("weight",)
    return [Entry(f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in theirs), rows) for kind in kinds]


def _heads(spec: AttentionSpec) -> tuple[int, int, int]:
    """Rows of queries, keys and values."""
    keys = spec.kv_heads * spec.width_of_head
    return spec.num_heads * spec.width_of_head, keys, keys


def gpt2_entries(spec: AttentionSpec) -> list[Entry]:
    """`GPT2LMHeadModel`."""
    entries = [
        Entry("embedding.weight", ("transformer.wte.weight",)),
        Entry("backbone.positions.table_TD", ("transformer.wpe.weight",)),
        *_linear("backbone.norm", "transformer.ln_f", bias=True),
    ]
    for layer in range(spec.num_layers):
        ours, theirs = f"backbone.blocks.{layer}", f"transformer.h.{layer}"
        entries += _linear(f"{ours}.attention_norm", f"{theirs}.ln_1", bias=True)
        entries += _linear(f"{ours}.attention.qkv", f"{theirs}.attn.c_attn", bias=True, transposed=True)
        entries += _linear(f"{ours}.attention.out", f"{theirs}.attn.c_proj", bias=True, transposed=True)
        entries += _linear(f"{ours}.mlp_norm", f"{theirs}.ln_2", bias=True)
        entries += _linear(f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", bias=True, transposed=True)
        entries += _linear(f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", bias=True, transposed=True)
    return entries + _untied(spec)


def llama_entries(spec: AttentionSpec) -> list[Entry]:
    """`LlamaForCausalLM`."""
    entries = [
        Entry("embedding.weight", ("model.embed_tokens.weight",)),
        Entry("backbone.norm.weight", ("model.norm.weight",)),
    ]
    for layer in range(spec.num_layers):
        ours, theirs = f"backbone.blocks.{layer}", f"model.layers.{layer}"
        parts = tuple(f"{theirs}.self_attn.{part}_proj" for part in "qkv")
        gated = (f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj")
        entries += _linear(f"{ours}.attention_norm", f"{theirs}.input_layernorm", bias=False)
        entries += _joined(f"{ours}.attention.qkv", parts, _heads(spec), spec.attention_bias)
        entries += _linear(f"{ours}.attention.out", f"{theirs}.self_attn.o_proj", spec.attention_bias)
        entries += _linear(f"{ours}.mlp_norm", f"{theirs}.post_attention_layernorm", bias=False)
        entries += _joined(f"{ours}.mlp.up", gated, (spec.mlp_width, spec.mlp_width), spec.mlp_bias)
        entries += _linear(f"{ours}.mlp.down", f"{theirs}.mlp.down_proj", spec.mlp_bias)
    return entries + _untied(spec)


def bert_entries(spec: AttentionSpec) -> list[Entry]:
    """`BertForMaskedLM`. Its token types are added to the positions on import, and are zero on export."""
    stack = "backbone.stack"
    entries = [
        Entry("embedding.weight", ("bert.embeddings.word_embeddings.weight",)),
        Entry(f"{stack}.positions.table_TD", ("bert.embeddings.position_embeddings.weight",)),
        *_linear(f"{stack}.embedding_norm", "bert.embeddings.LayerNorm", bias=True),
        *_linear("backbone.head", "cls.predictions.transform.dense", bias=True),
        *_linear("backbone.head_norm", "cls.predictions.transform.LayerNorm", bias=True),
        Entry("output_bias_V", ("cls.predictions.bias",)),
    ]
    for layer in range(spec.num_layers):
        ours, theirs = f"{stack}.blocks.{layer}", f"bert.encoder.layer.{layer}"
        parts = tuple(f"{theirs}.attention.self.{part}" for part in ("query", "key", "value"))
        entries += _joined(f"{ours}.attention.qkv", parts, _heads(spec), bias=True)
        entries += _linear(f"{ours}.attention.out", f"{theirs}.attention.output.dense", bias=True)
        entries += _linear(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm", bias=True)
        entries += _linear(f"{ours}.mlp.up", f"{theirs}.intermediate.dense", bias=True)
        entries += _linear(f"{ours}.mlp.down", f"{theirs}.output.dense", bias=True)
        entries += _linear(f"{ours}.mlp_norm", f"{theirs}.output.LayerNorm", bias=True)
    return entries


def _untied(spec: AttentionSpec) -> list[Entry]:
    return [] if spec.tie_embeddings else [Entry("output_weight_VE", ("lm_head.weight",))]


ENTRIES: dict[str, Callable[[AttentionSpec], list[Entry]]] = {
    "gpt2": gpt2_entries,
    "llama": llama_entries,
    "bert": bert_entries,
}
"""Their `model_type` and the table of its tensors."""

ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
"""Names of theirs and of ours."""

_FIXED: dict[str, dict[str, Any]] = {
    "gpt2": {"positions": "learned", "norm": "layer", "final_norm": True, "norm_position": "pre", "output_bias": False},
    "llama": {"positions": "rotary", "norm": "rms", "final_norm": True, "norm_position": "pre", "output_bias": False}
    | {"activation": "swiglu"},
    "bert": {"positions": "learned", "norm": "layer", "final_norm": False, "norm_position": "post", "output_bias": True}
    | {"embedding_norm": True, "tie_embeddings": True},
}
"""What a form leaves no choice in."""

_NEVER = {"embedding_rank": None, "share_layers": False, "qk_norm": False}


def import_spec(config: Mapping[str, Any]) -> tuple[AttentionSpec, int, int]:
    """Our spec, vocabulary size and context length for a `config.json` of theirs.

    Raises:
        InputError: the model is of another form, or uses what ours has not.
    """
    kind = config.get("model_type", "")
    if kind not in ENTRIES:
        raise InputError(f"model_type {kind!r} is none that can be imported. {nearest(str(kind), ENTRIES)}")
    if kind == "gpt2":
        _refuse(config, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False, scale_attn_weights=True)
        width = config["n_embd"]
        spec = TransformerModel(
            **_FIXED[kind],
            num_layers=config["n_layer"],
            width=width,
            num_heads=config["n_head"],
            mlp_ratio=(config.get("n_inner") or 4 * width) / width,
            activation=_activation(config["activation_function"]),
            norm_epsilon=config["layer_norm_epsilon"],
            tie_embeddings=config.get("tie_word_embeddings", True),
        )
        return spec, config["vocab_size"], config["n_positions"]
    width, heads = config["hidden_size"], config["num_attention_heads"]
    shape = {
        "num_layers": config["num_hidden_layers"],
        "width": width,
        "num_heads": heads,
        "mlp_ratio": config["intermediate_size"] / width,
    }
    if kind == "bert":
        _refuse(config, is_decoder=False)
        spec = EncoderModel(
            **_FIXED[kind],
            **shape,
            activation=_activation(config["hidden_act"]),
            norm_epsilon=config["layer_norm_eps"],
        )
        return spec, config["vocab_size"], config["max_position_embeddings"]
    _refuse(config, hidden_act="silu")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(f"rope_type {rope['rope_type']!r} is not there: only unscaled rotary positions are.")
    spec = TransformerModel(
        **_FIXED[kind],
        **shape,
        num_kv_heads=config.get("num_key_value_heads"),
        head_width=config.get("head_dim"),
        rope_base=rope.get("rope_theta", config.get("rope_theta", 10_000.0)),
        norm_epsilon=config["rms_norm_eps"],
        attention_bias=config.get("attention_bias", False),
        mlp_bias=config.get("mlp_bias", False),
        tie_embeddings=config.get("tie_word_embeddings", False),
    )
    return spec, config["vocab_size"], config["max_position_embeddings"]


def _activation(name: str) -> Any:
    if name not in ACTIVATIONS:
        raise InputError(f"activation {name!r} is not there. {nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _refuse(config: Mapping[str, Any], **expected: Any) -> None:
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise InputError(f"config.json has {name}: {config[name]!r}; only {value!r} can be imported.")


def import_weights(theirs: Mapping[str, Tensor], entries: list[Entry]) -> dict[str, Tensor]:
    """Our tensors from theirs.

    Raises:
        InputError: a tensor is missing.
    """
    missing = [name for entry in entries for name in entry.theirs if name not in theirs]
    if missing:
        raise InputError(f"model.safetensors lacks {len(missing)} tensors, the first is {missing[0]!r}.")
    weights = {}
    for entry in entries:
        joined = torch.cat([theirs[name].float() for name in entry.theirs])
        weights[entry.ours] = joined.t().contiguous() if entry.transposed else joined
    return weights


def export_weights(ours: Mapping[str, Tensor], entries: list[Entry]) -> dict[str, Tensor]:
    """Their tensors from ours."""
    weights = {}
    for entry in entries:
        tensor = ours[entry.ours]
        parts = tensor.split(entry.rows) if entry.rows else (tensor.t() if entry.transposed else tensor,)
        weights |= {name: part.contiguous() for name, part in zip(entry.theirs, parts, strict=True)}
    return weights


def import_model(folder: Path) -> LanguageModel:
    """A model of theirs, ready to evaluate.

    Args:
        folder: holds their `config.json` and `model.safetensors`.

    Raises:
        InputError: the model is of another form or the folder is incomplete.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} has no {name}: give a folder that `save_pretrained` has written.")
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    spec, vocab_size, context_length = import_spec(config)
    theirs = load_file(folder / WEIGHTS)
    weights = import_weights(theirs, ENTRIES[config["model_type"]](spec))
    if config["model_type"] == "bert":
        types = theirs["bert.embeddings.token_type_embeddings.weight"].float()
        weights["backbone.stack.positions.table_TD"] += types[0]
    model = build_model(spec, vocab_size, context_length)
    model.load_state_dict(weights)
    return model.requires_grad_(False).eval()


def form_of(spec: NeuralSpec) -> str:
    """Which form of theirs a model has.

    Raises:
        InputError: none; the message names the fields that stand in the way.
    """
    if not isinstance(spec, TransformerModel | EncoderModel):
        raise InputError(f"Hugging Face has no {spec.family!r} language model: only Transformers can be exported.")
    kinds = ("bert",) if isinstance(spec, EncoderModel) else ("gpt2", "llama")
    problems = {kind: _differences(spec, kind) for kind in kinds}
    for kind, found in problems.items():
        if not found:
            return kind
    raise InputError(
        "The model has no form that Hugging Face knows. "
        + " ".join(f"For {kind}: {', '.join(found)}." for kind, found in problems.items())
    )


def _differences(spec: AttentionSpec, kind: str) -> list[str]:
    wanted = _FIXED[kind] | _NEVER
    if isinstance(spec, TransformerModel):
        wanted |= {"parallel_blocks": False, "embedding_norm": False}
    if kind != "llama":
        wanted |= {"attention_bias": True, "mlp_bias": True, "norm_bias": True}
    found = [f"{name} must be {value!r}" for name, value in wanted.items() if getattr(spec, name) != value]
    if kind != "llama":
        if spec.activation == "swiglu":
            found.append("activation must not be 'swiglu'")
        if spec.kv_heads != spec.num_heads or spec.width_of_head * spec.num_heads != spec.width:
            found.append("heads must be num_heads times width / num_heads")
    return found


def export_config(spec: AttentionSpec, kind: str, vocab_size: int, context_length: int) -> dict[str, Any]:
    """Their `config.json`."""
    names = {ours: theirs for theirs, ours in ACTIVATIONS.items()} | {"gelu_tanh": "gelu_new"}
    ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    common = {"model_type": kind, "vocab_size": vocab_size, "tie_word_embeddings": spec.tie_embeddings, **ids}
    dropout = spec.dropout
    if kind == "gpt2":
        return common | {
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": spec.width,
            "n_layer": spec.num_layers,
            "n_head": spec.num_heads,
            "n_positions": context_length,
            "n_inner": spec.mlp_width,
            "activation_function": names[spec.activation],
            "layer_norm_epsilon": spec.norm_epsilon,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout),
        }
    common |= {
        "hidden_size": spec.width,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": spec.num_heads,
        "intermediate_size": spec.mlp_width,
        "max_position_embeddings": context_length,
    }
    if kind == "bert":
        return common | {
            "architectures": ["BertForMaskedLM"],
            "hidden_act": names[spec.activation],
            "layer_norm_eps": spec.norm_epsilon,
            "type_vocab_size": 1,
            **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), dropout),
        }
    return common | {
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.width_of_head,
        "rms_norm_eps": spec.norm_epsilon,
        "rope_theta": spec.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": spec.rope_base},
        "attention_bias": spec.attention_bias,
        "mlp_bias": spec.mlp_bias,
        "attention_dropout": dropout,
    }


def export_model(model: LanguageModel, folder: Path) -> str:
    """Write `config.json` and `model.safetensors` as theirs.

    Args:
        model: a Transformer of a form that they know.
        folder: an existing folder.

    Returns:
        Their `model_type`.

    Raises:
        InputError: the model has none of their forms.
    """
    kind, spec = form_of(model.spec), model.spec
    assert isinstance(spec, TransformerModel | EncoderModel)
    weights = export_weights(model.state_dict(), ENTRIES[kind](spec))
    if kind == "bert":
        weights["bert.embeddings.token_type_embeddings.weight"] = torch.zeros(1, spec.width)
    config = export_config(spec, kind, model.vocab_size, model.context_length)
    # Metadata says how to read the tensors; transformers refuses a file without it.
    save_file({name: part.detach().cpu() for name, part in weights.items()}, folder / WEIGHTS, {"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return kind
