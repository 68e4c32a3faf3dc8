"""The courier: tells MLflow what one spool says, from where it stopped, and remembers how far it came.

The state file is replaced atomically after every batch, so an interruption repeats at most one batch, with the same
timestamps, which MLflow takes once. If the state is lost, the run is found again by its tag `lm_pipeline.spool`.
"""

import dataclasses
import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_pipeline.digests import digest_of
from lm_pipeline.home import Home
from lm_pipeline.tracking import server, view
from lm_pipeline.tracking.spool_events import read_events
from lm_pipeline.tracking.spool_files import state_path

if TYPE_CHECKING:
    from lm_pipeline.tracking.mlflow_store import MlflowStore

_BATCH_POINTS = 1000
_BATCHED = ("params", "metrics", "tags", "note", "model_metrics")
_ROLLBACK_TAG = "lm_pipeline.rolled_back"
_NOTE_TAG = "mlflow.note.content"
log = logging.getLogger("lm_pipeline.shipper")


@dataclass
class State:
    """How far MLflow has been told about one spool.

    Attributes:
        store: digest of the tracking URI; another store is told everything from the start.
        shipped_offset: bytes of the spool that are done.
        status: what MLflow shows; `abandoned` when it says KILLED only because nobody writes any more.
        last_step: by metric, the last step shipped of the pass that counts.
        rollbacks: `step <n> to <n>` of each time the training went back.
        models: ids of LoggedModels by name.
        evaluated: by `name|dataset|digest`, the model's metric last shipped.
        refused: events that MLflow will not take: `{"offset", "event", "message"}`.
    """

    spool_id: str
    store: str
    shipped_offset: int = 0
    mlflow_run_id: str | None = None
    experiment_id: str | None = None
    status: str | None = None
    abandoned: bool = False
    last_step: dict[str, int] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    evaluated: dict[str, float] = field(default_factory=dict)
    rollbacks: list[str] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)


