"""One process of a training by several, on a small fixed job; also a program, for torchrun."""

import faulthandler
import json
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo.utils
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.elastic.multiprocessing.errors import record

from lm_pipeline.errors import InputError
from lm_pipeline.launch import die_with_parent
from lm_pipeline.specs.model import GruModel, TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training import loop, sharded
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.job import Job
from lm_pipeline.training.parallel import joined_world
from lm_pipeline.training.plan import TokenStream
from lm_pipeline.training.progress import Reporter
from lm_pipeline.training.request import train_from_request
from lm_pipeline.training.session import Session
from lm_pipeline.training.world import whole

SPECS = {
    "gru": GruModel(num_layers=2, width=16),
    "transformer": TransformerModel(num_layers=2, width=16, num_heads=2),
}


def make_job(folder: Path, family: str, settings: dict[str, Any]) -> Job:
    documents = [[1, *(4 + (d * 11 + 3 * i + i * i * d % 3) % 30 for i in range(5 + d * 7 % 40)), 2] for d in range(30)]
    offsets = np.cumsum([0, *map(len, documents)])
    stream = TokenStream(np.concatenate(documents).astype(np.uint16), offsets, bos_id=1)
    defaults = {
        "num_steps": 12,
        "batch_size": 8,
        "context_length": 8,
        "warmup_steps": 2,
        "log_interval": 1,
        "validation_interval": 4,
        "validation_batches": 2,
        "checkpoint_interval": 4,
        "precision": "float32",
        "attention": "explicit",
        "compile": False,
        "num_threads": 1,
    }
    return Job(
        spec=SPECS[family],
        training=Training(**defaults | settings),
        vocab_size=40,
        train=stream,
        validation=stream,
        work_dir=folder / "work",
        key="job",
        name_documents=lambda rows: [str(row) for row in rows],
        measurements=folder.parent / "measurements",
    )


class Disturbed(Reporter):
    """At the point of a step, something happens to this process."""

    def __init__(self, num_steps: int, rank: int, at: dict[str, int]) -> None:
        super().__init__(num_steps, quiet=True)
        self.rank, self.at = rank, at

    def point(self, step, values, seconds_per_step=None):
        del values, seconds_per_step
        if step == self.at.get("interrupt") and self.rank == 0:
            os.kill(os.getpid(), signal.SIGINT)
        if self.rank == 1 and step in (self.at.get("raise"), self.at.get("kill")):
            Path(os.environ["DIED"]).write_text(str(time.time()))
            if step == self.at.get("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the plug was pulled")


def train_rank(folder: Path, family: str, settings: dict[str, Any], at: dict[str, int]) -> None:
    """Train as the rank that the environment names; the main one writes the weights' sum and where it resumed."""
    torch.set_num_threads(1)
    job = make_job(folder, family, settings)
    with joined_world(job.training) as world:
        session, _ = loop.train(job, Disturbed(job.training.num_steps, world.rank, at), world)
        weights = session.weights()
        if world.is_main:
            torch.save(weights, folder / "weights.pt")
            graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
            result = {"resumed_from": session.counters.resumed_from, "compiled_graphs": graphs}
            (folder / "result.json").write_text(json.dumps(result))


def train_in_process(rank: int, size: int, port: int, *arguments: Any) -> None:
    be_rank(rank, size, port)
    train_rank(*arguments)


def train_request_in_process(rank: int, size: int, port: int, path: Path) -> None:
    be_rank(rank, size, port)
    sys.exit(train_from_request(path))


def join_beside_a_gpu(rank: int, size: int, port: int, device: str) -> None:
    """Join the others where torch sees one GPU, or says so."""
    be_rank(rank, size, port)
    torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 1
    training = Training(num_processes=size, device=device)
    if device == "cpu":
        with joined_world(training) as world:
            assert world.sum(torch.ones(1)).item() == size
        return
    told = r"num_processes is 2, 2 of them on this machine, where torch sees 1 GPU: .* set training.device to 'cpu'"
    with pytest.raises(InputError, match=told), joined_world(training):
        pass


class Held(FileSystemWriter):
    """A disk that takes nothing until it may."""

    may_write = threading.Event()

    def write_data(self, *arguments: Any) -> Any:
        assert self.may_write.wait(20)
        return super().write_data(*arguments)


def step_while_saving(rank: int, size: int, port: int, folder: Path, settings: dict[str, Any]) -> None:
    """Take a step between an asynchronous save and its writing; what is written is the state before the step."""
    be_rank(rank, size, port)
    job = make_job(folder, "transformer", settings)
    with joined_world(job.training) as world:
        session, plan = begin(job, Reporter(0, quiet=True), world), job.plan(job.train, job.training.seed)
        loop.take_step(session, plan, job.training)
        before = copied(session)
        sharded.FileSystemWriter = Held
        saver = sharded.Saver(job.checkpoints, world, asynchronous=True)
        saver.save(1, session.to_checkpoint())
        loop.take_step(session, plan, job.training)
        assert not (job.checkpoints / "step-00000001").exists()
        Held.may_write.set()
        saver.finish()
        written = sharded.read_tensors(job.checkpoints / "step-00000001", lambda _: None)
        assert before.keys() <= written.keys()
        assert [name for name, tensor in before.items() if not torch.equal(tensor, written[name])] == []
        after = copied(session)
        learning = [name for name in before if name.startswith(("model.backbone", "optimizer"))]
        assert [name for name in learning if torch.equal(after[name], before[name])] == []


def step_in_silence(rank: int, size: int, port: int, folder: Path, settings: dict[str, Any]) -> None:
    """A step of which nothing is told that its reader could do nothing about."""
    be_rank(rank, size, port)
    job = make_job(folder, "transformer", settings)
    with joined_world(job.training) as world:
        session, plan = begin(job, Reporter(0, quiet=True), world), job.plan(job.train, job.training.seed)
        with warnings.catch_warnings(record=True) as told:
            loop.take_step(session, plan, job.training)
        assert [str(warning.message) for warning in told] == []


def copied(session: Session) -> dict[str, Any]:
    return {name: whole(tensor.detach()).clone() for name, tensor in session.to_checkpoint().tensors.items()}


def be_rank(rank: int, size: int, port: int) -> None:
    """Give this process the variables that torchrun would."""
    faulthandler.dump_traceback_later(400, exit=True)  # a hang says where; compiling on a busy machine takes minutes
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(size)}


if __name__ == "__main__":
    die_with_parent()
    record(train_rank)(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4]))
