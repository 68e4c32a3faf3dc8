"""`lm-pipeline up` on a tiny project that is built, for pages to be opened in Chromium."""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from lm_pipeline.home import Home
from tests.assets import tiny
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Up:
    """Two running servers."""

    home: Home
    dagster: str
    mlflow: str


@pytest.fixture(scope="session")
def screenshots() -> ModuleType:
    """The documentation's script: the tests open pages as it does."""
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "docs" / "screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not Path(module.CHROMIUM).is_file():
        message = f"there is no {module.CHROMIUM}: run tests/browser/install.sh, or set CHROMIUM"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return module


@pytest.fixture(scope="session")
def up(screenshots, tmp_path_factory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("browser")
    home = Home(folder / "data")
    tiny.declare_tiny(folder / "defs", folder / "text")
    dagster, mlflow = free_port(), free_port()
    environment = {**os.environ, "LM_PIPELINE_HOME": str(home.root), "LM_PIPELINE_DEFS": str(folder / "defs")}
    environment["LM_PIPELINE_MLFLOW_URL"] = f"http://127.0.0.1:{mlflow}"
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "lm_pipeline"]
    for arguments in (["init"], ["materialize", "tiny_gru", "tiny_ngram"]):
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    log = folder / "up.log"
    with log.open("wb") as output:
        ports = ["--dagster-port", str(dagster), "--mlflow-port", str(mlflow)]
        process = subprocess.Popen([*command, "up", *ports], env=environment, stdout=output, stderr=output)
    try:
        tiny.wait_for(lambda: "Ctrl-C stops both" in log.read_text() or process.poll() is not None, 150, "it is up")
        assert process.poll() is None, log.read_text()
        yield Up(home, f"http://127.0.0.1:{dagster}", f"http://127.0.0.1:{mlflow}")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        tiny.end_shipper(home.root)
