"""Models in MLflow's own format, and its registry.

A trained model stands in MLflow by reference already (`MlflowStore.log_model`). Registering gives that LoggedModel its
bytes: a pyfunc from code, without pickle, that loads and serves where MLflow, torch and the store can be reached, and
goes on doing so when this checkout has changed or is gone: the code that answers is part of it.
"""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from lm_pipeline.home import Home
from lm_pipeline.specs.generation import Decoding
from lm_pipeline.tracking.mlflow_store import open_client, sorted_failures

# isort: split
# The store sets MLflow's environment, which is read at import.
import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import (
    Array,
    ColSpec,
    DataType,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
    TensorSpec,
)

REQUIREMENTS = (
    "mlflow",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "safetensors",
    "sentencepiece",
    "torch",
    "xxhash",
)
"""Packages that a served model imports; those that they need come with them."""

MODEL_TAG = "lm_pipeline.model"
"""Tag of a version: id of the LoggedModel; a search does not say it."""

_SCORED_TOKEN = Object([Property("piece", DataType.string), Property("log_prob", DataType.double)])
_ANSWER = {
    "text": DataType.string,
    "ending": DataType.string,
    "log_prob": DataType.double,
    "total_log_prob": DataType.double,
    "perplexity": DataType.double,
    "bits_per_byte": DataType.double,
    "num_bytes": DataType.long,
    "tokens": Array(_SCORED_TOKEN),
}
"""Keys of an answer that only one of the two methods gives."""

_TYPES = {float: DataType.double, int: DataType.long}


@dataclass(frozen=True)
class ModelFiles:
    """What a registered model is made of.

    Attributes:
        code: the file that MLflow runs to make the model; it ends with `set_model`.
        package: folder of the package that this file imports.
        artifacts: by the name that the code knows them by, a file or a folder.
    """

    code: Path
    package: Path
    artifacts: Mapping[str, Path]


def signature() -> ModelSignature:
    """Texts in, answers out; the parameters are the method and what `specs.generation.Decoding` has."""
    params = [ParamSpec("method", DataType.string, "generate")]
    for name, field in Decoding.model_fields.items():
        if name == "stop":
            params.append(ParamSpec(name, DataType.string, [], shape=(-1,)))
        else:
            number = field.default
            params.append(ParamSpec(name, _TYPES[float if number is None else type(number)], number))
    answer: list[ColSpec | TensorSpec] = [ColSpec(DataType.long, "num_tokens")]
    answer += [ColSpec(kind, name, required=False) for name, kind in _ANSWER.items()]
    return ModelSignature(Schema([ColSpec(DataType.string, "text")]), Schema(answer), ParamSchema(params))


def register(home: Home, name: str, model_id: str, files: ModelFiles, tags: Mapping[str, str]) -> int:
    """Give a LoggedModel its bytes and register it; a model that is registered under this name already is found.

    In a store on this disk the large files are hard links to the artifact's, which is never written again: they take
    no space of their own and stay when the artifact is deleted.

    Args:
        home: whose store.
        name: the registered model, created if absent.
        model_id: the LoggedModel of the run that trained it.
        files: what it is made of.
        tags: of the version.

    Returns:
        The version.

    Raises:
        RefusedError: MLflow will not take it.
        UnreachableError: it did not answer.
    """
    with sorted_failures(), _global_uri(home):
        client = open_client(home.tracking_uri)
        model = client.get_logged_model(model_id)
        for found in client.search_model_versions(f"name = '{name}'"):
            if found.tags.get(MODEL_TAG) == model_id:
                return int(found.version)
        _write_model(client, model, files)
        with contextlib.suppress(MlflowException):  # it exists
            client.create_registered_model(name)
        version = client.create_model_version(
            name, f"models:/{model_id}", model.source_run_id, tags={**tags, MODEL_TAG: model_id}, model_id=model_id
        )
    return int(version.version)


def _write_model(client: MlflowClient, model: LoggedModel, files: ModelFiles) -> None:
    """The folder that MLflow loads, where the LoggedModel's bytes belong."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own notes on type hints
        packages = [*REQUIREMENTS, *(["tokenizers"] if "tokenizer.json" in files.artifacts else [])]
        local = Path(folder) / "model"
        mlflow.pyfunc.save_model(
            local,
            python_model=str(files.code),
            artifacts={key: str(path) for key, path in files.artifacts.items()},
            code_paths=[str(files.package)],
            signature=signature(),
            pip_requirements=[f"{package}=={version(package).partition('+')[0]}" for package in packages],
            mlflow_model=Model(run_id=model.source_run_id, model_id=model.model_id),
        )
        client.log_model_artifacts(model.model_id, str(local))
    location = Path(model.artifact_location.removeprefix("file://"))
    if location.is_dir():
        for path in files.artifacts.values():
            for source in [path] if path.is_file() else sorted(path.iterdir()):
                copy = location / "artifacts" / source.relative_to(path.parent)
                _link(source, copy)


def _link(source: Path, copy: Path) -> None:
    """Replace a copy by a hard link; on another file system it stays a copy."""
    temporary = copy.with_name(f".{copy.name}")
    with contextlib.suppress(OSError):
        os.link(source, temporary)
        temporary.replace(copy)


@contextlib.contextmanager
def _global_uri(home: Home) -> Iterator[None]:
    """MLflow looks a registered version's model up through its global URI, whatever client was asked.

    In the environment, not by `mlflow.set_tracking_uri`: that one cannot be taken back.
    """
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    os.environ.update(dict.fromkeys(before, home.tracking_uri))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
