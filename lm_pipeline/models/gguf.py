"""Models for llama.cpp and what is built on it: one GGUF file with weights in float32 and the tokenizer.

Source: the `gguf` package, whose tables of names and writer are llama.cpp's own; the conventions of a form are those of
its `convert_hf_to_gguf.py`: GPT-2's matrices are stored output by input, and Llama's queries and keys with the two
halves of a head's units interleaved, because there rotations turn neighbours.
"""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lm_pipeline.errors import InputError
from lm_pipeline.models.gguf_tokenizer import add_pretrained, add_trained, pretrained_kind
from lm_pipeline.models.huggingface.entries import AttentionSpec, export_weights
from lm_pipeline.models.huggingface.model import FORMS, form_of
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.specs.model import TransformerModel
from lm_pipeline.tokenization.pretrained import PretrainedTokenizer
from lm_pipeline.tokenization.tokenizer import Tokenizer

GGUF_MODEL = "model.gguf"


def require_gguf() -> Any:
    """The package.

    Raises:
        InputError: it is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise InputError("Export to GGUF needs the package gguf: `pip install 'lm-pipeline[gguf]'`.") from error
    return gguf


def check_form(model: LanguageModel, tokenizer: Tokenizer) -> str:
    """The architecture's name there.

    Raises:
        InputError: the model or its tokenizer has no form that llama.cpp computes alike.
    """
    kind = form_of(model.spec)
    spec = model.spec
    if not isinstance(spec, TransformerModel):
        raise InputError(
            "GGUF is written for models that continue texts: an encoder can be exported as `hf` or `onnx`."
        )
    if kind == "gpt2" and spec.activation != "gelu_tanh":
        raise InputError(f"llama.cpp's gpt2 computes gelu_tanh, and this model's activation is {spec.activation!r}.")
    if isinstance(tokenizer, PretrainedTokenizer):
        pretrained_kind(tokenizer)
    return kind


def export_gguf_model(model: LanguageModel, tokenizer: Tokenizer, algorithm: str, name: str, folder: Path) -> str:
    """Write `model.gguf`.

    Args:
        model: a Transformer of GPT-2 or Llama form.
        tokenizer: its tokenizer.
        algorithm: "unigram", "bpe" or "char", as a tokenizer was trained here.
        name: what the file says the model is called.
        folder: an existing folder.

    Returns:
        The architecture.

    Raises:
        InputError: the package gguf is not installed, or see `check_form`.
    """
    gguf, kind, spec = require_gguf(), check_form(model, tokenizer), model.spec
    assert isinstance(spec, TransformerModel)
    writer = gguf.GGUFWriter(folder / GGUF_MODEL, kind)
    writer.add_name(name)
    _add_shape(writer, spec, kind, model)
    if isinstance(tokenizer, PretrainedTokenizer):
        add_pretrained(writer, gguf.TokenType, tokenizer)
    else:
        add_trained(writer, gguf.TokenType, tokenizer, algorithm)
    architecture = {"gpt2": gguf.MODEL_ARCH.GPT2, "llama": gguf.MODEL_ARCH.LLAMA}[kind]
    names = gguf.get_tensor_name_map(architecture, spec.num_layers)
    weights = export_weights(model.state_dict(), FORMS[kind].entries(spec))
    for theirs, tensor in weights.items():
        name_there = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        assert name_there is not None, theirs
        writer.add_tensor(name_there, _stored(theirs, tensor, spec, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kind


def _add_shape(writer: Any, spec: TransformerModel, kind: str, model: LanguageModel) -> None:
    writer.add_file_type(0)  # all float32
    writer.add_vocab_size(model.vocab_size)
    writer.add_context_length(model.context_length)
    writer.add_embedding_length(spec.width)
    writer.add_block_count(spec.num_layers)
    writer.add_feed_forward_length(spec.mlp_width)
    writer.add_head_count(spec.num_heads)
    if kind == "gpt2":
        writer.add_layer_norm_eps(spec.norm_epsilon)
        return
    writer.add_head_count_kv(spec.kv_heads)
    writer.add_key_length(spec.width_of_head)
    writer.add_value_length(spec.width_of_head)
    writer.add_layer_norm_rms_eps(spec.norm_epsilon)
    writer.add_rope_dimension_count(spec.width_of_head)
    writer.add_rope_freq_base(spec.rope_base)


def _stored(name: str, tensor: Tensor, spec: AttentionSpec, kind: str) -> np.ndarray:
    """A tensor of Hugging Face's as GGUF stores it."""
    array = tensor.float().cpu().numpy()
    if kind == "gpt2" and array.ndim == 2 and ".c_" in name:
        array = array.T
    for part, heads in (("q_proj", spec.num_heads), ("k_proj", spec.kv_heads)):
        if part in name:
            halves = array.reshape(heads, 2, len(array) // heads // 2, *array.shape[1:])
            array = halves.swapaxes(1, 2).reshape(array.shape)
    return np.ascontiguousarray(array)
