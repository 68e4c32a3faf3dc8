"""Pictures of the documentation, taken from a running `lm-pipeline up`, or from one that this script starts.

    LM_PIPELINE_HOME=data python docs/screenshots.py [--out docs/images] [--dataset python_docs]

Writes `asset-graph.png` and `mlflow-runs.png` (what a person sees at once in either UI) and `report.png` and
`leaderboard.png` (the pages among the artifacts), each 1440x900 and at most 400 kB. Chromium is Debian's.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

from lm_pipeline.artifacts import Store
from lm_pipeline.home import Home, find_home
from lm_pipeline.project import load_project
from lm_pipeline.tracking.mlflow_store import experiment_view_url

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZE = {"width": 1440, "height": 900}
PANEL_PIXELS = 260
MAX_BYTES = 400_000
DAGSTER_PORT, MLFLOW_PORT = 3000, 5000
# MLflow greets a newcomer with an assistant beside the table. (Dagster's tour is off in the home's dagster.yaml.)
# Frames in a sandbox have no storage.
QUIET = """
try { localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true"); } catch (error) {}
"""


@contextlib.contextmanager
def browser_page() -> Iterator[tuple[Page, list[str]]]:
    """A page of a fresh browser, and the JavaScript errors that it meets."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context(viewport=SIZE, color_scheme="light", locale="en-US").new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script(QUIET)
        try:
            yield page, errors
        finally:
            browser.close()


def open_asset_graph(page: Page, url: str, groups: list[str]) -> None:
    """Dagster's asset graph with these groups, all their nodes drawn, its panels closed and the graph fitted in."""
    selection = quote(" or ".join(f'group:"{name}"' for name in groups), safe="")
    expanded = quote(",".join(f"global@global:{name}" for name in groups), safe="")
    # Dagster fits the graph in once, beside both panels: the window is wider by these until they are closed.
    page.set_viewport_size({**SIZE, "width": SIZE["width"] + PANEL_PIXELS})
    page.goto(f"{url}/asset-groups~{selection}/?expanded={expanded}")
    page.get_by_text("token_shards").first.wait_for(timeout=120_000)
    page.wait_for_timeout(1500)  # the graph is laid out and fitted in
    page.get_by_text("Hide navigation").click()
    page.get_by_placeholder("Jump to…").locator("xpath=following::button[1]").click()
    page.wait_for_timeout(1000)  # the panels slide
    page.set_viewport_size(SIZE)
    page.get_by_label("zoom_out").first.click()  # fitted in is not whole: its lower end stands below the window
    page.wait_for_timeout(500)
    page.mouse.move(200, 800)  # bare ground; the head of the highest group hides behind the bar above
    page.mouse.down()
    page.mouse.move(260, 832, steps=8)
    page.mouse.up()


def open_runs_table(page: Page, url: str) -> None:
    """MLflow's runs table, loaded."""
    page.goto(url)
    page.get_by_text("test/bits_per_byte").last.wait_for(timeout=120_000)
    notice = page.get_by_text("You're viewing a shared view").locator("xpath=following::button[3]")
    if notice.count():
        notice.click()


def shoot(page: Page, path: Path) -> None:
    """Write the visible part of a page."""
    page.wait_for_timeout(1500)  # animations: nothing tells when they are over
    page.screenshot(path=path)
    size = path.stat().st_size
    assert size <= MAX_BYTES, f"{path} has {size} bytes, more than {MAX_BYTES}"
    sys.stdout.write(f"{path}  {size / 1000:.0f} kB\n")


@contextlib.contextmanager
def servers(home: Home, dagster: str, mlflow: str) -> Iterator[None]:
    """Dagster and MLflow on the home: those that run, or new ones that end with this."""
    if _answers(f"{dagster}/server_info") and _answers(f"{mlflow}/health"):
        yield
        return
    ports = [url.rsplit(":", 1)[1] for url in (dagster, mlflow)]
    command = [sys.executable, "-m", "lm_pipeline", "up", "--dagster-port", ports[0], "--mlflow-port", ports[1]]
    process = subprocess.Popen(command, env={**os.environ, "LM_PIPELINE_HOME": str(home.root)})
    try:
        while not (_answers(f"{dagster}/server_info") and _answers(f"{mlflow}/health")):
            assert process.poll() is None, "`lm-pipeline up` ended"
            time.sleep(0.5)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def main(arguments: Any) -> None:
    """Take all pictures."""
    home = find_home().require_initialised()
    arguments.out.mkdir(parents=True, exist_ok=True)
    declared = load_project(home).declarations
    dataset = arguments.dataset or next(iter(declared.datasets))
    experiments = list(declared.experiments_of(dataset))
    store = Store(home.artifacts)
    with servers(home, arguments.dagster, arguments.mlflow), browser_page() as (page, errors):
        shown = arguments.experiment or experiments[-1]
        open_asset_graph(page, arguments.dagster, ["corpora", dataset, shown])
        shoot(page, arguments.out / "asset-graph.png")
        url = experiment_view_url(home, arguments.mlflow, dataset)
        assert url is not None, f"MLflow has no experiment {dataset}: build the dataset's experiments first"
        open_runs_table(page, url)
        shoot(page, arguments.out / "mlflow-runs.png")
        for artifact, name in (
            (store.ref(f"{shown}/report"), "report"),
            (store.ref(f"{dataset}/leaderboard"), "leaderboard"),
        ):
            assert artifact is not None, f"there is no {name} of {dataset}"
            page.goto(artifact.path(f"{name}.html").as_uri())
            shoot(page, arguments.out / f"{name}.png")
        sys.stdout.write(json.dumps({"javascript_errors": errors}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--dataset", help="default: the first declared")
    parser.add_argument("--experiment", help="whose report; default: the dataset's last")
    parser.add_argument("--dagster", default=f"http://127.0.0.1:{DAGSTER_PORT}", help="address of Dagster")
    parser.add_argument("--mlflow", default=f"http://127.0.0.1:{MLFLOW_PORT}", help="address of MLflow")
    main(parser.parse_args())
