"""A trained model for other programs: what `lm-pipeline export` writes. Imports torch."""

from pathlib import Path
from typing import Any

from lm_pipeline.artifacts import Store
from lm_pipeline.errors import InputError
from lm_pipeline.models.huggingface import export_model, form_of
from lm_pipeline.models.storage import load_model
from lm_pipeline.project import Project
from lm_pipeline.tokenization.huggingface import export_tokenizer
from lm_pipeline.tokenization.tokenizer import Tokenizer
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
    checkpoint = current_checkpoint(project, experiment).verify()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and not empty: give a new folder.")
    model = load_model(checkpoint.files_dir)
    form_of(model.spec)  # refuses before anything is written
    entry = checkpoint.inputs["tokenizer"]
    tokenizer = Store(project.home.artifacts).open(entry["stage"], entry["key"])
    folder.mkdir(parents=True, exist_ok=True)
    kind = export_model(model, folder)
    loaded = Tokenizer.load(tokenizer.path("tokenizer.model"))
    export_tokenizer(loaded, tokenizer.manifest["spec"]["tokenizer"]["algorithm"], model.context_length, folder)
    files = sorted(path.name for path in folder.iterdir())
    return {"experiment": experiment, "model_type": kind, "folder": str(folder), "files": files}


EXPORTS = {"hf": export_huggingface}
"""Formats, and what writes them."""
