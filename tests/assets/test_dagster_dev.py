"""`lm-pipeline up` for real: runs launched, watched, cancelled and killed as the UI does it, through GraphQL."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lm_pipeline.home import Home
from lm_pipeline.tracking.mlflow_store import MlflowClient
from tests.assets import tiny
from tests.servers import free_port

LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
TERMINATE = """
mutation ($run: String!) { terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } } }
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
NODE = """
query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(limit: 1) { runId partition metadataEntries { label } } } } }
"""
SENSOR = """
{ sensorsOrError(repositorySelector: {repositoryLocationName: "lm_pipeline", repositoryName: "__repository__"}) {
  ... on Sensors { results { name sensorState { status ticks(limit: 3) { status timestamp } } } } } }
"""
NUM_STEPS = 6000


@dataclass(frozen=True)
class Servers:
    """A running `lm-pipeline up`."""

    home: Home
    defs: Path
    url: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = json.load(answer)
        assert "errors" not in said, said["errors"]
        return said["data"]

    def launch(self, *asset: str) -> str:
        selector = {
            "repositoryLocationName": "lm_pipeline",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": list(asset)}],
        }
        said = self.ask(LAUNCH, params={"selector": selector, "runConfigData": {}})["launchRun"]
        assert said["__typename"] == "LaunchRunSuccess", said
        return said["run"]["runId"]

    def runs(self) -> dict[str, dict[str, Any]]:
        return {run["runId"]: run for run in self.ask(RUNS)["runsOrError"]["results"]}

    def wait(self, run: str, status: str, seconds: float) -> None:
        tiny.wait_for(lambda: self.runs()[run]["status"] in (status, "FAILURE"), seconds, f"run is {status}")
        assert self.runs()[run]["status"] == status

    def sensor_ticks(self) -> list[dict[str, Any]]:
        sensors = self.ask(SENSOR)["sensorsOrError"]["results"]
        return next(item["sensorState"]["ticks"] for item in sensors if item["name"] == "raw_files")


