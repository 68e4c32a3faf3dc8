import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_pipeline.home import Home
from lm_pipeline.tracking import courier, shipper, view
from lm_pipeline.tracking.mlflow_store import MlflowClient, initialise_store
from lm_pipeline.tracking.spool import SpoolWriter
from lm_pipeline.tracking.spool_files import find_or_new_spool, state_path

KEY = "0123456789abcdef0123456789abcdef01234567"
WRITER = """
import sys, time
from pathlib import Path
from lm_pipeline.tracking.spool import SpoolWriter
spool = SpoolWriter(Path(sys.argv[1]))
spool.open("docs", "lstm")
spool.metrics(1, {"a": 1})
print("written", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """A fresh store, initialised by two processes at once."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    program = "import sys; from lm_pipeline.tracking.mlflow_store import initialise_store as i; i(sys.argv[1])"
    command = [sys.executable, "-c", program, f"sqlite:///{path}"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    return path


@pytest.fixture
def home(tmp_path, monkeypatch, empty_store) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path)
    home.mlflow.mkdir()
    shutil.copy(empty_store, home.mlflow / "mlflow.db")
    return home


def client(home: Home) -> MlflowClient:
    return MlflowClient(home.tracking_uri, home.tracking_uri)


def run_of(home: Home, spool: Path):
    link = courier.link(home, spool.stem)
    assert link is not None
    return client(home).get_run(link.run_id)


def steps(home: Home, run_id: str, name: str) -> list[int]:
    return [point.step for point in client(home).get_metric_history(run_id, name)]


def write_training(path: Path, first: int, last: int, status: str | None = "FINISHED") -> None:
    with SpoolWriter(path) as spool:
        spool.open("docs", run_name="lstm", tags={"dagster.asset": "lstm/checkpoint"})
        spool.params({"family": "lstm", "learning_rate": 0.001})
        for step in range(first, last):
            spool.metrics(step, {"train_loss": 10.0 - step / 1000}, time_ms=1_700_000_000_000 + step)
        if status:
            spool.status(status)  # pyright: ignore[reportArgumentType]


def test_everything_that_a_spool_says_is_in_mlflow_with_its_original_times(home, tmp_path):
    path = find_or_new_spool(home, "checkpoint", KEY)
    report = tmp_path / "report.html"
    report.write_text("<p>hello</p>")
    write_training(path, 0, 2500, status=None)
    with SpoolWriter(path) as spool:
        spool.input("docs", "d" * 64, "/artifacts/token_shards/1")
        spool.artifact(report, "reports")
        spool.note("[Dagster run](http://127.0.0.1:3000/runs/1)")
        spool.model("lstm", "/artifacts/checkpoint/1", params={"width": 8}, tags={"digest": "abc"})
        spool.model_metrics({"test/bits_per_byte": 1.25}, "docs", "d" * 64)
        spool.model_metrics({"test/bits_per_byte": 1.25}, "docs", "d" * 64)
        spool.status("FINISHED")
    assert shipper.main(home, once=True) == 0
    run = run_of(home, path)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "lstm"
    assert run.data.params == {"family": "lstm", "learning_rate": "0.001"}
    assert run.data.tags["lm_pipeline.spool"] == path.stem
    assert run.data.tags["mlflow.note.content"].startswith("[Dagster run]")
    history = client(home).get_metric_history(run.info.run_id, "train_loss")
    assert [(p.step, p.timestamp, p.value) for p in history] == [
        (step, 1_700_000_000_000 + step, 10.0 - step / 1000) for step in range(2500)
    ]
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest, dataset.source) == ("docs", "d" * 36, "/artifacts/token_shards/1")
    assert (Path(run.info.artifact_uri) / "reports" / "report.html").read_text() == "<p>hello</p>"
    model = client(home).get_logged_model(run.outputs.model_outputs[0].model_id)
    assert (model.name, model.status, model.source_run_id) == ("lstm", "READY", run.info.run_id)
    assert model.tags["lm_pipeline.checkpoint"] == "/artifacts/checkpoint/1"
    assert model.tags["digest"] == "abc"
    assert model.params == {"width": "8"}
    [metric] = model.metrics or []
    assert (metric.key, metric.value, metric.dataset_name, metric.dataset_digest) == (
        "test/bits_per_byte", 1.25, "docs", "d" * 36,
    )  # fmt: skip
    assert len(client(home).get_metric_history(run.info.run_id, "test/bits_per_byte")) == 1


