import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lm_pipeline.artifacts import Artifact
from lm_pipeline.corpus.documents import plan
from lm_pipeline.errors import InputError
from lm_pipeline.graph import materialize
from lm_pipeline.stages import parts
from tests.conftest import TinyProject, chinese_text, english_text

CORPUS = "documents/tiny_english"
NUM_FILES = 5


@pytest.fixture
def several_parts(tiny_fresh: TinyProject, monkeypatch) -> TinyProject:
    """A corpus of as many parts as files, English and Chinese, with records that cannot be read; always in parallel."""
    for number in range(NUM_FILES):
        texts = [text(n) for text in (english_text, chinese_text) for n in range(number * 100, number * 100 + 20)]
        lines = [json.dumps({"text": text, "book": None}, ensure_ascii=False) for text in texts]
        path = tiny_fresh.text / "english" / f"more-{number}.jsonl"
        path.write_text("\n".join([*lines, "{not json"]) + "\n", "utf-8")
    monkeypatch.setattr(plan, "PART_BYTES", 1)
    monkeypatch.setattr(plan, "divisible", lambda *_: False)
    monkeypatch.setattr(parts, "PARALLEL_BYTES", 0)
    return tiny_fresh


def build(project: TinyProject, lines: list[str] | None = None) -> Artifact:
    project.materialize("raw_documents/tiny_english")
    log = (lambda _: None) if lines is None else lines.append
    return materialize(project.graph, project.home, CORPUS, lambda _: None, log=log).artifact


def content(project: TinyProject, documents: Artifact) -> list[str]:
    """The documents' own digest and those of the bytes of all parts."""
    folder = project.home.artifacts
    found = [json.loads((folder / p["stage"] / p["key"] / "manifest.json").read_bytes()) for p in documents.parts]
    return [documents.digest, *(manifest["digest"] for manifest in found)]


def drop(project: TinyProject) -> None:
    for stage in ("documents", "document_part"):
        subprocess.run(["rm", "-r", project.home.artifacts / stage], check=True)


def compare(project: TinyProject, monkeypatch) -> list[str]:
    monkeypatch.setenv("LM_PIPELINE_WORKERS", "1")
    monkeypatch.delenv("LM_PIPELINE_ENGINE", raising=False)
    alone = content(project, build(project))
    drop(project)
    return alone


def test_several_processes_build_the_bytes_that_one_builds(several_parts, monkeypatch):
    alone = compare(several_parts, monkeypatch)
    monkeypatch.setenv("LM_PIPELINE_WORKERS", "2")
    lines: list[str] = []
    made = build(several_parts, lines)
    assert content(several_parts, made) == alone
    assert made.summary["num_parts_built"] == NUM_FILES + 1
    assert any(line.startswith(f"part {NUM_FILES + 1}/{NUM_FILES + 1}  ") and "MB/s" in line for line in lines)


def test_a_field_that_no_document_has_is_told(tiny_fresh):
    lines: list[str] = []
    build(tiny_fresh, lines)
    assert not [line for line in lines if "no document has a value" in line]
    tiny_fresh.edit("tiny_english", "group: book", "group: bock, title: book")
    made = build(tiny_fresh, lines)
    assert made.summary["field_values"] == {"text": 63, "title": 63}
    assert [line for line in lines if "no document has a value for group: bock" in line]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'")
def test_ray_builds_the_bytes_that_one_process_builds(several_parts, monkeypatch):
    alone = compare(several_parts, monkeypatch)
    monkeypatch.setenv("LM_PIPELINE_WORKERS", "2")
    monkeypatch.setenv("LM_PIPELINE_ENGINE", "ray")
    made = build(several_parts)
    assert content(several_parts, made) == alone
    assert made.summary["num_parts_built"] == NUM_FILES + 1


def test_an_error_in_another_process_is_raised_as_if_it_had_been_here(several_parts, monkeypatch):
    several_parts.materialize("raw_documents/tiny_english")
    several_parts.text.joinpath("english", "more-3.jsonl").write_text('{"text": "edited meanwhile"}\n')
    monkeypatch.setenv("LM_PIPELINE_WORKERS", "2")
    with pytest.raises(InputError, match=r"more-3\.jsonl"):
        materialize(several_parts.graph, several_parts.home, CORPUS, lambda _: None, log=lambda _: None)


@pytest.mark.parametrize("given", ["0", "two", "-1"])
def test_a_wrong_number_of_processes_is_named(monkeypatch, given):
    monkeypatch.setenv("LM_PIPELINE_WORKERS", given)
    with pytest.raises(InputError, match="LM_PIPELINE_WORKERS is"):
        parts.num_workers()


def test_an_unknown_engine_is_named(monkeypatch):
    monkeypatch.setenv("LM_PIPELINE_ENGINE", "spark")
    with pytest.raises(InputError, match="expected one of processes, ray"):
        parts.chosen_engine()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(several_parts, monkeypatch, sent):
    several_parts.materialize("raw_documents/tiny_english")
    program = (
        "import sys; from pathlib import Path; from lm_pipeline.corpus.documents import plan;"
        " from lm_pipeline.home import Home; from lm_pipeline.graph import materialize;"
        " from lm_pipeline.stages import parts; from tests.conftest import TinyProject;"
        " plan.PART_BYTES = 1; plan.divisible = lambda *_: False; parts.PARALLEL_BYTES = 0;"
        " root = Path(sys.argv[1]); project = TinyProject(Home(root / 'data'), root / 'defs', root / 'text');"
        f" materialize(project.graph, project.home, {CORPUS!r}, None)"
    )
    root = several_parts.home.root.parent
    environment = {**os.environ, "LM_PIPELINE_WORKERS": "2", "PYTHONPATH": "."}
    with subprocess.Popen([sys.executable, "-c", program, root], env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(family := psutil.Process(process.pid).children(recursive=True)) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(family) >= 4, "the watcher, the child and its processes"
        process.send_signal(sent)
        assert process.wait(timeout=15) != 0
    psutil.wait_procs(family, timeout=10)
    assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
