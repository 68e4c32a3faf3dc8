import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_pipeline.artifacts import MANIFEST, Store
from lm_pipeline.errors import BusyError
from tests.unit.artifacts.written_files import ROOT, STAGE, manifests, write_files

# A builder in a process of its own. It writes in small steps, so that a kill can come between any two of them.
BUILDER = """
import sys, time
from pathlib import Path
from lm_pipeline.artifacts import Stage, Store
from lm_pipeline.errors import LmPipelineError

root, pause, wait = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
FILES = {"a.bin": b"a" * 50_000, "nested/b.bin": b"b" * 70_000, "c.txt": "Gesetz \\u6cd5\\u5f8b\\n".encode()}

def write(staging):
    print("writing", flush=True)
    for name, content in FILES.items():
        path = staging.path / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for start in range(0, len(content), 5000):
                file.write(content[start : start + 5000])
                file.flush()
                time.sleep(pause)
    staging.summary = {"bytes": sum(map(len, FILES.values()))}

try:
    artifact, reused = Store(root).build(Stage("demo", 1), {}, {"x": 1}, write, wait)
    print("reused" if reused else "built", artifact.digest, flush=True)
except LmPipelineError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def start_builder(root: Path, pause: float = 0.0, wait: float = 0.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(root), str(pause), str(wait)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def started(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_of_two_processes_one_builds_and_the_impatient_other_is_told_who(tmp_path):
    first = started(start_builder(tmp_path, pause=0.05))
    second = start_builder(tmp_path)
    out, err = second.communicate(timeout=30)
    assert second.returncode == BusyError.exit_code
    assert out == ""
    assert f"is in use by process {first.pid} since" in err
    out, _ = first.communicate(timeout=30)
    assert out.startswith("built ")
    assert len(manifests(tmp_path)) == 1


def test_of_two_processes_one_builds_and_the_patient_other_reuses(tmp_path):
    racers = [start_builder(tmp_path, pause=0.01, wait=30) for _ in range(2)]
    said = [racer.communicate(timeout=60)[0].splitlines()[-1].split() for racer in racers]
    assert sorted(words[0] for words in said) == ["built", "reused"]
    assert len({words[1] for words in said}) == 1
    [manifest] = manifests(tmp_path)
    assert len([path for path in manifest.parent.iterdir() if path.is_dir()]) == 1


def test_a_killed_holder_blocks_nobody_and_what_it_left_goes(tmp_path):
    first = started(start_builder(tmp_path, pause=5))
    first.kill()
    first.communicate(timeout=10)
    assert manifests(tmp_path) == []
    assert len(list(tmp_path.glob("demo/*/attempt-*"))) == 1
    artifact, reused = Store(tmp_path).build(STAGE, {}, {"x": 1}, write_files)
    assert not reused
    assert {path.name for path in artifact.directory.iterdir()} == {MANIFEST, artifact.files_dir.name}
    artifact.verify()


def _kill_at_random_instants(folder: Path, count: int) -> None:
    """Kill a builder `count` times, at instants spread over its whole life; whatever it left must be all or nothing."""
    expected, _ = Store(folder / "expected").build(STAGE, {}, {"x": 1}, write_files)
    draw = random.Random(20)
    killed = published = 0
    for number in range(count):
        root = folder / str(number)
        process = started(start_builder(root, pause=0.002))
        time.sleep(draw.uniform(0, 0.09))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        killed += process.returncode == -signal.SIGKILL
        store = Store(root)
        found = store.find("demo", expected.key)
        published += found is not None
        if found is not None:
            found.verify()
        again, reused = store.build(STAGE, {}, {"x": 1}, write_files)
        assert reused == (found is not None)
        again.verify()
        assert again.digest == expected.digest
        assert again.manifest["files"] == expected.manifest["files"]
    assert killed > count / 3, "the kills came too late to mean anything"
    assert published < count


def test_kill_9_at_thirty_instants_leaves_all_or_nothing(tmp_path):
    _kill_at_random_instants(tmp_path, 30)


@pytest.mark.slow
def test_kill_9_at_two_hundred_instants_leaves_all_or_nothing(tmp_path):
    _kill_at_random_instants(tmp_path, 200)
