"""A training as a process runs it: `python -m lm_pipeline train request.json`."""

import json
import math
import os
import resource
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from lm_pipeline.digests import digest_file
from lm_pipeline.errors import InputError
from lm_pipeline.models.language_model import NeuralSpec, published_spec
from lm_pipeline.models.ngram import NgramModel
from lm_pipeline.models.storage import CONFIG, save_model
from lm_pipeline.specs import model as model_specs
from lm_pipeline.specs.training import Training
from lm_pipeline.tokenization.shards import Shard
from lm_pipeline.training.environment import peak_of_device
from lm_pipeline.training.interruption import EXIT_CODE
from lm_pipeline.training.job import CURVE, SNAPSHOTS, Job
from lm_pipeline.training.loop import train, utilisation
from lm_pipeline.training.mixture import epochs_read, mix_corpora
from lm_pipeline.training.parallel import joined_world
from lm_pipeline.training.plan import Shapes, TokenStream
from lm_pipeline.training.progress import Reporter
from lm_pipeline.training.session import Session

STATUS = "status.json"
"""In `work_dir`: how the last process ended. `{"status": "running" | "interrupted" | "finished", "step", "time"}`."""


class TrainingRequest(BaseModel):
    """What is trained, and where the results go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    """Name of the experiment, for messages."""
    model: model_specs.Model
    """The model."""
    training: Training
    """The loop's settings; defaults for an n-gram model, which is counted."""
    shards_dir: Path
    """Folder of the token shards."""
    tokenizer: Path
    """tokenizer.model, or a pretrained model's tokenizer.json."""
    vocab_size: int
    """Pieces."""
    weights: dict[str, float] = {}
    """Shares of the training tokens by corpus, relative to each other; empty: every document once an epoch."""
    mask_documents: bool = False
    """Whether no token of a window sees another document."""
    work_dir: Path
    """Checkpoints; the same request goes on from what is there."""
    output_dir: Path
    """Folder for the results: empty, or not there yet."""
    spool: Path | None = None
    """Tracking spool; null logs no metrics."""
    base_dir: Path | None = None
    """Folder of the trained model whose weights this one begins with; null begins anew."""
    measurements: Path | None = None
    """Where measurements of the machine are kept; null keeps them in `work_dir`."""
    key: str
    """Names the job: a `work_dir` with the state of another is refused."""


def train_from_request(path: Path) -> int:
    """Train as the request says, from wherever an earlier process stopped.

    Writes into its `output_dir`:
        model.safetensors: the weights; equal requests in equal environments give equal bytes.
        config.json: family, model, vocab_size, context_length, tokenizer_sha256, num_parameters, step.
        curve.jsonl: the learning curve, a point a line.
        training.json: what it cost and how it went.

    Args:
        path: the request, JSON as `TrainingRequest` describes it.

    Returns:
        The process's exit code: 0, or 130 when it was interrupted; then nothing is in `output_dir` and the same
        request goes on from there.

    Raises:
        InputError: the request is malformed or there is nothing to train on.
        DivergedError: losses stayed infinite or not a number.
    """
    request = read_request(path)
    for folder in (request.work_dir, request.output_dir):  # that of a stopped build is gone when one starts it by hand
        folder.mkdir(parents=True, exist_ok=True)
    if isinstance(request.model, model_specs.NgramModel):
        return _count(request, request.model)
    return _train(request, request.model)


def read_request(path: Path) -> TrainingRequest:
    """Parse a request.

    Raises:
        InputError: it is no request.
    """
    try:
        return TrainingRequest.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no training request {path}. Give the JSON file that describes the job.") from None
    except ValidationError as error:
        raise InputError(f"{path} is no training request: {error}") from error


def _train(request: TrainingRequest, spec: NeuralSpec) -> int:
    shard = Shard.open(request.shards_dir, "train", request.vocab_size)
    if shard.num_tokens < 2:
        raise InputError(
            f"The training split in {request.shards_dir} has {shard.num_tokens} tokens, so there is nothing to learn"
            " from. Look at the dataset's splits and at the rejected documents of its corpora."
        )
    if request.training.context_length > shard.num_tokens:
        raise InputError(
            f"training.context_length is {request.training.context_length}, and the whole training split has"
            f" {shard.num_tokens} tokens: give a context that fits into it."
        )
    validation = Shard.open(request.shards_dir, "validation", request.vocab_size)

    def name_documents(rows: Sequence[int]) -> list[str]:
        documents = [shard.document_of(int(shard.offsets[row])) for row in rows]
        return [f"{d['corpus']}: {d['file']}, record {d['record']} ({d['document_id']})" for d in documents]

    job = Job(
        spec=spec,
        training=request.training,
        vocab_size=request.vocab_size,
        train=_stream(shard),
        validation=_stream(validation) if validation.num_tokens > 1 else None,
        work_dir=request.work_dir,
        key=request.key,
        name_documents=name_documents,
        measurements=request.measurements,
        base=request.base_dir,
        mixture=mix_corpora(shard.corpora, np.diff(shard.offsets), request.weights),
        mask_documents=request.mask_documents,
        controls=shard.controls,
    )
    with (
        joined_world(request.training) as world,
        Reporter(request.training.num_steps, request.spool, quiet=not world.is_main) as reporter,
    ):
        if world.is_main:
            _write_status(request, "running", None)
        session, interrupted = train(job, reporter, world)
        step = session.counters.step
        if interrupted:
            reporter.info(f"interrupted and saved at step {step}; the same request goes on from there")
        published = {} if interrupted else _published_weights(request, session)
        if world.is_main:
            _write_status(request, "interrupted" if interrupted else "finished", step)
            if not interrupted:
                plan = job.plan(job.train, request.training.seed)
                epochs = session.counters.position / plan.steps_per_epoch
                corpora = epochs_read(shard.corpora, np.diff(shard.offsets), job.mixture, epochs)
                _write_outputs(request, session, published, corpora, plan.shapes)
                shard.controls.write(request.output_dir)
    return EXIT_CODE if interrupted else 0


