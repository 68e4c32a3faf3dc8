"""MLflow down, or accepting and never answering: the work goes on, nothing is lost, all of it is shipped later."""

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from lm_pipeline.home import Home
from lm_pipeline.tracking import courier, shipper
from lm_pipeline.tracking.mlflow_store import MlflowClient, initialise_store
from lm_pipeline.tracking.server import server_command
from lm_pipeline.tracking.spool import SpoolWriter
from lm_pipeline.tracking.spool_files import find_or_new_spool
from tests.assets.tiny import end_shipper
from tests.servers import free_port, silent_server

KEY = "0123456789abcdef0123456789abcdef01234567"


def get(url: str, host: str) -> int:
    try:
        request = urllib.request.Request(url, headers={"Host": host})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    home = Home(folder)
    initialise_store(f"sqlite:///{home.mlflow / 'mlflow.db'}")
    arguments, environment = server_command(home, port)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while get(f"{url}/health", f"127.0.0.1:{port}") != 200:
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)


def train(path: Path, num_steps: int) -> float:
    """Write a training to a spool and say how long it took, in seconds."""
    start = time.monotonic()
    with SpoolWriter(path) as spool:
        spool.open("docs", run_name="lstm")
        spool.params({"family": "lstm"})
        for step in range(num_steps):
            spool.metrics(step, {"train_loss": 1.0}, time_ms=1_700_000_000_000 + step)
        spool.model("lstm", "/artifacts/checkpoint/1")
        spool.model_metrics({"test/bits_per_byte": 1.5}, "docs", "d")
        spool.status("FINISHED")
    return time.monotonic() - start


def test_silent_then_down_then_killed_then_back_and_nothing_is_lost(tmp_path, monkeypatch):
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    home = Home(tmp_path)
    path = find_or_new_spool(home, "checkpoint", KEY)

    with silent_server(port) as accepted:
        shipper.ensure_shipper(home)
        assert train(path, 1500) < 2
        start = time.monotonic()
        assert shipper.flush(home, path.stem, timeout_seconds=5) is None
        assert time.monotonic() - start < 6
        deadline = time.monotonic() + 20
        while not accepted and time.monotonic() < deadline:
            time.sleep(0.1)
        assert accepted  # it was really asked
    assert shipper.pending_events(home, path.stem) == 1505

    end_shipper(home.root)  # killed in the middle, now nothing listens at all
    assert shipper.main(home, once=True) == 1
    assert shipper.flush(home, path.stem, timeout_seconds=0.5) is None

    with mlflow_server(tmp_path / "server", port) as url:
        link = shipper.flush(home, path.stem, timeout_seconds=120)
        assert link is not None
        assert link.url.startswith(url)
        client = MlflowClient(url, url)
        run = client.get_run(link.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/bits_per_byte"] == 1.5
        points = client.get_metric_history(link.run_id, "train_loss")
        assert [(p.step, p.timestamp) for p in points] == [(s, 1_700_000_000_000 + s) for s in range(1500)]
        assert len(client.search_runs([run.info.experiment_id])) == 1
        assert courier.load_state(home, path.stem).refused == []
        refuses_foreign_hosts(url, port)
        end_shipper(home.root)


def refuses_foreign_hosts(url: str, port: int) -> None:
    page = f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=docs"
    assert get(page, f"localhost:{port}") == 200
    for host in ("10.evil.com", "evil.com", f"192.168.0.1:{port}", "localhost.evil.com"):
        assert get(page, host) == 403, host


def test_a_shipper_killed_in_the_middle_ships_every_point_once(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path)
    initialise_store(home.tracking_uri)
    path = find_or_new_spool(home, "checkpoint", KEY)
    train(path, 20_000)
    shipper.ensure_shipper(home)
    deadline = time.monotonic() + 60
    while not courier.load_state(home, path.stem).shipped_offset and time.monotonic() < deadline:
        time.sleep(0.02)
    end_shipper(home.root)
    time.sleep(0.2)
    assert courier.load_state(home, path.stem).shipped_offset < path.stat().st_size, "killed too late to test anything"
    assert shipper.main(home, once=True) == 0
    link = courier.link(home, path.stem)
    assert link is not None
    client = MlflowClient(home.tracking_uri, home.tracking_uri)
    assert [p.step for p in client.get_metric_history(link.run_id, "train_loss")] == list(range(20_000))
    assert client.get_run(link.run_id).info.status == "FINISHED"
    assert len(client.search_runs([link.experiment_id])) == 1
