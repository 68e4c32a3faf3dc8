"""What lm_pipeline says to MLflow of its runs; everything goes through one explicit tracking URI.

Every function here may be called twice with the same arguments and leaves MLflow as after the first call, because the
shipper repeats what it is not sure about. Failures are sorted in two: `RefusedError`, where repeating cannot help
(MLflow says the value is not acceptable), and `UnreachableError`, where it may (no answer, server error, locked store).
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_pipeline.errors import HomeError, LmPipelineError
from lm_pipeline.home import Home
from lm_pipeline.tracking.server import QUIET
from lm_pipeline.tracking.view import VIEW_TAG, experiment_url, view_state

# MLflow reads these when it is imported. A request that is not answered must fail soon: the shipper repeats it itself.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
_SILENT = {**QUIET, "MLFLOW_LOGGING_LEVEL": "WARNING", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
for _name, _value in {**_SILENT, **_IMPATIENT}.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402 - after its environment
from mlflow.entities import (  # noqa: E402 - the same
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException  # noqa: E402 - the same

SPOOL_TAG = "lm_pipeline.spool"
CHECKPOINT_TAG = "lm_pipeline.checkpoint"
_BATCH = 1000
_PARAM_BATCH = 100
_MAX_PARAM = 6000
_MAX_TAG = 8000
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")
"""Error codes of MLflow's answers to what it will never accept; all others may pass by themselves."""


class RefusedError(LmPipelineError):
    """MLflow answered that it will not take this."""


class UnreachableError(LmPipelineError):
    """MLflow did not answer, or could not do it now."""


def initialise_store(uri: str) -> None:
    """Create or migrate a SQLite store, once: fresh stores opened by several processes at once are bricked for good.

    A store behind a server is the server's business and is left alone.
    """
    path = _sqlite_path(uri)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".init.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _client(uri).search_experiments(max_results=1)


def experiment_view_url(home: Home, base_url: str, experiment: str) -> str | None:
    """Address of the page that shows an experiment's models side by side; None while MLflow has no such experiment."""
    with sorted_failures():
        found = open_client(home.tracking_uri).get_experiment_by_name(experiment)
    return experiment_url(base_url, found.experiment_id) if found else None