def load_state(home: Home, spool_id: str) -> State:
    """The state of a spool towards the home's store; a new one if there is none, or none that can be read."""
    store = digest_of(home.tracking_uri)[:16]
    try:
        state = State(**json.loads(state_path(home, spool_id).read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return State(spool_id, store)
    return state if state.store == store else State(spool_id, store)


@dataclass(frozen=True)
class TrackingLink:
    """Where MLflow shows a run."""

    run_id: str
    experiment_id: str
    url: str


def link(home: Home, spool_id: str) -> TrackingLink | None:
    """Where MLflow shows the run of this spool; None if it has not been told of it yet."""
    state = load_state(home, spool_id)
    if state.mlflow_run_id is None or state.experiment_id is None:
        return None
    url = view.run_url(server.ui_url(home), state.experiment_id, state.mlflow_run_id)
    return TrackingLink(state.mlflow_run_id, state.experiment_id, url)


class Courier:
    """Ships one spool, event by event, from where its state says."""

    def __init__(self, home: Home, store: "MlflowStore", state: State) -> None:
        self.home = home
        self.store = store
        self.state = state
        self._last_time_ms = 0

    def deliver(self, path: Path) -> bool:
        """Ship the next few megabytes of events; False when there were none.

        Raises:
            UnreachableError: MLflow did not answer; what was shipped before is in the state file.
        """
        batch: list[tuple[int, dict[str, Any]]] = []
        points, end = 0, self.state.shipped_offset
        for event in read_events(path, end):
            self._last_time_ms = event.body.get("time_ms", self._last_time_ms)
            if event.body["event"] in _BATCHED and self.state.mlflow_run_id:
                batch.append((event.end, event.body))
                points += len(event.body.get("values", ()))
                if points < _BATCH_POINTS:
                    continue
                self._send_batch(batch)
            else:
                self._send_batch(batch)
                self._send(event.end, event.body)
            batch, points = [], 0
        self._send_batch(batch)
        return self.state.shipped_offset > end

    def abandon(self) -> None:
        """Show the run as killed: nobody is there any more to say how it ended."""
        if self.state.mlflow_run_id:
            self.store.set_status(self.state.mlflow_run_id, "KILLED", self._last_time_ms or time.time_ns() // 1_000_000)
        self.state.status, self.state.abandoned = "KILLED", True
        self._save()

    def _send_batch(self, batch: list[tuple[int, dict[str, Any]]]) -> None:
        from lm_pipeline.tracking.mlflow_store import RefusedError

        if not batch:
            return
        self._revive()
        state = dataclasses.replace(
            self.state, last_step=dict(self.state.last_step), evaluated=dict(self.state.evaluated)
        )
        metrics, params, tags = [], {}, {}
        try:
            for _, body in batch:
                metrics += _new_points(body, state)
                params |= body["values"] if body["event"] == "params" else {}
                tags |= body["values"] if body["event"] == "tags" else {}
                tags |= {_NOTE_TAG: body["markdown"]} if body["event"] == "note" else {}
            self.store.log(state.mlflow_run_id or "", metrics, params, tags)
        except (RefusedError, KeyError) as error:
            # One bad entry spoils a batch: find it by sending each event, then each value, alone.
            if len(batch) > 1:
                for item in batch:
                    self._send_batch([item])
                return
            end, body = batch[0]
            values = body.get("values", {})
            if len(values) > 1 and isinstance(error, RefusedError):
                for name, value in values.items():
                    self._send_batch([(self.state.shipped_offset, {**body, "values": {name: value}})])
            else:
                self._refuse(end, body, error)
            self.state.shipped_offset = end
            self._save()
            return
        self.state = state
        self.state.shipped_offset = batch[-1][0]
        self._save()

    def _send(self, end: int, body: dict[str, Any]) -> None:
        from lm_pipeline.tracking.mlflow_store import RefusedError

        try:
            self._one(body)
        except (RefusedError, KeyError) as error:
            self._refuse(end, body, error)
        self.state.shipped_offset = end
        self._save()

    def _one(self, body: dict[str, Any]) -> None:
        state, store = self.state, self.store
        if body["event"] == "open":
            self._open(body)
            return
        run, experiment = state.mlflow_run_id, state.experiment_id
        if run is None or experiment is None:
            raise KeyError("the spool has not been opened: no experiment and no run are known")
        self._revive()
        match body["event"]:
            case "status":
                store.set_status(run, body["status"], body["time_ms"])
                state.status, state.abandoned = body["status"], False
            case "rollback":
                rollbacks = [*state.rollbacks, f"step {body['step']} to {body['to']}"]
                store.log(run, tags={_ROLLBACK_TAG: ", ".join(rollbacks)})
                state.rollbacks = rollbacks
                state.last_step = {name: min(step, body["to"]) for name, step in state.last_step.items()}
            case "input":
                store.log_input(run, body["name"], body["digest"], body["source"], body["context"])
            case "artifact":
                store.log_artifact(run, body["local_path"], body["artifact_path"])
            case "model":
                model = store.log_model(
                    experiment, run, body["name"], body["checkpoint"], params=body["params"], tags=body["tags"]
                )
                # The newest model goes last: it is the one that later evaluation metrics belong to.
                state.models = {**{n: m for n, m in state.models.items() if m != model}, body["name"]: model}
                shared = {k: body[k] for k in ("dataset_name", "dataset_digest") if body[k]}
                points = {"values": body["metrics"], "step": 0, "time_ms": body["time_ms"], **shared}
                store.log(run, _new_points({"event": "model_metrics", **points}, state))
            case unknown:
                raise KeyError(f"the event {unknown!r} is unknown")

    def _open(self, body: dict[str, Any]) -> None:
        state, store = self.state, self.store
        experiment = store.experiment(body["experiment"], body["experiment_kind"])
        if state.mlflow_run_id is None:
            run = store.find_run(experiment, state.spool_id)
            if run is None:
                run = store.create_run(experiment, state.spool_id, body["run_name"], body["tags"], body["time_ms"])
            else:  # the state file was lost, or a crash came before it was written
                state.last_step, state.models = store.last_steps(run), store.models(experiment, run)
            state.mlflow_run_id, state.experiment_id = run, experiment
        else:
            store.log(state.mlflow_run_id, tags=body["tags"])
        store.set_status(state.mlflow_run_id, "RUNNING", body["time_ms"])
        state.status, state.abandoned = "RUNNING", False

    def _revive(self) -> None:
        """Somebody writes to a run that was given up: it runs."""
        if self.state.abandoned and self.state.mlflow_run_id:
            self.store.set_status(self.state.mlflow_run_id, "RUNNING", self._last_time_ms)
            self.state.status, self.state.abandoned = "RUNNING", False

    def _refuse(self, end: int, body: dict[str, Any], error: Exception) -> None:
        log.error("%s, before byte %d: MLflow will never take %s: %s", self.state.spool_id, end, body, error)
        self.state.refused.append({"offset": end, "event": body["event"], "message": str(error)})

    def _save(self) -> None:
        path = state_path(self.home, self.state.spool_id)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(dataclasses.asdict(self.state)), "utf-8")
        temporary.replace(path)


def _new_points(body: dict[str, Any], state: State) -> list[dict[str, Any]]:
    """Points of an event that MLflow does not have yet, noted in the state as shipped."""
    points = []
    if body["event"] == "metrics":
        for name, value in body["values"].items():
            if body["step"] > state.last_step.get(name, -1):
                state.last_step[name] = body["step"]
                points.append({"key": name, "value": value, "timestamp": body["time_ms"], "step": body["step"]})
    elif body["event"] == "model_metrics":
        if not state.models:
            raise KeyError("metrics of a model came before the model")
        dataset = {k: body[k] for k in ("dataset_name", "dataset_digest") if body.get(k)}
        common = {"step": body["step"], "timestamp": body["time_ms"], "model_id": list(state.models.values())[-1]}
        for name, value in body["values"].items():
            known = "|".join([name, *dataset.values()])
            if state.evaluated.get(known) != value:
                state.evaluated[known] = value
                points.append({"key": name, "value": value, **common, **dataset})
    return points
