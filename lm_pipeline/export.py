"""A trained model for other programs: what `lm-pipeline export` writes. Imports torch."""

import shutil
from pathlib import Path
from typing import Any

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.errors import InputError
from lm_pipeline.models.huggingface.model import export_model, form_of
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.onnx import export_onnx_model, require_onnx
from lm_pipeline.models.storage import load_config, load_model
from lm_pipeline.project import Project
from lm_pipeline.tokenization.huggingface import export_tokenizer
from lm_pipeline.tokenization.tokenizer import MODEL_FILE, Tokenizer
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
    kind = export_model(model, folder)
    loaded = Tokenizer.load(tokenizer.path(MODEL_FILE))
    export_tokenizer(loaded, tokenizer.manifest["spec"]["tokenizer"]["algorithm"], model.context_length, folder)
    return _written(experiment, kind, folder)


def export_onnx(project: Project, experiment: str, folder: Path) -> dict[str, Any]:
    """Write an experiment's model as `model.onnx` and its tokenizer as sentencepiece's `tokenizer.model`.

    Every neural family can be written. What is read begins with BOS, id 1.

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
    shutil.copyfile(tokenizer.path(MODEL_FILE), folder / MODEL_FILE)
    return _written(experiment, model.spec.family, folder)


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


def _written(experiment: str, kind: str, folder: Path) -> dict[str, Any]:
    files = sorted(path.name for path in folder.iterdir())
    return {"experiment": experiment, "model_type": kind, "folder": str(folder), "files": files}


EXPORTS = {"hf": export_huggingface, "onnx": export_onnx}
"""Formats, and what writes them."""