class MlflowStore:
    """An MLflow store, opened by URI.

    Args:
        home: its `tracking_uri` says which store; artifacts of a local store go below it.

    Raises:
        HomeError: the store is a SQLite file that `lm-pipeline init` has not made.
    """

    def __init__(self, home: Home) -> None:
        self._client = open_client(home.tracking_uri)
        self._artifacts = home.mlflow / "artifacts" if _sqlite_path(home.tracking_uri) else None

    def ping(self) -> None:
        """Ask for anything.

        Raises:
            UnreachableError: there was no answer.
        """
        with sorted_failures():
            self._client.search_experiments(max_results=1)

    def experiment(self, name: str, kind: str) -> str:
        """Id of the experiment of this name, created and given its kind and its saved view where it has none."""
        with sorted_failures():
            found = self._client.get_experiment_by_name(name)
            if found is None:
                return self._create_experiment(name, kind)
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            for key, value in _experiment_tags(kind).items():
                if found.tags.get(key) != value:
                    self._client.set_experiment_tag(found.experiment_id, key, value)
            return found.experiment_id

    def _create_experiment(self, name: str, kind: str) -> str:
        location = str(self._artifacts / name.replace("/", "-")) if self._artifacts else None
        return self._client.create_experiment(name, artifact_location=location, tags=_experiment_tags(kind))

    def find_run(self, experiment_id: str, spool_id: str) -> str | None:
        """Id of the run that this spool already has, or None."""
        with sorted_failures():
            runs = self._client.search_runs(
                [experiment_id],
                f"tags.`{SPOOL_TAG}` = '{spool_id}'",
                ViewType.ALL,
                max_results=1,
                order_by=["attributes.start_time ASC"],
            )
        return runs[0].info.run_id if runs else None

    def create_run(
        self, experiment_id: str, spool_id: str, name: str, tags: Mapping[str, str], start_time_ms: int
    ) -> str:
        """Create the run of a spool; look with `find_run` first."""
        with sorted_failures():
            run = self._client.create_run(experiment_id, start_time_ms, {**tags, SPOOL_TAG: spool_id}, name)
        return run.info.run_id

    def log(
        self,
        run_id: str,
        metrics: Sequence[Mapping[str, Any]] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Metrics, parameters and tags, in as few requests as MLflow's limits allow.

        Args:
            run_id: the run.
            metrics: keyword arguments of MLflow's `Metric`: key, value, timestamp, step, and for a model's metrics
                model_id, dataset_name and dataset_digest.
            params: values longer than MLflow takes are cut.
            tags: the same.
        """
        points = [Metric(**point, run_id=run_id) for point in metrics]
        entries = [Param(key, _cut(value, _MAX_PARAM)) for key, value in (params or {}).items()]
        labels = [RunTag(key, _cut(value, _MAX_TAG)) for key, value in (tags or {}).items()]
        with sorted_failures():
            for start in range(0, max(len(entries), len(labels)), _PARAM_BATCH):
                stop = start + _PARAM_BATCH
                self._client.log_batch(run_id, params=entries[start:stop], tags=labels[start:stop])
            for start in range(0, len(points), _BATCH):
                self._client.log_batch(run_id, points[start : start + _BATCH])

    def log_input(self, run_id: str, name: str, digest: str, source: str, context: str) -> None:
        """A dataset that the run read, by reference."""
        dataset = Dataset(name, digest, "local" if source.startswith("/") else "uri", source)
        with sorted_failures():
            self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str) -> None:
        """Copy a file to the run's artifacts.

        Raises:
            RefusedError: the file is gone.
        """
        if not Path(local_path).is_file():
            raise RefusedError(f"The artifact {local_path} is no longer there.")
        with sorted_failures():
            self._client.log_artifact(run_id, local_path, artifact_path or None)

    def log_model(
        self,
        experiment_id: str,
        run_id: str,
        name: str,
        checkpoint: str,
        *,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> str:
        """Id of the run's LoggedModel of this name, created if absent; it holds the checkpoint's address, no bytes."""
        wanted = {**tags, CHECKPOINT_TAG: checkpoint}
        with sorted_failures():
            found = self._client.search_logged_models(
                [experiment_id], f"source_run_id = '{run_id}' AND name = '{name}'", max_results=1
            )
            if found:
                self._client.set_logged_model_tags(found[0].model_id, wanted)
                model_id = found[0].model_id
            else:
                cut = {key: _cut(value, _MAX_PARAM) for key, value in params.items()}
                model = self._client.create_logged_model(experiment_id, name, run_id, wanted, cut, "language_model")
                model_id = model.model_id
            self._client.finalize_logged_model(model_id, "READY")
            outputs = self._client.get_run(run_id).outputs
            if model_id not in [output.model_id for output in (outputs.model_outputs if outputs else ())]:
                self._client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
        return model_id

    def models(self, experiment_id: str, run_id: str) -> dict[str, str]:
        """Ids of the run's LoggedModels by name."""
        with sorted_failures():
            found = self._client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
        return {model.name: model.model_id for model in found}

    def set_status(self, run_id: str, status: str, time_ms: int) -> None:
        """RUNNING (also again, after a resume), or one of the final ones with its end time."""
        with sorted_failures():
            if status == "RUNNING":
                self._client.update_run(run_id, status)
            else:
                self._client.set_terminated(run_id, status, time_ms)

    def last_steps(self, run_id: str) -> dict[str, int]:
        """By metric, the last step that MLflow has."""
        with sorted_failures():
            names = self._client.get_run(run_id).data.metrics
            return {name: max(p.step for p in self._client.get_metric_history(run_id, name)) for name in names}


def _client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def open_client(uri: str) -> MlflowClient:
    """A client of the store.

    Raises:
        HomeError: the store is a SQLite file that `lm-pipeline init` has not made.
    """
    path = _sqlite_path(uri)
    if path is not None and not path.is_file():
        raise HomeError(f"The MLflow store {path} does not exist. Run `lm-pipeline init` first.")
    return _client(uri)


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _experiment_tags(kind: str) -> dict[str, str]:
    return {"mlflow.experimentKind": kind, VIEW_TAG: view_state()}


def _cut(value: str, longest: int) -> str:
    return value if len(value) <= longest else value[: longest - 1] + "…"


@contextlib.contextmanager
def sorted_failures() -> Iterator[None]:
    """What MLflow raises, as `RefusedError` or `UnreachableError`."""
    try:
        yield
    except MlflowException as error:
        kind = RefusedError if error.error_code in _REFUSALS else UnreachableError
        raise kind(f"MLflow: {error.message}") from error
    except Exception as error:
        raise UnreachableError(f"MLflow: {error!r}") from error
