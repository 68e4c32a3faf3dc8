"""A training that can be killed with SIGKILL at its n-th write, rename, step or log call (see `killing.py`)."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch

from lm_pipeline.specs.model import LstmModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training import checkpoint, loop, snapshots
from lm_pipeline.training.curve import Curve
from lm_pipeline.training.job import Job
from lm_pipeline.training.plan import TokenStream
from lm_pipeline.training.progress import Reporter
from tests.faults.killing import Killer, watch_files

NUM_STEPS = 12


def half_tensors(real, tensors, path):
    real(tensors, path)
    os.truncate(path, Path(path).stat().st_size // 2)


def half_point(real, curve, point):
    curve._file.write(json.dumps(point).encode()[:17])
    curve._file.flush()


def watch(killer: Killer) -> None:
    """Put instants around every call by which a training changes its state or the disk."""
    killer.around(loop, "take_step", "step")
    killer.around(loop, "validation_loss", "validation")
    killer.around(Reporter, "point", "log call")
    killer.around(Curve, "append", "curve", half_point)
    killer.around(checkpoint, "save_file", "tensors", half_tensors)
    killer.around(snapshots, "save_file", "snapshot", half_tensors)
    watch_files(killer)


def make_job(folder: Path) -> Job:
    """A small LSTM with everything that a checkpoint can hold: carried state, moments, average, snapshots, history."""
    documents = [[1, *(4 + (d * 11 + 3 * i + i * i * d % 3) % 30 for i in range(5 + d * 7 % 40)), 2] for d in range(30)]
    offsets = np.cumsum([0, *map(len, documents)])
    stream = TokenStream(np.concatenate(documents).astype(np.uint16), offsets, bos_id=1)
    training = Training(
        num_steps=NUM_STEPS,
        batch_size=4,
        context_length=8,
        accumulation=2,
        warmup_steps=2,
        log_interval=1,
        validation_interval=4,
        validation_batches=2,
        checkpoint_interval=2,
        snapshot_interval=4,
        average_decay=0.9,
        schedule="plateau",
        precision="float32",
        compile=False,
        num_threads=1,
    )
    spec = LstmModel(num_layers=1, width=8, dropout=0.2)
    return Job(
        spec=spec,
        training=training,
        vocab_size=40,
        train=stream,
        validation=stream,
        work_dir=folder / "work",
        key="job",
        name_documents=lambda rows: [str(row) for row in rows],
        measurements=folder.parent / "measurements",
    )


def train_and_die(folder: Path, at: int) -> None:
    """Train in `folder` until the instant with this number (0 never comes); write what was seen, and the result."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    job, killer = make_job(folder), Killer(at)
    watch(killer)
    with Reporter(NUM_STEPS, folder / "spool" / "checkpoint-0123456789abcdef-1.jsonl") as reporter:
        session, _ = loop.train(job, reporter)
    seen = list(killer.seen)
    weights = hashlib.sha256()
    for name, tensor in sorted(session.weights().items()):
        weights.update(name.encode() + tensor.numpy().tobytes())
    result = {"weights": weights.hexdigest(), "seen": seen, "resumed_from": session.counters.resumed_from}
    with (folder / "result.json").open("w") as file:
        file.write(json.dumps(result))
