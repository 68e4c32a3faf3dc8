"""A folder of theirs and a model of ours, both ways. Nothing of `transformers` is imported."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from lm_pipeline.errors import InputError, nearest
from lm_pipeline.models.huggingface import bert, gpt2, llama
from lm_pipeline.models.huggingface.entries import AttentionSpec, export_weights, import_weights, unused_tensors
from lm_pipeline.models.language_model import LanguageModel, NeuralSpec, build_model
from lm_pipeline.models.storage import CONFIG, WEIGHTS
from lm_pipeline.specs.model import EncoderModel, TransformerModel
from lm_pipeline.tokenization.controls import OURS, Controls

FORMS: dict[str, ModuleType] = {"gpt2": gpt2, "llama": llama, "bert": bert}
"""Their `model_type`, and what knows it: `FIXED`, `entries`, `import_spec`, `export_config`."""

INDEX = "model.safetensors.index.json"
"""Says which of several files holds which tensor."""

_NEVER = {"embedding_rank": None, "share_layers": False, "qk_norm": False}


def read_config(folder: Path) -> dict[str, Any]:
    """Their `config.json`.

    Raises:
        InputError: there is none, or it is no JSON object.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} has no {CONFIG}: give a folder that Hugging Face transformers has saved.") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is no configuration: expected a JSON object.")
    return config


def import_spec(config: Mapping[str, Any]) -> tuple[AttentionSpec, int, int]:
    """Our spec, vocabulary size and context length for a `config.json` of theirs.

    Raises:
        InputError: the model is of another form, uses what ours has not, or the configuration lacks something.
    """
    kind = config.get("model_type", "")
    if kind not in FORMS:
        raise InputError(f"model_type {kind!r} is none that can be imported. {nearest(str(kind), FORMS)}")
    try:
        return FORMS[kind].import_spec(config)
    except KeyError as error:
        raise InputError(f"config.json of the {kind} model does not say {error}.") from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Their tensors, of one file or of several.

    Raises:
        InputError: the folder has no safetensors.
    """
    names = [WEIGHTS]
    if (folder / INDEX).is_file():
        names = sorted(set(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()))
    for name in names:
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} has no {name}. Weights are read from safetensors only: where there is a pickle, save the"
                " model again with `save_pretrained`."
            )
    return {key: tensor for name in names for key, tensor in load_file(folder / name).items()}


def import_model(folder: Path) -> LanguageModel:
    """A model of theirs, ready to evaluate; see `import_all_there_is`."""
    return import_all_there_is(folder)[0]


def import_all_there_is(folder: Path) -> tuple[LanguageModel, list[str]]:
    """A model of theirs, ready to evaluate, and the names of weights in the folder that it has no place for.

    Args:
        folder: holds their `config.json` and safetensors.

    Raises:
        InputError: the model is of another form, or the folder is incomplete or does not fit its configuration.
    """
    config = read_config(folder)
    spec, vocab_size, context_length = import_spec(config)
    form = FORMS[config["model_type"]]
    theirs = _named_as_saved(read_weights(folder), config["model_type"])
    entries = form.entries(spec)
    used = {name for entry in entries for name in entry.theirs}
    weights = import_weights(theirs, entries)
    if form is bert:
        bert.add_token_types(weights, theirs)
        used.add(bert.TYPES)
    model = build_model(spec, vocab_size, context_length)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"The weights in {folder} do not fit its {CONFIG}: {error}") from error
    return model.requires_grad_(False).eval(), unused_tensors(theirs, used)


def _named_as_saved(theirs: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """First releases have names of their own: GPT-2's lack a prefix, BERT's norms have TensorFlow's gamma and beta."""
    if kind == "gpt2" and "wte.weight" in theirs:
        return {f"transformer.{name}": tensor for name, tensor in theirs.items()}
    if kind == "bert":
        return {_bert_name(name): tensor for name, tensor in theirs.items()}
    return theirs


def _bert_name(name: str) -> str:
    for released, saved in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        if name.endswith(released):
            return name.removesuffix(released) + saved
    return name


def form_of(spec: NeuralSpec) -> str:
    """Which form of theirs a model has.

    Raises:
        InputError: none; the message names the fields that stand in the way.
    """
    if not isinstance(spec, TransformerModel | EncoderModel):
        raise InputError(
            f"Hugging Face has no {spec.family!r} language model: only Transformers can be exported to it or"
            " llama.cpp. Other neural families go to ONNX."
        )
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
    wanted = FORMS[kind].FIXED | _NEVER
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


def export_model(model: LanguageModel, folder: Path, controls: Controls = OURS) -> str:
    """Write `config.json` and `model.safetensors` as theirs.

    Args:
        model: a Transformer of a form that they know.
        folder: an existing folder.
        controls: control ids of its vocabulary.

    Returns:
        Their `model_type`.

    Raises:
        InputError: the model has none of their forms.
    """
    kind, spec = form_of(model.spec), model.spec
    assert isinstance(spec, TransformerModel | EncoderModel)
    weights = export_weights(model.state_dict(), FORMS[kind].entries(spec))
    if kind == "bert":
        weights |= bert.no_token_types(spec)
    config = {
        "model_type": kind,
        "vocab_size": model.vocab_size,
        "tie_word_embeddings": spec.tie_embeddings,
        "bos_token_id": controls.bos,
        "eos_token_id": controls.eos,
        "pad_token_id": controls.pad,
        **FORMS[kind].export_config(spec, model.context_length),
    }
    # Metadata says how to read the tensors; transformers refuses a file without it.
    save_file({name: part.detach().cpu() for name, part in weights.items()}, folder / WEIGHTS, {"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return kind
