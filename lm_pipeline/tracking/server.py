"""How MLflow's server is started, and where its pages are. No MLflow import."""

import os
import sys

from lm_pipeline.home import Home

DEFAULT_PORT = 5000
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


def is_remote(home: Home) -> bool:
    """Whether runs are tracked on a server, not in a local store."""
    return home.tracking_uri.startswith(("http://", "https://"))


def ui_url(home: Home) -> str:
    """Base address of MLflow's pages.

    It is the tracking URI where that is a server. Over a local store it is where `lm-pipeline up` serves it:
    `LM_PIPELINE_MLFLOW_URL`, else port 5000 of this machine.
    """
    if is_remote(home):
        return home.tracking_uri.rstrip("/")
    return os.environ.get("LM_PIPELINE_MLFLOW_URL", f"http://127.0.0.1:{DEFAULT_PORT}").rstrip("/")


def server_command(home: Home, port: int = DEFAULT_PORT) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of an `mlflow server` over this home's SQLite store.

    One worker and no job execution (2 processes instead of 10); only requests whose Host header is exactly this
    machine's loopback name and port are answered, because the defaults let foreign pages reach the server through DNS.
    Artifacts are plain paths, not proxied: the shipper writes to the store without a server as well.
    """
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    origins = [f"http://{host}" for host in hosts]
    arguments = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{home.mlflow / 'mlflow.db'}"]
    arguments += ["--no-serve-artifacts", "--default-artifact-root", str(home.mlflow / "artifacts")]
    arguments += ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)]
    environment = {**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # The server is the store: it must not be told to look for another one.
    environment.pop("MLFLOW_TRACKING_URI", None)
    return arguments, environment
