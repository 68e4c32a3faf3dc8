"""A trained model in MLflow's registry: what `lm-pipeline register` does."""

import re
from pathlib import Path
from typing import Any

import lm_pipeline
from lm_pipeline.artifacts import Store
from lm_pipeline.errors import InputError, UnavailableError
from lm_pipeline.models.storage import CONFIG, WEIGHTS, load_config
from lm_pipeline.project import Project
from lm_pipeline.tokenization.loading import tokenizer_files
from lm_pipeline.tracking import courier, server, shipper
from lm_pipeline.trained import current_checkpoint

SHIPPING_SECONDS = 30.0
"""How long MLflow may take to be told of the run that trained the model."""

NAMES = r"[A-Za-z0-9][\w.-]*"
"""Names of registered models: they become part of a file's path and of addresses."""


def register_experiment(project: Project, experiment: str, name: str | None = None) -> dict[str, Any]:
    """Register an experiment's current model; once it is, the version there is found.

    The version belongs to the run that trained the model, and `gc` keeps what it is made from: it has a ref of its own,
    `registered/<name>/<version>`.

    Args:
        project: where it is declared and trained.
        experiment: its name.
        name: of the registered model; None takes the experiment's.

    Returns:
        {"experiment", "name", "version", "uri": what MLflow loads, "model_id", "run_id", "url": its page}.

    Raises:
        MissingArtifactError: there is no such experiment, or it is not trained.
        InputError: it is an encoder, which neither continues a text nor gives it a probability, or the name is none.
        UnavailableError: MLflow does not answer, so there is no run yet that the model could belong to.
    """
    from lm_pipeline.tracking.mlflow_registry import ModelFiles, register

    home, name = project.home, name or experiment
    if not re.fullmatch(NAMES, name):
        raise InputError(f"{name!r} cannot be a registered model's name: give letters, digits and any of `_ . -`.")
    checkpoint = current_checkpoint(project, experiment).verify()
    if load_config(checkpoint.files_dir)["family"] == "encoder":
        raise InputError(f"{experiment} is an encoder: only models that continue texts can be served. See `export`.")
    store, entry = Store(home.artifacts), checkpoint.inputs["tokenizer"]
    tokenizer = store.open(entry["stage"], entry["key"])
    spool_id = checkpoint.manifest["provenance"]["spool"]
    run = courier.load_state(home, spool_id)
    if not run.models and shipper.flush(home, spool_id, SHIPPING_SECONDS):
        run = courier.load_state(home, spool_id)
    if not run.models:
        raise UnavailableError(
            f"MLflow at {home.tracking_uri} has not been told of {experiment}'s training yet. See that it answers and"
            " run this again."
        )
    package = Path(lm_pipeline.__file__).parent
    paths = [checkpoint.path(CONFIG), checkpoint.path(WEIGHTS), *tokenizer_files(tokenizer)]
    artifacts = {path.name: path for path in paths}
    files = ModelFiles(package / "served_model.py", package, artifacts)
    tags = {"experiment": experiment, "checkpoint": checkpoint.key, "digest": checkpoint.digest}
    model_id = list(run.models.values())[-1]
    with store.in_use():
        version = register(home, name, model_id, files, tags)
        store.set_ref(f"registered/{name}/{version}", checkpoint)
    return {
        "experiment": experiment,
        "name": name,
        "version": version,
        "uri": f"models:/{name}/{version}",
        "model_id": model_id,
        "run_id": run.mlflow_run_id,
        "url": f"{server.ui_url(home)}/#/models/{name}/versions/{version}",
    }
