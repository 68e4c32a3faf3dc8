"""A trained model for other programs: what `lm-pipeline export` writes. Imports torch."""

import shutil
from pathlib import Path
from typing import Any

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.errors import InputError
from lm_pipeline.models.gguf import check_form, export_gguf_model, require_gguf
from lm_pipeline.models.huggingface.model import export_model, form_of
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.onnx import export_onnx_model, require_onnx
from lm_pipeline.models.storage import load_config, load_model
from lm_pipeline.project import Project
from lm_pipeline.tokenization.controls import CONTROLS_FILE
from lm_pipeline.tokenization.huggingface import export_tokenizer
from lm_pipeline.tokenization.loading import load_tokenizer, tokenizer_file, tokenizer_files
from lm_pipeline.trained import current_checkpoint


def export_huggingface(project: Project, experiment: str, folder: Path) -> dict[str, Any]:
    """Write an experiment's model and tokenizer as `AutoModelForCausalLM` and `AutoTokenizer` load them.

    Args:
        project: where it is declared and trained.
        experiment: its name.
        folder: where to write; made where it is absent, and else empty.

    Returns:
        {"experiment", "model_type": theirs, "folder", "files"}.

    Raises:
        MissingArtifactError: there is no such experiment, or it is not trained.
        InputError: its model has no form that Hugging Face knows, or the folder is not empty.
    """
    model, tokenizer = _open(project, experiment, folder)
    form_of(model.spec)  # refuses before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    loaded = load_tokenizer(tokenizer_file(tokenizer))
    kind = export_model(model, folder, loaded.controls)
    if loaded.is_lossless:
        export_tokenizer(loaded, tokenizer.manifest["spec"]["tokenizer"]["algorithm"], model.context_length, folder)
    else:
        _copy_tokenizer(tokenizer, folder)
    return _written(experiment, kind, folder)


def export_onnx(project: Project, experiment: str, folder: Path) -> dict[str, Any]:
    """Write an experiment's model as `model.onnx`, and its tokenizer.

    That is sentencepiece's `tokenizer.model`, or the files of a pretrained one.

    Every neural family can be written. What is read begins with BOS.

    Args:
        project: where it is declared and trained.
        experiment: its name.
        folder: where to write; made where it is absent, and else empty.

    Returns:
        {"experiment", "model_type": the family, "folder", "files"}.

    Raises:
        MissingArtifactError: there is no such experiment, or it is not trained.
        InputError: it is an n-gram model, the folder is not empty, or the extra `onnx` is not installed.
    """
    model, tokenizer = _open(project, experiment, folder)
    require_onnx()
    folder.mkdir(parents=True, exist_ok=True)
    export_onnx_model(model, folder)
    _copy_tokenizer(tokenizer, folder)
    return _written(experiment, model.spec.family, folder)


def export_gguf(project: Project, experiment: str, folder: Path) -> dict[str, Any]:
    """Write an experiment's model and tokenizer as `model.gguf`, which llama.cpp runs.

    Args:
        project: where it is declared and trained.
        experiment: its name.
        folder: where to write; made where it is absent, and else empty.

    Returns:
        {"experiment", "model_type": the architecture, "folder", "files"}.

    Raises:
        MissingArtifactError: there is no such experiment, or it is not trained.
        InputError: it has no form that llama.cpp computes, the folder is not empty, or the extra `gguf` is missing.
    """
    model, tokenizer = _open(project, experiment, folder)
    loaded = load_tokenizer(tokenizer_file(tokenizer))
    require_gguf()
    check_form(model, loaded)  # refuses before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    algorithm = tokenizer.manifest["spec"]["tokenizer"]["algorithm"]
    kind = export_gguf_model(model, loaded, algorithm, experiment, folder)
    return _written(experiment, kind, folder)


def _open(project: Project, experiment: str, folder: Path) -> tuple[LanguageModel, Artifact]:
    """The model and its tokenizer's artifact; refuses an n-gram model and a folder that is not empty."""
    checkpoint = current_checkpoint(project, experiment).verify()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and not empty: give a new folder.")
    if load_config(checkpoint.files_dir)["family"] == "ngram":
        raise InputError(f"{experiment} is an n-gram model: only neural models can be exported.")
    model = load_model(checkpoint.files_dir)
    entry = checkpoint.inputs["tokenizer"]
    return model, Store(project.home.artifacts).open(entry["stage"], entry["key"])


def _copy_tokenizer(tokenizer: Artifact, folder: Path) -> None:
    """The tokenizer's own files; those of a pretrained model are what it came with."""
    for path in tokenizer_files(tokenizer):
        if path.name != CONTROLS_FILE:
            shutil.copyfile(path, folder / path.name)


def _written(experiment: str, kind: str, folder: Path) -> dict[str, Any]:
    files = sorted(path.name for path in folder.iterdir())
    return {"experiment": experiment, "model_type": kind, "folder": str(folder), "files": files}


EXPORTS = {"hf": export_huggingface, "onnx": export_onnx, "gguf": export_gguf}
"""Formats, and what writes them."""
