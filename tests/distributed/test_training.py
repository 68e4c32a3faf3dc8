"""Two gloo processes train as one does: the same data, the same losses, checkpoints for any number of processes."""

import json
import multiprocessing

import pytest
import torch

from lm_pipeline.training.curve import read_curve
from tests.distributed.rank import (
    join_beside_a_gpu,
    make_job,
    step_in_silence,
    step_while_saving,
    train_in_process,
    train_request_in_process,
)
from tests.servers import free_port
from tests.small_dataset import write_dataset, write_request

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def processes():
    """Children that need not import torch anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lm_pipeline.training.loop", "torch._dynamo"])
    return context


@pytest.fixture
def run_ranks(processes):
    """Run a function `(rank, size, port, *arguments)` in that many processes."""

    def run(size, function, *arguments):
        port = free_port()
        children = [processes.Process(target=function, args=(rank, size, port, *arguments)) for rank in range(size)]
        for child in children:
            child.start()
        for child in children:
            child.join(timeout=420)
        assert [child.exitcode for child in children] == [0] * size

    return run


@pytest.fixture
def train(run_ranks):
    """Train in a folder with a number of processes, until the end or a disturbance."""

    def run(folder, size, family="transformer", at=None, **settings):
        folder.mkdir(exist_ok=True)
        if size == 1:  # how processes would share is nothing that one could be told
            settings = {k: v for k, v in settings.items() if k not in ("strategy", "asynchronous_checkpoints")}
        run_ranks(size, train_in_process, folder, family, settings | {"num_processes": size}, at or {})
        return folder

    return run


def losses(folder, family="transformer"):
    points = read_curve(make_job(folder, family, {}).curve)
    named = [(p["step"], name, p[name]) for p in points for name in ("train_loss", "validation_loss") if name in p]
    assert [step for step, name, _ in named if name == "train_loss"] == list(range(1, 13))
    return [loss for _, _, loss in named]


def resumed_from(folder):
    return json.loads((folder / "result.json").read_text())["resumed_from"]


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gru", {}),
        ("gru", {"accumulation": 2}),
        ("gru", {"accumulation": 2, "batching": "length_buckets", "num_buckets": 3}),
        ("transformer", {"average_decay": 0.9, "label_smoothing": 0.1}),
        ("transformer", {"strategy": "fsdp2", "average_decay": 0.9}),
        ("transformer", {"strategy": "fsdp2", "optimizer": "sgd", "learning_rate": 0.05, "max_gradient_norm": 0.1}),
        ("transformer", {"strategy": "fsdp2", "accumulation": 2, "asynchronous_checkpoints": True}),
    ],
)
def test_two_processes_give_the_losses_of_one(family, settings, train, tmp_path):
    one, two = train(tmp_path / "one", 1, family, **settings), train(tmp_path / "two", 2, family, **settings)
    assert losses(two, family) == pytest.approx(losses(one, family), abs=TOLERANCE)
    ours, theirs = (torch.load(folder / "weights.pt", weights_only=True) for folder in (two, one))
    assert ours.keys() == theirs.keys()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_that_compile_give_the_losses_of_one(strategy, train, tmp_path):
    one, two = train(tmp_path / "one", 1), train(tmp_path / "two", 2, strategy=strategy, compile=True)
    assert json.loads((two / "result.json").read_text())["compiled_graphs"] > 0
    assert losses(two) == pytest.approx(losses(one), abs=TOLERANCE)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_a_checkpoint_of_two_is_read_by_one_and_by_two_again(strategy, train, tmp_path):
    settings = {"strategy": strategy, "average_decay": 0.9}
    whole, changed = train(tmp_path / "whole", 1, average_decay=0.9), tmp_path / "changed"
    train(changed, 2, at={"interrupt": 3}, **settings)
    train(changed, 1, at={"interrupt": 7}, **settings)
    train(changed, 2, **settings)
    assert resumed_from(changed) == [3, 7]
    assert losses(changed) == pytest.approx(losses(whole), abs=TOLERANCE)


def test_a_carried_state_is_divided_anew(train, tmp_path):
    whole, changed = train(tmp_path / "whole", 1, "gru"), tmp_path / "changed"
    for size, at in ((2, {"interrupt": 3}), (1, {"interrupt": 7}), (2, {})):
        train(changed, size, "gru", at=at, accumulation=size)
    assert losses(changed, "gru") == pytest.approx(losses(whole, "gru"), abs=TOLERANCE)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_resume_of_two_is_bitwise_identical_also_when_written_in_the_background(strategy, train, tmp_path):
    whole = train(tmp_path / "whole", 2, strategy=strategy)
    cut, settings = tmp_path / "cut", {"strategy": strategy, "asynchronous_checkpoints": True}
    train(cut, 2, at={"interrupt": 5}, **settings)
    train(cut, 2, **settings)
    assert resumed_from(cut) == [5]
    assert losses(cut) == losses(whole)
    ours, theirs = (torch.load(folder / "weights.pt", weights_only=True) for folder in (cut, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("device", ["cpu", "auto", "cuda"])
def test_processes_join_on_a_cpu_beside_a_gpu_and_are_refused_where_gpus_are_too_few(device, run_ranks):
    """torch is told that there is one GPU; what it would do on it is left to `tests/gpu`."""
    run_ranks(2, join_beside_a_gpu, device)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_what_is_written_in_the_background_is_the_state_at_the_save(strategy, run_ranks, tmp_path):
    """While the disk is slow, a step changes every weight and moment (pytorch/pytorch #144657)."""
    run_ranks(2, step_while_saving, tmp_path, {"strategy": strategy, "num_processes": 2, "device": "cpu"})


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_torch_warns_of_nothing_in_a_log(strategy, run_ranks, tmp_path):
    run_ranks(2, step_in_silence, tmp_path, {"strategy": strategy, "num_processes": 2, "device": "cpu"})


@pytest.mark.parametrize(("strategy", "size"), [("ddp", 2), ("fsdp2", 2), ("fsdp2", 1)])
def test_the_best_weights_are_published_also_after_a_resume(strategy, size, run_ranks, tmp_path):
    """Killed between the last checkpoint and publishing: whoever takes the request up has only to publish."""
    settings = {"num_steps": 4, "batch_size": 8, "context_length": 8, "validation_interval": 1, "num_processes": 2}
    settings |= {"learning_rate": 3.0, "warmup_steps": 3, "precision": "float32", "strategy": strategy}
    settings |= {"num_threads": 1, "device": "cpu", "optimizer": "adam"}
    (tmp_path / "dataset").mkdir()
    dataset = write_dataset(tmp_path / "dataset")
    model = {"family": "transformer", "num_layers": 1, "width": 16, "num_heads": 2}
    path = write_request(dataset, tmp_path / "job", model, settings)
    run_ranks(2, train_request_in_process, path)
    published = tmp_path / "job" / "out"
    assert json.loads((published / "config.json").read_text())["step"] < 4, "later validations were worse"
    published.rename(tmp_path / "first")
    run_ranks(size, train_request_in_process, path)
    told = json.loads((published / "training.json").read_text())
    assert (told["resumed_from"], told["determinism"]["processes"]) == ([4], size)
    for name in ("model.safetensors", "config.json"):
        assert (published / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
