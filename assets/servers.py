"""`lm-pipeline up`: Dagster and MLflow on one home, watched, until Ctrl-C."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import click

from assets.dead_runs import end_dead_runs
from assets.links import DAGSTER_URL
from lm_pipeline.errors import ChildError, LmPipelineError
from lm_pipeline.home import Home
from lm_pipeline.tracking.server import is_remote, server_command, ui_url
from lm_pipeline.tracking.shipper import ensure_shipper

WORKSPACE = Path(__file__).resolve().parents[1] / "dagster_workspace.yaml"
START_SECONDS = 120


def serve(home: Home, dagster_port: int, mlflow_port: int) -> int:
    """Run both servers until one dies or Ctrl-C.

    Returns:
        Exit code: 0 after Ctrl-C or SIGTERM, 1 when a server died.
    """
    mlflow_arguments, mlflow_environment = server_command(home, mlflow_port)
    mlflow_url = f"http://127.0.0.1:{mlflow_port}"
    dagster_url = f"http://127.0.0.1:{dagster_port}"
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home.dagster),
        "LM_PIPELINE_HOME": str(home.root),
        "LM_PIPELINE_MLFLOW_URL": mlflow_url,
        DAGSTER_URL: dagster_url,
    }
    dagster_arguments = [sys.executable, "-m", "assets.webserver", "dev", "-w", str(WORKSPACE)]
    dagster_arguments += ["-h", "127.0.0.1", "-p", str(dagster_port), "--log-level", "warning"]
    # SIGINT too: a shell script that starts this in the background hands "ignored" down, to the servers as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    end_dead_runs(home)
    ensure_shipper(home)
    servers = {
        "MLflow": _start(mlflow_arguments, mlflow_environment, home.root / "mlflow-server.log"),
        "Dagster": _start(dagster_arguments, environment, home.root / "dagster-server.log"),
    }
    try:
        _wait_until_up(servers, {"MLflow": f"{mlflow_url}/health", "Dagster": f"{dagster_url}/server_info"})
        click.echo(f"Dagster  {dagster_url}")
        click.echo(f"MLflow   {mlflow_url}")
        for line in _experiment_links(home, mlflow_url):
            click.echo(line)
        click.echo("Ctrl-C stops both.")
        sys.stdout.flush()
        while all(server.poll() is None for server in servers.values()):
            ensure_shipper(home)
            end_dead_runs(home)
            time.sleep(2)
        dead = [name for name, server in servers.items() if server.poll() is not None]
        click.echo(f"{' and '.join(dead)} ended. The logs are below {home.root}.", err=True)
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(servers.values())
    return 1


def _start(arguments: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(arguments, env=environment, stdout=output, stderr=output, start_new_session=True)


def _wait_until_up(servers: dict[str, subprocess.Popen[bytes]], urls: dict[str, str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    for name, url in urls.items():
        while not _answers(url):
            if servers[name].poll() is not None or time.monotonic() > deadline:
                raise ChildError(
                    f"{name} did not start (no answer at {url}). Its log is in the home; is the port taken? Choose"
                    " another with --dagster-port or --mlflow-port."
                )
            time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _experiment_links(home: Home, mlflow_url: str) -> list[str]:
    from lm_pipeline.project import load_project
    from lm_pipeline.tracking.mlflow_store import experiment_view_url

    lines = []
    for dataset in load_project(home).declarations.datasets:
        try:
            url = experiment_view_url(home, ui_url(home) if is_remote(home) else mlflow_url, dataset)
        except LmPipelineError as error:
            return [f"  MLflow at {home.tracking_uri} does not answer now: {error}"]
        if url:
            lines.append(f"  models on {dataset}: {url}")
    return lines


def _stop(servers: Iterable[subprocess.Popen[bytes]]) -> None:
    """End the servers and all that they started: a run that is going on gets its time to save, nothing is left."""
    for server in servers:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGINT)
    deadline = time.monotonic() + 20
    for server in servers:
        while _group_lives(server) and time.monotonic() < deadline:
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _group_lives(server: subprocess.Popen[bytes]) -> bool:
    """Whether a server or a process that it left behind (a code server, a run) is still there."""
    server.poll()  # reaped, or it would count as a member of its own group
    try:
        os.killpg(server.pid, 0)
    except ProcessLookupError:
        return False
    return True
