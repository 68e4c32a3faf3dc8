"""SIGKILL at any write, rename and log call of a dataset's making: run again, it ends as if nothing had happened.

What is compared: which files there are (nothing is left behind, neither in the home nor in `TMPDIR`), the bytes of all
of them but those that tell times, and which artifacts were made in which run (nothing is made twice).
"""

import functools
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lm_pipeline.tracking.spool_events import last_status
from tests.faults.data_child import build_and_die, write_project
from tests.faults.killing import chosen_instants, histogram

TIMES = ("provenance", "attempt")
"""What a manifest says of a run, and not of its result."""


@pytest.fixture(scope="module")
def processes():
    """Children that need not import anything anew, and share no threads with this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.data_child"])
    return context


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """The address of a server of the project's `served/`."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_arguments) -> None:
            """Whoever asked was killed."""

    folder = tmp_path / "project/served"
    folder.mkdir(parents=True)
    with Server(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.fixture
def project(tmp_path, shared_data, server, monkeypatch) -> Path:
    monkeypatch.setenv("POLARS_MAX_THREADS", "1")
    monkeypatch.setenv("LM_PIPELINE_WORKERS", "1")
    monkeypatch.delenv("LM_PIPELINE_ENGINE", raising=False)
    write_project(tmp_path / "project", shared_data, server)
    return tmp_path / "project"


def made(folder: Path) -> list[str]:
    """Addresses whose making began, since this was asked last."""
    log = folder / "built.log"
    lines = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def published(folder: Path) -> set[str]:
    root = folder / "home/artifacts"
    return {path.parent.relative_to(root).as_posix() for path in root.glob("*/*/manifest.json")}


def downloaded(folder: Path) -> set[int]:
    """The files that have been downloaded whole, and are not part of anything yet."""
    return inodes(folder, "work/raw_documents/*/" + "[0-9a-f]" * 64)


def inodes(folder: Path, pattern: str) -> set[int]:
    return {path.stat().st_ino for path in (folder / "home/artifacts").glob(pattern) if path.is_file()}


def files(folder: Path) -> dict[str, str]:
    """Every path below the folder, and what its bytes are where two runs must agree on them."""
    found = {}
    for path in (*folder.glob("home/**/*"), *folder.glob("tmp/**/*")):
        name = re.sub("attempt-[0-9a-f]{12}", "attempt", path.relative_to(folder).as_posix())
        if "refs/failed" not in name:  # folders in which a failure was recorded and cleared again
            found[name] = "" if path.is_dir() else _content(path)
    return found


def _content(path: Path) -> str:
    if path.name == "manifest.json":
        manifest = json.loads(path.read_bytes())
        for name in ("num_parts_built", "num_downloaded"):  # how many were there already an interruption changes
            manifest["summary"].pop(name, None)
        content = json.dumps({key: value for key, value in manifest.items() if key not in TIMES}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
    if path.suffix == ".jsonl" and path.parent.name == "spool":
        return last_status(path) or "no status"
    if path.suffix in (".lock", ".alive", ".sqlite"):
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_no_process_is_left(folder: Path) -> None:
    """Children that parse pages or clean parts go with the one that was killed."""
    mark = f"TMPDIR={folder / 'tmp'}\0".encode()
    deadline = time.monotonic() + 10
    while left := [entry.name for entry in Path("/proc").glob("[0-9]*") if mark in _environment(entry)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


class Story:
    """A run that nobody killed, and others that are compared with it.

    Args:
        begin: what each run finds in its folder; nothing if None.
        inside: whether the processes that clean parts are killed, instead of the one that makes the dataset.
        only: the assets that are made; all if none.
    """

    def __init__(
        self,
        processes,
        project: Path,
        folder: Path,
        begin: Path | None = None,
        inside: bool = False,
        only: Sequence[str] = (),
    ) -> None:
        self.processes, self.project, self.folder, self.begin, self.inside = processes, project, folder, begin, inside
        self.only = only
        self.whole = self._new_folder("whole")
        assert self._run(self.whole, 0) == 0
        self.made, self.files = made(self.whole), files(self.whole)
        assert len(set(self.made)) == len(self.made)
        self.seen = self._seen(self.whole)

    def kill(self, number: int) -> Counter[str]:
        """Kill at so many instants, run again and compare; returns how many by kind."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return Counter(threads.map(self._kill, chosen_instants(self.seen, number)))

    def _new_folder(self, name: str) -> Path:
        if self.begin:
            shutil.copytree(self.begin, self.folder / name)
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def _run(self, folder: Path, at: int) -> int:
        child = self.processes.Process(target=build_and_die, args=(self.project, folder, at, self.inside, self.only))
        child.start()
        child.join(timeout=120)
        assert child.exitcode is not None, "the child hangs"
        return child.exitcode

    def _seen(self, folder: Path) -> list[str]:
        if self.inside:
            return [line.strip() for line in (folder / "instants").read_text().splitlines()]
        return json.loads((folder / "seen.json").read_text())

    def _kill(self, at: int) -> str:
        folder = self._new_folder(f"killed-{at}")
        ended = self._run(folder, at)
        kind = self._seen(folder)[-1] if self.inside else self.seen[at - 1]
        where = f"instant {at}, {kind}"
        assert ended == (1 if self.inside and at % 2 else -signal.SIGKILL), where
        assert_no_process_is_left(folder)
        there, first, complete = published(folder), made(folder), downloaded(folder)
        (folder / "instants").unlink(missing_ok=True)
        assert self._run(folder, 0) == 0, where
        again, found = made(folder), files(folder)
        assert complete <= inodes(folder, "raw_documents/*/*/files/**/*"), f"{where}: downloaded twice"
        assert not there & set(again), f"{where}: made twice"
        assert set(again) == set(self.made) - there, where
        assert len(set(first)) == len(first), where
        lost = 3 if self.inside else 2  # an asset, and the parts of it that were being made
        assert len(set(first) - there) <= lost, where
        changed = {name for name in found.keys() | self.files.keys() if found.get(name) != self.files.get(name)}
        assert not changed, f"{where}: {sorted(changed)}"
        shutil.rmtree(folder)
        return kind


def test_killed_at_some_instants_the_dataset_is_as_if_nothing_had_happened(processes, project, tmp_path):
    died = Story(processes, project, tmp_path).kill(6)
    assert died.total() == 6


@pytest.mark.parametrize("number", [4, pytest.param(1000, marks=pytest.mark.slow)])
def test_killed_at_instants_of_a_download_what_is_complete_is_not_asked_for_again(processes, project, tmp_path, number):
    story = Story(processes, project, tmp_path, only=["raw_documents/web"])
    assert story.seen.count("download: halfway") == 3
    died = story.kill(number)
    print(histogram(died))
    assert died.total() == min(number, len(story.seen))


@pytest.mark.slow
def test_killed_at_instants_of_every_kind_the_dataset_is_as_if_nothing_had_happened(processes, project, tmp_path):
    story = Story(processes, project, tmp_path)
    died = story.kill(200)
    print(histogram(died))
    assert died.total() >= 200
    assert died.keys() == set(story.seen)
    kinds = {kind.split(":")[0] for kind in died}
    assert kinds >= {
        "text file",
        "rows",
        "rename",
        "replace",
        "link",
        "fsync",
        "os.write",
        "log call",
        "tokens",
        "download",
        "removal",
    }


@pytest.mark.slow
def test_killed_while_new_text_comes_in_the_ledger_and_all_else_are_as_if_nothing_had_happened(
    processes, project, tmp_path
):
    before = Story(processes, project, tmp_path / "before").whole
    (before / "seen.json").unlink()
    shutil.copy(project / "arrival/later.jsonl", project / "text/chinese")
    story = Story(processes, project, tmp_path / "after", begin=before)
    assert 0 < len([address for address in story.made if address.startswith("document_part")]) < 3, "parts stay"
    print(histogram(story.kill(40)))


@pytest.mark.slow
def test_processes_that_clean_parts_may_be_killed_and_so_may_the_one_that_waits_for_them(processes, project, tmp_path):
    died = Story(processes, project, tmp_path, inside=True).kill(12)
    print(histogram(died))
    assert died.total() == 12