def _published_weights(request: TrainingRequest, session: Session) -> dict[str, Tensor]:
    """Those of the best validation or of the last step; all processes must ask."""
    last = session.weights()
    return session.best_weights if request.training.keep == "best" and session.best_weights is not None else last


def _stream(shard: Shard) -> TokenStream:
    return TokenStream(shard.tokens, shard.offsets, shard.controls.bos)


def _write_outputs(
    request: TrainingRequest,
    session: Session,
    weights: dict[str, Tensor],
    corpora: dict[str, dict[str, float]],
    shapes: Shapes,
) -> None:
    counters, model, clock = session.counters, session.model, session.clock
    best = request.training.keep == "best" and session.best_weights is not None
    num_parameters = sum(tensor.numel() for tensor in weights.values())
    speed = counters.num_tokens / max(clock.training, 1e-9)
    config = _config(request, num_parameters, counters.best_step if best else counters.step)
    save_model(weights, config, request.output_dir)
    shutil.copyfile(request.work_dir / CURVE, request.output_dir / CURVE)
    if (request.work_dir / SNAPSHOTS).is_dir():
        if (request.output_dir / SNAPSHOTS).is_dir():  # of the same request, started by hand again
            shutil.rmtree(request.output_dir / SNAPSHOTS)
        shutil.copytree(request.work_dir / SNAPSHOTS, request.output_dir / SNAPSHOTS)
    _write_json(
        request.output_dir / "training.json",
        {
            "num_parameters": num_parameters,
            "num_steps": counters.step,
            "num_tokens": counters.num_tokens,
            "corpora": corpora,
            "batches": shapes._asdict(),
            "wall_seconds": clock.total,
            "seconds": clock.seconds,
            "tokens_per_second": speed,
            "mfu": utilisation(session, speed),
            "peak_flops": session.peak_flops,
            "peak_memory_bytes": _peak_memory(),
            "peak_device_memory_bytes": peak_of_device(session.device),
            "final_train_loss": counters.train_loss,
            "best_validation_loss": counters.best_loss,
            "best_step": counters.best_step,
            "uniform_loss": math.log(request.vocab_size),
            "resumed_from": counters.resumed_from,
            "choices": session.choices,
            "determinism": session.environment,
            "threads": session.environment["threads"],
            "device": session.environment["device"],
            "flops_per_token": model.flops_per_token(),
            "skipped_steps": counters.skipped_steps,
            "rollbacks": len(counters.rollbacks),
        },
    )


def _count(request: TrainingRequest, spec: model_specs.NgramModel) -> int:
    """The n-gram model: one pass over the training tokens, and the same output files."""
    begin = time.perf_counter()
    shard = Shard.open(request.shards_dir, "train", request.vocab_size)
    model = NgramModel.train(shard, spec.order, request.vocab_size)
    counted = time.perf_counter() - begin
    validation = Shard.open(request.shards_dir, "validation", request.vocab_size)
    losses = model.document_log_probs(validation.document(row) for row in range(validation.num_documents))
    validation_loss = -float(np.concatenate(losses).mean()) if losses else None
    with Reporter(1, request.spool) as reporter:
        if validation_loss is not None:
            reporter.point(1, {"validation_loss": validation_loss})
    model.save(request.output_dir)
    config = _config(request, model.num_parameters, 1) | {"context_length": spec.order}
    _write_json(request.output_dir / CONFIG, config)
    point = {"step": 1, "validation_loss": validation_loss}
    (request.output_dir / CURVE).write_text(json.dumps(point) + "\n" if losses else "", "utf-8")
    _write_json(
        request.output_dir / "training.json",
        {
            "num_parameters": model.num_parameters,
            "num_ngrams": model.num_ngrams,
            "num_steps": 1,
            "num_tokens": shard.num_tokens - shard.num_documents,
            "wall_seconds": time.perf_counter() - begin,
            "tokens_per_second": shard.num_tokens / max(counted, 1e-9),
            "peak_memory_bytes": _peak_memory(),
            "final_train_loss": None,
            "best_validation_loss": validation_loss,
            "best_step": 1,
            "uniform_loss": math.log(request.vocab_size),
            "resumed_from": [],
            "choices": {},
            "determinism": {"numpy": np.__version__},
            "threads": 1,
            "device": "cpu",
            "flops_per_token": 0,
            "skipped_steps": [],
            "rollbacks": 0,
        },
    )
    _write_status(request, "finished", 1)
    return 0


def _config(request: TrainingRequest, num_parameters: int, step: int | None) -> dict[str, Any]:
    model = request.model
    published = model if isinstance(model, model_specs.NgramModel) else published_spec(model)
    return {
        "family": request.model.family,
        "model": published.model_dump(mode="json"),
        "vocab_size": request.vocab_size,
        "context_length": request.training.context_length,
        "tokenizer_sha256": digest_file(request.tokenizer),
        "num_parameters": num_parameters,
        "step": step,
    }


def _peak_memory() -> int:
    """Largest resident size of this process, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _write_status(request: TrainingRequest, status: str, step: int | None) -> None:
    temporary = request.work_dir / f"{STATUS}.{os.getpid()}.tmp"
    _write_json(temporary, {"status": status, "step": step, "time": time.time()})
    temporary.replace(request.work_dir / STATUS)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
