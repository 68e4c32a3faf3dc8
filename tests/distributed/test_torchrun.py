"""Trainings under torchrun: a rank that dies takes the job down with its traceback, and the next run resumes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_pipeline.errors import ChildError
from lm_pipeline.launch import supervise, torchrun
from lm_pipeline.training.curve import read_curve
from tests.distributed.rank import make_job
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
SETTINGS = {"checkpoint_interval": 2}


def program(folder, at):
    """Our own program in the place of `lm_pipeline`, with the same options of torchrun."""
    options = torchrun([], 2)[:-1]
    return [*options, "tests.distributed.rank", str(folder), "transformer", json.dumps(SETTINGS), json.dumps(at)]


def run(folder, at):
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DIED": str(folder / "died")}
    supervise(program(folder, at), environment)


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_rank_that_dies_takes_the_job_down_and_the_next_run_resumes(how, tmp_path):
    with pytest.raises(ChildError) as caught:
        run(tmp_path / "job", {how: 7})
    assert time.time() - float((tmp_path / "job" / "died").read_text()) < 20
    told = str(caught.value)
    if how == "raise":
        assert "RuntimeError: the plug was pulled" in told
        assert "rank.py" in told
    else:
        assert "SIGKILL" in told
    run(tmp_path / "job", {})
    assert json.loads((tmp_path / "job" / "result.json").read_text())["resumed_from"] == [6]
    points = read_curve(make_job(tmp_path / "job", "transformer", SETTINGS).curve)
    assert [point["step"] for point in points if "train_loss" in point] == list(range(1, 13))


def test_ranks_do_not_outlive_who_started_them(tmp_path):
    """SIGKILL of the supervisor: torchrun puts its ranks into sessions of their own, so they watch their parent."""
    (tmp_path / "job").mkdir()
    settings = SETTINGS | {"num_steps": 1_000_000, "log_interval": 1000}
    script = f"""
import sys
from lm_pipeline.launch import supervise, torchrun
command = torchrun([], 2)[:-1]
arguments = ["tests.distributed.rank", {str(tmp_path / "job")!r}, "transformer", {json.dumps(settings)!r}, "{{}}"]
supervise([*command, *arguments])
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MARK": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL) as supervisor:
        try:
            wait_for(lambda: list(tmp_path.glob("job/work/checkpoints/step-*")), 120)
            assert len(marked(tmp_path)) >= 4  # supervisor, torchrun and two ranks
        finally:
            supervisor.kill()
    wait_for(lambda: not marked(tmp_path), 20)


def marked(folder):
    """Processes that carry this test's mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"MARK={folder}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.1)


@pytest.mark.slow
def test_two_nodes_meet_and_train_as_one_process_does(tmp_path):
    """Two agents of torchrun on one machine stand for two nodes; they meet at the first one's address."""
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    agent = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d"]
    agent += [f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=job", "-m", "tests.distributed.rank"]
    both, one = tmp_path / "both", tmp_path / "one"
    for folder in (both, one):
        folder.mkdir()
    arguments = ["transformer", json.dumps(SETTINGS), "{}"]
    nodes = [subprocess.Popen([*agent, str(both), *arguments], env=environment) for _ in range(2)]
    assert [node.wait(timeout=240) for node in nodes] == [0, 0]
    subprocess.run([sys.executable, "-m", "tests.distributed.rank", str(one), *arguments], env=environment, check=True)
    curves = [read_curve(make_job(folder, "transformer", SETTINGS).curve) for folder in (both, one)]
    losses = [[point["train_loss"] for point in curve if "train_loss" in point] for curve in curves]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
