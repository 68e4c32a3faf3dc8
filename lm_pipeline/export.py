"""A trained model for other programs: what `lm-pipeline export` writes. Imports torch."""

import contextlib
from collections.abc import Iterator, Mapping
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


def export(project: Project, experiment: str, folder: Path, kind: str) -> dict[str, Any]:
    """Write an experiment's model and tokenizer for other programs.

    Args:
        project: where it is declared and trained.
        experiment: its name.
        folder: where to write; made where it is absent, and else empty.
        kind: the format, one of `EXPORTS`.

    Returns:
        {"experiment", "model_type": as the other side calls it, "folder", "files"}.

    Raises:
        MissingArtifactError: there is no such experiment, or it is not trained.
        InputError: the format has no form for the model, its package is not installed, or the folder is not empty
            or cannot be written.
    """
    model, tokenizer = _open(project, experiment, folder)
    model_type = EXPORTS[kind](model, tokenizer, experiment, folder)
    files = sorted(path.name for path in folder.iterdir())
    return {"experiment": experiment, "model_type": model_type, "folder": str(folder), "files": files}


def _export_huggingface(model: LanguageModel, tokenizer: Artifact, _: str, folder: Path) -> str:
    """As `AutoModelForCausalLM` and `AutoTokenizer` load them: GPT-2, Llama and BERT forms."""
    form_of(model.spec)  # refuses before anything is written
    loaded, files = load_tokenizer(tokenizer_file(tokenizer)), _read_tokenizer(tokenizer)
    with _writing(folder):
        if loaded.is_lossless:
            export_tokenizer(loaded, tokenizer.manifest["spec"]["tokenizer"]["algorithm"], model.context_length, folder)
        else:
            _write_tokenizer(files, folder)
        return export_model(model, folder, loaded.controls)


def _export_onnx(model: LanguageModel, tokenizer: Artifact, _: str, folder: Path) -> str:
    """`model.onnx` of any neural family, and the tokenizer's files. What is read begins with BOS."""
    require_onnx()
    files = _read_tokenizer(tokenizer)
    with _writing(folder):
        export_onnx_model(model, folder)
        _write_tokenizer(files, folder)
    return model.spec.family


def _export_gguf(model: LanguageModel, tokenizer: Artifact, experiment: str, folder: Path) -> str:
    """`model.gguf` with the tokenizer in it, which llama.cpp runs: GPT-2 and Llama forms."""
    loaded = load_tokenizer(tokenizer_file(tokenizer))
    require_gguf()
    check_form(model, loaded)  # refuses before anything is written
    # A pretrained one says in its own file how it segments.
    algorithm = tokenizer.manifest["spec"]["tokenizer"]["algorithm"] if loaded.is_lossless else ""
    with _writing(folder):
        return export_gguf_model(model, loaded, algorithm, experiment, folder)


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


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make the folder and write into it; whatever is read has been read before.

    Raises:
        InputError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}. Give another folder.") from error


def _read_tokenizer(tokenizer: Artifact) -> dict[str, bytes]:
    """The tokenizer's own files, by name; those of a pretrained model are what it came with."""
    return {path.name: path.read_bytes() for path in tokenizer_files(tokenizer) if path.name != CONTROLS_FILE}


def _write_tokenizer(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


EXPORTS = {"hf": _export_huggingface, "onnx": _export_onnx, "gguf": _export_gguf}
"""Formats, and what writes them into a folder, which it makes; each returns what the other side calls the model."""
