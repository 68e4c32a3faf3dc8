"""Training on CUDA: resume, bfloat16, compilation, memory that does not suffice, shards on several GPUs."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch

from lm_pipeline.specs.model import TransformerModel
from lm_pipeline.training.curve import read_curve
from lm_pipeline.training.interruption import Interruption
from lm_pipeline.training.loop import train
from lm_pipeline.training.progress import Reporter
from tests.distributed.rank import make_job
from tests.unit.models.model_families import SPECS, VARIANTS


def job(folder, **settings):
    folder.mkdir(exist_ok=True)
    return make_job(folder, "transformer", {"device": "cuda", "attention": "fused", **settings})


def losses(done):
    return [point["train_loss"] for point in read_curve(done.curve) if "train_loss" in point]


class Stopping(Reporter):
    """Interrupts at a step."""

    def __init__(self, at):
        super().__init__(0, quiet=True)
        self.at = at

    def point(self, step, values, seconds_per_step=None):
        del values, seconds_per_step
        if step == self.at:
            os.kill(os.getpid(), 2)


def test_resume_is_bitwise_identical_with_dropout(tmp_path):
    spec = TransformerModel(num_layers=2, width=16, num_heads=2, dropout=0.2)
    whole, cut = (dataclasses.replace(job(tmp_path / name), spec=spec) for name in ("whole", "cut"))
    train(whole, Stopping(None))
    with Interruption():
        train(cut, Stopping(5))
    train(cut, Stopping(None))
    assert losses(cut) == losses(whole)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_fused_attention_over_many_tokens_gives_the_same_bits_again(precision, tmp_path):
    """Backwards, its blocks of keys add to the same gradients: in one order, if torch is told so and not to warn."""
    spec = TransformerModel(num_layers=2, width=128, num_heads=2)
    settings = {"precision": precision, "batch_size": 16, "context_length": 512}
    results = []
    for number in range(3):
        session, _ = train(dataclasses.replace(job(tmp_path / str(number), **settings), spec=spec), Stopping(None))
        results.append(session.weights())
    for again in results[1:]:
        assert all(torch.equal(tensor, again[name]) for name, tensor in results[0].items())


@pytest.mark.parametrize("settings", [{"precision": "bfloat16"}, {"compile": True}, {"precision": "auto"}])
def test_other_ways_to_compute_stay_near_float32(settings, tmp_path):
    plain, other = job(tmp_path / "plain"), job(tmp_path / "other", **settings)
    train(plain, Stopping(None))
    session, _ = train(other, Stopping(None))
    assert session.device.type == "cuda"
    assert losses(other) == pytest.approx(losses(plain), rel=2e-2)


@pytest.mark.parametrize("name", [*SPECS, "llama", "albert"])
def test_every_family_learns_what_it_learns_on_the_cpu(name, tmp_path):
    spec = (SPECS | VARIANTS)[name]
    here, there = (
        dataclasses.replace(job(tmp_path / device, device=device, attention="explicit"), spec=spec)
        for device in ("cpu", "cuda")
    )
    train(here, Stopping(None))
    with Interruption():
        train(there, Stopping(5))
    train(there, Stopping(None))
    assert losses(there) == pytest.approx(losses(here), rel=2e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_every_optimizer_steps_as_on_the_cpu(optimizer, tmp_path):
    here, there = (
        job(tmp_path / device, device=device, optimizer=optimizer, average_decay=0.9) for device in ("cpu", "cuda")
    )
    train(here, Stopping(None))
    train(there, Stopping(None))
    assert losses(there) == pytest.approx(losses(here), rel=2e-3)


def test_memory_that_does_not_suffice_is_an_error_and_leaves_the_device_usable(tmp_path):
    """A few hundred MB on the host, and above 500 GB of activations: 4 million tokens of 2048 numbers, many times."""
    spec = TransformerModel(num_layers=1, width=2048, num_heads=16)
    huge = dataclasses.replace(job(tmp_path / "huge", batch_size=1 << 19), spec=spec)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        train(huge, Stopping(None))
    torch.cuda.empty_cache()
    train(job(tmp_path / "small"), Stopping(None))


def run_ranks(folder, size, **settings):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
    given = {"attention": "fused", "num_processes": size, **settings}
    command += ["-m", "tests.distributed.rank", str(folder), "transformer", json.dumps(given), "{}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_two_processes_on_the_cpu_of_a_machine_with_a_gpu_train(tmp_path):
    one = job(tmp_path / "one", device="cpu")
    train(one, Stopping(None))
    two = job(tmp_path / "two", device="cpu")
    done = run_ranks(tmp_path / "two", 2, device="cpu")
    assert done.returncode == 0, done.stderr
    assert losses(two) == pytest.approx(losses(one), abs=1e-6)


def test_more_processes_than_gpus_are_refused(tmp_path):
    size = torch.cuda.device_count() + 1
    (tmp_path / "many").mkdir()
    done = run_ranks(tmp_path / "many", size, device="auto", batch_size=8 * size)
    assert done.returncode != 0
    assert f"num_processes is {size}" in done.stderr


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="shards need two GPUs that torch sees")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_gpus_give_the_losses_of_one(strategy, tmp_path):
    one, two = job(tmp_path / "one"), job(tmp_path / "two", strategy=strategy, num_processes=2)
    train(one, Stopping(None))
    done = run_ranks(tmp_path / "two", 2, device="cuda", strategy=strategy)
    assert done.returncode == 0, done.stderr
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