def test_a_resumed_training_reopens_its_run_and_has_one_point_per_step(home):
    path = find_or_new_spool(home, "checkpoint", KEY)
    write_training(path, 0, 80, status="KILLED")
    assert shipper.main(home, once=True) == 0
    assert run_of(home, path).info.status == "KILLED"
    assert find_or_new_spool(home, "checkpoint", KEY) == path
    write_training(path, 50, 120)  # the checkpoint was at step 50, steps to 80 were shipped before the kill
    assert shipper.main(home, once=True) == 0
    run = run_of(home, path)
    assert run.info.status == "FINISHED"
    assert steps(home, run.info.run_id, "train_loss") == list(range(120))
    assert len(client(home).search_runs([run.info.experiment_id])) == 1


@pytest.mark.parametrize("loses_its_state", [False, True])
def test_of_a_training_that_went_back_the_second_pass_counts_and_a_tag_says_so(home, loses_its_state):
    path = find_or_new_spool(home, "checkpoint", KEY)
    with SpoolWriter(path) as spool:
        spool.open("docs", "lstm")
        for step in range(1, 10):
            spool.metrics(step, {"train_loss": float(step)}, time_ms=1000 + step)
        spool.rollback(step=9, to=5)
    assert shipper.main(home, once=True) == 0
    with SpoolWriter(path) as spool:
        for step in range(6, 9):
            spool.metrics(step, {"train_loss": -float(step)}, time_ms=2000 + step)
        spool.open("docs", "lstm")  # killed, and resumed from step 7
        spool.metrics(8, {"train_loss": -8.0}, time_ms=3008)
        spool.metrics(9, {"train_loss": -9.0}, time_ms=3009)
        spool.status("FINISHED")
    assert shipper.main(home, once=True) == 0
    if loses_its_state:
        state_path(home, path.stem).unlink()
        assert shipper.main(home, once=True) == 0
    run = run_of(home, path)
    history = client(home).get_metric_history(run.info.run_id, "train_loss")
    points = sorted((point.timestamp, point.step, point.value) for point in history)
    first = [(1000 + step, step, float(step)) for step in range(1, 10)]
    second = [*((2000 + step, step, -float(step)) for step in range(6, 9)), (3009, 9, -9.0)]
    assert points == first + second
    assert run.data.metrics["train_loss"] == -9.0
    assert run.data.tags["lm_pipeline.rolled_back"] == "step 9 to 5"


@pytest.mark.parametrize("loss", ["lost", "damaged", "older"])
def test_a_lost_damaged_or_older_state_doubles_nothing(home, loss):
    path = find_or_new_spool(home, "checkpoint", KEY)
    write_training(path, 0, 30, status=None)
    assert shipper.main(home, once=True) == 0
    older = state_path(home, path.stem).read_bytes()
    with SpoolWriter(path) as spool:
        spool.metrics(30, {"train_loss": 1.0})
        spool.model("lstm", "/artifacts/checkpoint/1")
        spool.model_metrics({"test/perplexity": 9.0}, "docs", "d")
        spool.status("FINISHED")
    assert shipper.main(home, once=True) == 0
    run = run_of(home, path)
    match loss:
        case "lost":
            state_path(home, path.stem).unlink()
        case "damaged":
            state_path(home, path.stem).write_bytes(b'{"spool')
        case "older":
            state_path(home, path.stem).write_bytes(older)
    assert shipper.main(home, once=True) == 0
    assert run_of(home, path).info.run_id == run.info.run_id
    assert len(client(home).search_runs([run.info.experiment_id])) == 1
    assert steps(home, run.info.run_id, "train_loss") == list(range(31))
    assert steps(home, run.info.run_id, "test/perplexity") == [0]
    again = run_of(home, path)
    assert again.info.status == "FINISHED"
    assert len(again.outputs.model_outputs) == 1


