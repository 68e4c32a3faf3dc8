"""Trainings that are interrupted, and whether they end as one that was not."""

import os
import signal

import pytest
import torch

from lm_pipeline.training import checkpoint
from lm_pipeline.training.curve import read_curve

VOLATILE = ("elapsed_seconds", "seconds", "tokens_per_second", "mfu")


def final_tensors(job):
    """Every tensor and number of the last checkpoint that must not depend on interruptions."""
    found = checkpoint.load_latest(job.checkpoints, pytest.fail)
    assert found is not None
    counters = {k: v for k, v in found.state["counters"].items() if "seconds" not in k}
    del counters["resumed_from"], counters["curve_bytes"]
    return found.tensors, counters


def curve(job):
    return [{k: v for k, v in p.items() if k not in VOLATILE} for p in read_curve(job.curve)]


def assert_same_training(ours, theirs):
    (tensors, counters), (other_tensors, other_counters) = final_tensors(ours), final_tensors(theirs)
    assert counters == other_counters
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name
    assert curve(ours) == curve(theirs)


def stop_at(listener, step):
    """Send SIGINT to this process when the training reports a step."""

    def interfere(reported):
        if reported == step:
            os.kill(os.getpid(), signal.SIGINT)

    listener.at_point = interfere
