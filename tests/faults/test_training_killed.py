"""SIGKILL at every step, write, rename and log call of a training: it ends as if nothing had happened."""

import json
import multiprocessing
import signal
from collections import Counter

import pytest

from lm_pipeline.tracking.spool_events import read_events
from lm_pipeline.training.curve import read_curve
from tests.faults.killing import histogram
from tests.faults.training_child import NUM_STEPS, make_job, train_and_die

VOLATILE = ("elapsed_seconds", "seconds", "tokens_per_second", "mfu")


@pytest.fixture(scope="module")
def processes():
    """Children that need not import torch anew, and share no threads with this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lm_pipeline.training.loop", "torch._dynamo"])  # optimizers import the latter
    return context


def run(processes, folder, at) -> int:
    folder.mkdir(exist_ok=True)
    child = processes.Process(target=train_and_die, args=(folder, at))
    child.start()
    child.join(timeout=120)
    assert child.exitcode is not None, "the child hangs"
    return child.exitcode


def points(folder):
    curve = read_curve(make_job(folder).curve)
    return [{key: value for key, value in point.items() if key not in VOLATILE} for point in curve]


def kill_and_compare(processes, folder, num_instants: int | None) -> Counter:
    """Kill at so many instants, evenly spread over all of them (at each for None); returns how many by kind."""
    assert run(processes, folder / "first", 0) == 0  # measures the machine: writes that only one training makes
    assert run(processes, folder / "whole", 0) == 0
    whole = json.loads((folder / "whole" / "result.json").read_text())
    expected, total = points(folder / "whole"), len(whole["seen"])
    number = num_instants or total
    died: Counter[str] = Counter()
    for at in [1 + i * total // number for i in range(number)]:
        killed = folder / f"killed-{at}"
        assert run(processes, killed, at) == -signal.SIGKILL, at
        assert run(processes, killed, 0) == 0, at
        result = json.loads((killed / "result.json").read_text())
        assert result["weights"] == whole["weights"], at
        assert points(killed) == expected, at
        assert_one_value_a_step(killed)
        died[whole["seen"][at - 1]] += 1
    return died


def assert_one_value_a_step(folder) -> None:
    """The spool may tell a step twice, with the same value; the shipper sends what it has sent no second time."""
    told = {}
    for event in read_events(folder / "spool" / "checkpoint-0123456789abcdef-1.jsonl"):
        for name, value in event.body["values"].items():
            if name.split("/")[0] not in VOLATILE:
                assert told.setdefault((name, event.body["step"]), value) == value
    assert {step for name, step in told if name == "train_loss"} == set(range(1, NUM_STEPS + 1))


def test_killed_at_some_instants_it_ends_as_if_nothing_had_happened(processes, tmp_path):
    died = kill_and_compare(processes, tmp_path, 20)
    assert len(died) >= 8


@pytest.mark.slow
def test_killed_at_every_instant_it_ends_as_if_nothing_had_happened(processes, tmp_path):
    died = kill_and_compare(processes, tmp_path, None)
    print(histogram(died))
    assert died.total() >= 200
    kinds = {kind.split(":")[0] for kind in died}
    assert kinds >= {
        "step",
        "validation",
        "log call",
        "curve",
        "tensors",
        "text file",
        "rename",
        "fsync",
        "os.write",
    }
