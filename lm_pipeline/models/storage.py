"""A trained model on disk: `model.safetensors` and `config.json`."""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from lm_pipeline.errors import CorruptArtifactError, InputError
from lm_pipeline.models.language_model import LanguageModel, NeuralSpec, build_model

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def save_model(weights: dict[str, torch.Tensor], config: dict[str, Any], directory: Path) -> None:
    """Write both files; equal weights give equal bytes."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, directory / WEIGHTS)
    (directory / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load_config(directory: Path) -> dict[str, Any]:
    """The `config.json` of a trained model of any family.

    Raises:
        InputError: there is none.
    """
    try:
        return json.loads((directory / CONFIG).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{directory} has no {CONFIG}: give a folder that training has written.") from None


def load_model(directory: Path, device: str = "cpu") -> LanguageModel:
    """The neural model of a folder, ready to evaluate (dropout off, no gradients).

    Raises:
        InputError: the folder holds no neural model.
        CorruptArtifactError: the weights do not fit the configuration.
    """
    config = load_config(directory)
    if config["family"] == "ngram":
        raise InputError(f"{directory} holds an n-gram model: load it with lm_pipeline.models.ngram.")
    spec = TypeAdapter[NeuralSpec](NeuralSpec).validate_python(config["model"])
    model = build_model(spec, config["vocab_size"], config["context_length"])
    try:
        model.load_state_dict(load_file(directory / WEIGHTS))
    except RuntimeError as error:
        raise CorruptArtifactError(f"{directory / WEIGHTS} does not fit {CONFIG}: {error}") from error
    return model.to(device).requires_grad_(False).eval()