@pytest.fixture(scope="module")
def servers(new_project) -> Iterator[Servers]:
    from assets.building import build_names

    made = new_project()
    long = tiny.neural(num_steps=NUM_STEPS, checkpoint_interval=1500, log_interval=50, validation_interval=NUM_STEPS)
    tiny.declare(made.defs, "tiny_long", long)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("LM_PIPELINE_ECHO", raising=False)
        patch.setenv("LM_PIPELINE_HOME", str(made.home.root))
        patch.setenv("LM_PIPELINE_DEFS", str(made.defs))
        assert build_names(made.home, ["tiny/token_shards"], quiet=True).failed == {}
        port = free_port()
        ports = ["--dagster-port", f"{port}", "--mlflow-port", f"{free_port()}"]
        log = made.home.root / "up.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                # SIGINT ignored, as it is in what a script starts with `&`
                ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-m", "lm_pipeline", "up", *ports],
                stdout=output,
                stderr=output,
            )
        try:
            tiny.wait_for(
                lambda: "Ctrl-C stops both" in log.read_text() or process.poll() is not None, 150, "servers are up"
            )
            assert process.poll() is None, log.read_text()
            yield Servers(made.home, made.defs, f"http://127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            tiny.end_shipper(made.home.root)
    left = {number: tiny.command_of(number) for number in tiny.processes_of(made.home.root)}
    assert left == {}


def status(servers: Servers, address: str, headers: dict[str, str], method: str = "GET") -> int:
    port = int(servers.url.rsplit(":", 1)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, address, "{}" if method == "POST" else None, headers)
    answer = connection.getresponse()
    connection.close()
    return answer.status


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::1", ""])
def test_a_page_that_reaches_the_server_by_another_name_is_refused(servers, host):
    assert status(servers, "/server_info", {"Host": host}) == 403


def test_a_mutation_that_another_page_sends_is_refused(servers):
    def cancel(run: str) -> str:
        return f'mutation {{ terminateRun(runId: "{run}") {{ __typename }} }}'

    port = servers.url.rsplit(":", 1)[1]
    foreign = {"Origin": "https://evil.example", "Content-Type": "application/json"}
    by_get = f"/graphql?query={urllib.parse.quote(cancel('none'))}"
    assert status(servers, by_get, foreign) == 403
    assert status(servers, by_get, {"Accept": "image/*"}) == 403  # an <img>: no Origin
    assert status(servers, "/graphql", foreign, "POST") == 403
    assert status(servers, "/graphql", {**foreign, "Origin": "null"}, "POST") == 403
    assert status(servers, "/graphql", {**foreign, "Origin": "http://127.0.0.1:1"}, "POST") == 403
    assert status(servers, "/report_asset_materialization/documents", {"Sec-Fetch-Site": "cross-site"}, "POST") == 403
    socket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    socket |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "graphql-ws"}
    assert status(servers, "/graphql", {**socket, "Origin": "https://evil.example"}) == 403
    assert status(servers, "/graphql", {**socket, "Origin": f"http://127.0.0.1:{port}"}) == 101


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_its_own_pages_are_answered_under_every_local_name(servers, name):
    own = f"{name}:{servers.url.rsplit(':', 1)[1]}"
    assert status(servers, "/", {"Host": own, "Sec-Fetch-Site": "cross-site"}) == 200  # a link from another page
    asked = {"Host": own, "Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}
    assert (
        status(servers, "/graphql", {**asked, "Content-Type": "application/json"}, "POST") == 400
    )  # an empty question


def test_a_run_launched_through_graphql_materializes_its_asset(servers):
    run = servers.launch("tiny", "splits")
    servers.wait(run, "SUCCESS", 60)
    [made] = servers.ask(NODE, key={"path": ["tiny", "splits"]})["assetNodeOrError"]["assetMaterializations"]
    assert made["runId"] == run
    assert {"dagster/row_count", "funnel", "mlflow_run"} <= {entry["label"] for entry in made["metadataEntries"]}


def test_a_dropped_file_is_a_materialized_partition_within_a_minute_and_nothing_else_runs(servers):
    tiny.wait_for(servers.sensor_ticks, 60, "the sensor ticks")
    before = servers.runs()
    notes = servers.home.raw / "notes"
    notes.mkdir()
    (notes / "one.txt").write_text(tiny.english(1), "utf-8")
    dropped = time.time()

    def materialized() -> bool:
        said = servers.ask(NODE, key={"path": ["documents"]})["assetNodeOrError"]["assetMaterializations"]
        return any(item["partition"] == "notes" for item in said)

    tiny.wait_for(materialized, 60, "documents of notes are materialized")
    done = time.time()
    tiny.wait_for(
        lambda: [tick for tick in servers.sensor_ticks() if tick["timestamp"] > done and tick["status"] == "SKIPPED"],
        60,
        "a tick that finds nothing new",
    )
    new = [run for number, run in servers.runs().items() if number not in before]
    assert [{"key": "dagster/partition", "value": "notes"} in run["tags"] for run in new] == [True]
    assert done - dropped < 60


def test_a_cancelled_and_a_killed_training_resume_with_one_point_a_step(servers):
    client = MlflowClient(servers.home.tracking_uri, servers.home.tracking_uri)
    work = servers.home.artifacts / "work" / "checkpoint"

    def training() -> Any:
        experiment = client.get_experiment_by_name("tiny")
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        assert len(runs) < 2
        return runs[0] if runs else None

    def steps() -> list[int]:
        run = training()
        return [p.step for p in client.get_metric_history(run.info.run_id, "train_loss")] if run else []

    def checkpoints() -> list[int]:
        return sorted(int(path.name.removeprefix("step-")) for path in work.glob("*/**/step-*"))

    def child() -> list[int]:
        return tiny.processes_of(servers.home.root, "lm_pipeline", "train")

    # Cancelled: it saves where it is. One that waits for it is queued, and can be cancelled as well.
    run = servers.launch("tiny_long", "checkpoint")
    waiting = servers.launch("tiny_gru", "checkpoint")
    tiny.wait_for(lambda: len(steps()) >= 3, 90, "metrics of the training are in MLflow")
    assert servers.runs()[waiting]["status"] == "QUEUED"
    assert servers.ask(TERMINATE, run=waiting)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    assert servers.runs()[waiting]["status"] == "CANCELED"
    cancelled = time.monotonic()
    assert servers.ask(TERMINATE, run=run)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    tiny.wait_for(lambda: not child(), 15, "the child is gone")
    assert time.monotonic() - cancelled < 15
    servers.wait(run, "CANCELED", 20)
    saved = checkpoints()[-1]
    assert 0 < saved < NUM_STEPS
    tiny.wait_for(lambda: training().info.status == "KILLED", 20, "MLflow says KILLED")
    mlflow_run = training().info.run_id

    # Killed, after metrics beyond its last checkpoint were shipped: not even the run's process can save.
    run = servers.launch("tiny_long", "checkpoint")
    tiny.wait_for(lambda: steps()[-1] >= max(saved, *checkpoints()) + 100, 90, "metrics beyond the checkpoint")
    [number] = child()
    worker = int(Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(worker, signal.SIGKILL)
    tiny.wait_for(lambda: not child(), 15, "the child died with its run")
    shipped = steps()[-1]
    assert shipped > checkpoints()[-1]
    servers.wait(run, "FAILURE", 30)

    run = servers.launch("tiny_long", "checkpoint")
    servers.wait(run, "SUCCESS", 150)
    tiny.wait_for(lambda: training().info.status == "FINISHED", 20, "MLflow says FINISHED")
    assert training().info.run_id == mlflow_run
    assert steps() == list(range(50, NUM_STEPS + 1, 50))
    manifests = list((servers.home.artifacts / "checkpoint").glob("*/manifest.json"))
    [made] = [json.loads(path.read_text("utf-8")) for path in manifests]
    assert made["summary"]["resumed_from"][0] == saved
    assert made["summary"]["resumed_from"][-1] < shipped
