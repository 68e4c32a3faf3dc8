"""The spool: one append-only JSONL file per MLflow run, the source of truth for what was measured.

    <home.spool>/<spool_id>.jsonl        events, one JSON object a line, in the order in which they happened
    <home.spool>/<spool_id>.alive        flock held (shared) by every open writer: nobody holds it = nobody works
    <home.spool>/<spool_id>.state.json   written by the shipper only: how far MLflow has been told

A line is one `write` to a file opened with `O_APPEND`, so several processes (a stage and its child) may write to one
spool. A line that a crash cut short is removed when the spool is opened next; readers take only whole lines.
Nothing here imports MLflow or talks to it: writing costs microseconds and does not depend on a server.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from lm_pipeline.errors import LmPipelineError
from lm_pipeline.tracking.spool_files import alive_path

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
STATUSES = ("RUNNING", "FINISHED", "FAILED", "KILLED")
MODEL_TRAINING = "custom_model_development"
"""Kind of an MLflow experiment whose UI opens in the model-training mode."""
MAX_DIGEST_CHARACTERS = 36
"""MLflow refuses longer dataset digests."""


class SpoolWriter:
    """Appends events to one spool. Every method may be called from any process, at any time, also after the end.

    Args:
        path: the spool's file, as `find_or_new_spool` gives it; created if absent, repaired if its last line is torn.

    >>> import tempfile
    >>> from lm_pipeline.tracking.spool_events import read_events
    >>> path = Path(tempfile.mkdtemp()) / "checkpoint-0123456789abcdef-1.jsonl"
    >>> with SpoolWriter(path) as spool:
    ...     spool.open("python_docs", run_name="lstm", tags={"asset": "lstm/checkpoint"})
    ...     spool.metrics(step=10, values={"train_loss": 5.5})
    ...     spool.status("FINISHED")
    >>> [event.body["event"] for event in read_events(path)]
    ['open', 'metrics', 'status']
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._alive = os.open(alive_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._alive, fcntl.LOCK_SH)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        with _locked(self._file):
            _drop_torn_line(self._file)

    @property
    def spool_id(self) -> str:
        """Name of the spool: `<stage>-<first 16 digits of the key>-<generation>`."""
        return self.path.stem

    def open(
        self,
        experiment: str,
        run_name: str,
        experiment_kind: str = MODEL_TRAINING,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Say which MLflow run this spool is; on a resumed spool, that the run goes on.

        Args:
            experiment: name of the MLflow experiment: `<dataset>` for models, `<dataset>/pipeline` for other stages.
            run_name: what the row in MLflow's table is called.
            experiment_kind: value of the experiment's tag `mlflow.experimentKind`.
            tags: run tags: Dagster run, asset key, partition.
        """
        self._append(
            "open", experiment=experiment, run_name=run_name, experiment_kind=experiment_kind, tags=_texts(tags or {})
        )

    def params(self, values: Mapping[str, Any]) -> None:
        """Parameters of the run. Nested mappings are flattened: `{"model": {"width": 8}}` becomes `model.width`."""
        self._append("params", values=_texts(flatten(values)))

    def metrics(self, step: int, values: Mapping[str, float], time_ms: int | None = None) -> None:
        """Points of curves: one value per name at this step. A step that MLflow already has is not sent again.

        Args:
            step: training step; for each name it must not decrease, except after a resume or a rollback.
            values: finite or not; MLflow shows infinity as 1.8e308.
            time_ms: when it was measured, milliseconds since 1970; now if None.
        """
        numbers = {name: float(value) for name, value in values.items()}
        self._append("metrics", step=int(step), values=numbers, time_ms=time_ms)

    def rollback(self, step: int, to: int) -> None:
        """The run went back: points after the step `to` were abandoned, and those of the same steps that follow count.

        MLflow replaces no point. It shows both passes, its latest value is that of the second, and the run's tag
        `lm_pipeline.rolled_back` names the steps.

        Args:
            step: how far it had come.
            to: the step that it goes on after.
        """
        self._append("rollback", step=int(step), to=int(to))

    def tags(self, values: Mapping[str, str]) -> None:
        """Tags of the run; a later value replaces an earlier one."""
        self._append("tags", values=_texts(values))

    def input(self, name: str, digest: str, source: str, context: str = "training") -> None:
        """A dataset that the run read.

        Args:
            name: name of the dataset or corpus.
            digest: its content digest; the first 36 characters are kept, which is what MLflow takes.
            source: path or URI of the artifact.
            context: role of the input: `training`, `test`, `raw_documents`, ...
        """
        self._append("input", name=name, digest=digest[:MAX_DIGEST_CHARACTERS], source=source, context=context)

    def artifact(self, local_path: Path, artifact_path: str = "") -> None:
        """A file to show in MLflow. It is read when shipped, so it must stay where it is.

        Args:
            local_path: an existing file.
            artifact_path: folder below the run's artifacts; empty for the top.
        """
        if not local_path.is_file():
            raise LmPipelineError(f"{local_path} is not a file, so it cannot be an MLflow artifact. Write it first.")
        self._append("artifact", local_path=str(local_path.resolve()), artifact_path=artifact_path)

    def note(self, markdown: str) -> None:
        """The run's description in MLflow: the one place where a link can be clicked."""
        self._append("note", markdown=markdown)

    def model(
        self,
        name: str,
        checkpoint: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        dataset_name: str | None = None,
        dataset_digest: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """The model that the run made, as a LoggedModel by reference: MLflow gets the address, not the bytes.

        Args:
            name: name of the model, such as the experiment's.
            checkpoint: path or URI of the checkpoint artifact.
            params: parameters shown beside the model.
            metrics: values shown beside the model, such as the best validation loss.
            dataset_name: dataset on which `metrics` were measured; with `dataset_digest` or not at all.
            dataset_digest: its content digest.
            tags: further tags, such as the checkpoint's digest.
        """
        self._append(
            "model",
            name=name,
            checkpoint=checkpoint,
            params=_texts(flatten(params or {})),
            metrics={key: float(value) for key, value in (metrics or {}).items()},
            **_dataset(dataset_name, dataset_digest),
            tags=_texts(tags or {}),
        )

    def model_metrics(
        self,
        values: Mapping[str, float],
        dataset_name: str,
        dataset_digest: str,
        step: int = 0,
        time_ms: int | None = None,
    ) -> None:
        """Evaluation metrics of the run's model on a dataset. A value that MLflow already has is not sent again."""
        numbers = {name: float(value) for name, value in values.items()}
        dataset = _dataset(dataset_name, dataset_digest)
        self._append("model_metrics", values=numbers, step=int(step), time_ms=time_ms, **dataset)

    def status(self, status: Status) -> None:
        """The state that the run is in from now on; synced to disk."""
        if status not in STATUSES:
            raise LmPipelineError(f"Status {status!r} is unknown. Expected one of: {', '.join(STATUSES)}.")
        self._append("status", status=status)
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the spool. A spool that nobody holds and that has no final status is shown as killed."""
        if self._file >= 0:
            os.close(self._file)
            os.close(self._alive)
            self._file = self._alive = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, event: str, time_ms: int | None = None, **fields: Any) -> None:
        now = time.time_ns() // 1_000_000 if time_ms is None else int(time_ms)
        # NaN and Infinity are written as Python's JSON dialect writes them: the shipper is the only reader.
        line = (json.dumps({"event": event, "time_ms": now, **fields}, ensure_ascii=False) + "\n").encode()
        with _locked(self._file):
            before = os.fstat(self._file).st_size
            written = os.write(self._file, line)
            if written != len(line):
                os.ftruncate(self._file, before)
                raise OSError(f"{self.path}: only {written} of {len(line)} bytes could be written; is the disk full?")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots.

    >>> flatten({"model": {"width": 8}, "seed": 1})
    {'model.width': 8, 'seed': 1}
    """
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in values.items()}


def _dataset(name: str | None, digest: str | None) -> dict[str, Any]:
    if (name is None) != (digest is None):
        raise LmPipelineError(f"Dataset name {name!r} and digest {digest!r}: give both, or neither.")
    return {"dataset_name": name, "dataset_digest": digest and digest[:MAX_DIGEST_CHARACTERS]}


@contextlib.contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _drop_torn_line(descriptor: int) -> None:
    """Cut the file after its last newline."""
    end = os.fstat(descriptor).st_size
    position, block = end, b""
    while position > 0:
        start = max(0, position - 65536)
        block = os.pread(descriptor, position - start, start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position != end:
        os.ftruncate(descriptor, position)
