"""An experiment's current model, ready to be asked. Imports torch when the model is a neural one."""

from typing import TYPE_CHECKING, Any

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.errors import MissingArtifactError, nearest
from lm_pipeline.project import Project, load_project

if TYPE_CHECKING:
    from lm_pipeline.tokenization.tokenizer import Tokenizer


def current_checkpoint(project: Project, experiment: str) -> Artifact:
    """The experiment's current checkpoint.

    Raises:
        MissingArtifactError: no such experiment, or it is not trained.
    """
    if experiment not in project.declarations.experiments:
        raise MissingArtifactError(
            f"There is no experiment {experiment!r}. {nearest(experiment, project.declarations.experiments)}"
        )
    artifact = Store(project.home.require_initialised().artifacts).ref(f"{experiment}/checkpoint")
    if artifact is None:
        raise MissingArtifactError(f"{experiment} is not trained. Run `lm-pipeline materialize {experiment}` first.")
    return artifact


def load_trained(experiment: str) -> "tuple[Any, Tokenizer]":
    """The scorer of an experiment's model and the tokenizer it was trained with, both verified."""
    from lm_pipeline.evaluation.loading import load_scorer
    from lm_pipeline.tokenization.loading import load_tokenizer, tokenizer_file

    project = load_project()
    checkpoint = current_checkpoint(project, experiment).verify()
    entry = checkpoint.inputs["tokenizer"]
    tokenizer = Store(project.home.artifacts).open(entry["stage"], entry["key"])
    scorer = load_scorer(checkpoint.files_dir)
    return scorer, load_tokenizer(tokenizer_file(tokenizer))
