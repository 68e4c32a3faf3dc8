"""`lm-pipeline play`: a person types a prompt and sees two experiments answer, token by token."""

import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.assets import tiny
from tests.servers import free_port

pytestmark = pytest.mark.browser


@pytest.fixture
def playground(up, tmp_path):
    port = free_port()
    environment = {**os.environ, "LM_PIPELINE_HOME": str(up.home.root)}
    environment["LM_PIPELINE_DEFS"] = str(up.home.root.parent / "defs")
    # NiceGUI looks at these two and then expects its own test harness.
    environment = {name: value for name, value in environment.items() if not name.startswith(("PYTEST_", "NICEGUI_"))}
    command = [sys.executable, "-m", "lm_pipeline", "play", "tiny_gru", "tiny_ngram", "--port", str(port)]
    log = tmp_path / "play.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return process.poll() is not None or urllib.request.urlopen(url, timeout=5).status == 200
        except (urllib.error.URLError, TimeoutError):
            return False

    try:
        tiny.wait_for(answers, 90, "the playground answers")
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(20)


def test_two_experiments_answer_side_by_side_with_their_tokens_probabilities(playground, screenshots):
    with screenshots.browser_page() as (page, errors):
        page.goto(playground)
        page.get_by_label("Prompt (empty begins a document)").fill("The river")
        page.get_by_label("max tokens").fill("7")
        page.get_by_label("temperature").fill("0")
        page.get_by_role("button", name="Generate").click()
        page.get_by_text("tokens, log probability").nth(1).wait_for(timeout=60_000)
        columns = page.locator(".answer")
        counts = [columns.nth(index).locator(".token").count() for index in range(2)]
        assert all(0 < count <= 7 for count in counts), counts
        assert page.get_by_text("tokens, log probability").count() == 2
        columns.nth(0).locator(".token").first.hover()
        page.get_by_text(", rank 1").first.wait_for(timeout=10_000)  # greedy: the first choice
        page.get_by_label("max tokens").fill("100000")
        page.get_by_role("button", name="Generate").click()
        page.get_by_text("the page shows 400 at most").first.wait_for(timeout=30_000)
        page.get_by_label("max tokens").fill("7")
        page.get_by_label("top p").fill("0")
        page.get_by_role("button", name="Generate").click()
        page.get_by_text("top_p: Input should be greater than 0. Given: 0.", exact=False).first.wait_for(timeout=30_000)
        assert page.get_by_text("pydantic").count() == 0
    assert errors == []


def test_an_unknown_experiment_is_refused_before_the_page_opens(up):
    environment = {**os.environ, "LM_PIPELINE_HOME": str(up.home.root)}
    environment["LM_PIPELINE_DEFS"] = str(up.home.root.parent / "defs")
    command = [sys.executable, "-m", "lm_pipeline", "play", "tiny_gro"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "Did you mean 'tiny_gru'?" in done.stderr