def test_what_mlflow_refuses_is_recorded_and_the_rest_is_shipped(home, caplog):
    path = find_or_new_spool(home, "checkpoint", KEY)
    with SpoolWriter(path) as spool:
        spool.metrics(0, {"before_open": 1.0})
        spool.open("docs", run_name="lstm")
        spool.params({"family": "lstm", "width": 8})
        spool.params({"family": "gru", "depth": 2})
        spool.metrics(0, {"bad@name%": 1.0, "good": 2.0})
        spool.metrics(1, {"good": 3.0})
        spool.model_metrics({"test/perplexity": 9.0}, "docs", "d")
        spool.status("FINISHED")
    with path.open("ab") as file:
        file.write(b"not json\n")
    assert shipper.main(home, once=True) == 0
    run = run_of(home, path)
    assert run.data.params == {"family": "lstm", "width": "8", "depth": "2"}
    assert steps(home, run.info.run_id, "good") == [0, 1]
    refused = courier.load_state(home, path.stem).refused
    assert [item["event"] for item in refused] == ["metrics", "params", "metrics", "model_metrics", "unreadable"]
    assert "bad@name%" in caplog.text
    assert "metrics of a model came before the model" in caplog.text


def test_a_spool_whose_writer_died_is_shown_as_killed_and_as_running_when_it_is_written_to_again(home):
    path = find_or_new_spool(home, "checkpoint", KEY)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    shipper.main(home, once=True)
    assert run_of(home, path).info.status == "RUNNING"
    process.kill()
    process.wait()
    process.stdout.close()
    shipper.main(home, once=True)
    assert run_of(home, path).info.status == "KILLED"
    with SpoolWriter(path) as spool:
        spool.metrics(2, {"a": 1})
        shipper.main(home, once=True)
        assert run_of(home, path).info.status == "RUNNING"
        spool.status("FINISHED")
    shipper.main(home, once=True)
    assert run_of(home, path).info.status == "FINISHED"


def test_the_shipper_starts_by_itself_ships_while_work_goes_on_and_ends_when_idle(home):
    path = find_or_new_spool(home, "checkpoint", KEY)
    write_training(path, 0, 50)
    link = shipper.flush(home, path.stem, timeout_seconds=60)
    assert link is not None
    assert link.url.startswith("http://127.0.0.1:5000/#/experiments/")
    assert link.run_id in link.url
    assert not shipper.ensure_shipper(home)  # it runs
    assert shipper.pending_events(home, path.stem) == 0
    write_training(path, 50, 60)
    assert shipper.flush(home, path.stem, timeout_seconds=10) == link
    assert steps(home, link.run_id, "train_loss") == list(range(60))
    stop_shipper(home)


def stop_shipper(home: Home) -> None:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != str(os.getpid()):
            try:
                environment = (process / "environ").read_bytes()
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if f"LM_PIPELINE_HOME={home.root}\0".encode() in environment and b"lm_pipeline\0ship" in command:
                os.kill(int(process.name), signal.SIGTERM)


def test_an_idle_shipper_ends(home):
    start = time.monotonic()
    assert shipper.main(home, idle_seconds=0.3) == 0
    assert time.monotonic() - start < 5


def test_flush_returns_none_in_time_when_there_is_no_store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path)
    path = find_or_new_spool(home, "checkpoint", KEY)
    write_training(path, 0, 5)
    start = time.monotonic()
    assert shipper.flush(home, path.stem, timeout_seconds=1) is None
    assert time.monotonic() - start < 2
    assert shipper.pending_events(home, path.stem) == 8
    stop_shipper(home)
    assert not (home.mlflow / "mlflow.db").exists()
    initialise_store(home.tracking_uri)
    assert shipper.main(home, once=True, idle_seconds=0.1) == 0
    assert run_of(home, path).info.status == "FINISHED"


def test_a_store_that_two_processes_initialised_at_once_is_whole(empty_store):
    database = sqlite3.connect(empty_store)
    assert database.execute("select count(*) from alembic_version").fetchone() == (1,)
    database.close()


def test_experiments_open_in_the_model_training_mode_with_the_view_that_compares_models(home):
    path = find_or_new_spool(home, "checkpoint", KEY)
    write_training(path, 0, 1)
    shipper.main(home, once=True)
    tags = client(home).get_experiment_by_name("docs").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    state = json.loads(json.loads(tags[view.VIEW_TAG])["state"])
    assert "params.`family`" in state["selectedColumns"]
    assert "metrics.`test/bits_per_byte`" in state["selectedColumns"]
