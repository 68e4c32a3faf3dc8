import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lm_pipeline import locks
from lm_pipeline.errors import BusyError

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from lm_pipeline import locks
with getattr(locks, sys.argv[2])(Path(sys.argv[1]), *sys.argv[3:]):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"])
    print("held", flush=True)
    time.sleep(120)
"""


def hold(path: Path, kind: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), kind, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_holder_is_told_who_holds_it(tmp_path):
    process = hold(tmp_path / "x.lock", "exclusive", "x")
    try:
        message = f"^x is in use by process {process.pid} since .*Wait for it, or stop that process"
        with pytest.raises(BusyError, match=message), locks.exclusive(tmp_path / "x.lock", "x"):
            pass
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_asking_whether_it_is_held_makes_nothing_and_takes_nothing(tmp_path):
    path = tmp_path / "x.lock"
    assert not locks.is_held(path)
    assert not path.exists()
    with locks.exclusive(path, "x"):
        assert locks.is_held(path)
    assert not locks.is_held(path)
    with locks.exclusive(path, "x"):
        pass


def test_kill_9_frees_it_even_while_a_child_of_the_holder_lives_on(tmp_path):
    process = hold(tmp_path / "x.lock", "exclusive", "x")
    process.kill()
    process.communicate(timeout=10)
    with locks.exclusive(tmp_path / "x.lock", "x"):
        pass


def test_waiting_for_it_ends_when_it_is_free(tmp_path):
    path = tmp_path / "x.lock"
    with locks.exclusive(path, "x"):
        start = time.monotonic()
        with pytest.raises(BusyError), locks.exclusive(path, "x", wait_seconds=0.2):
            pass
        assert time.monotonic() - start >= 0.2
        waited = []

        def wait():
            with locks.exclusive(path, "x", wait_seconds=20):
                waited.append(True)

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        assert waited == []
    thread.join(20)
    assert waited == [True]


def test_many_share_and_none_of_them_lets_an_exclusive_holder_in(tmp_path):
    path = tmp_path / "x.lock"
    with locks.shared(path):
        with locks.shared(path), pytest.raises(BusyError), locks.exclusive(path, "x"):
            pass
        with pytest.raises(BusyError), locks.exclusive(path, "x"):
            pass
    with locks.exclusive(path, "x"):
        pass


def test_whoever_waits_for_a_lock_file_that_is_removed_gets_the_new_one(tmp_path):
    path = tmp_path / "x.lock"
    got = []

    def wait():
        with locks.exclusive(path, "x", wait_seconds=20) as held:
            got.append(held.is_intact())

    with locks.exclusive(path, "x") as held:
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        path.unlink()
        assert not held.is_intact()
    thread.join(20)
    assert got == [True]


def test_a_folder_made_in_the_place_of_a_pinned_one_is_not_it(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with locks.pinned(folder) as held:
        assert held.is_intact()
        folder.rmdir()
        assert not held.is_intact()
        folder.mkdir()
        assert not held.is_intact()
