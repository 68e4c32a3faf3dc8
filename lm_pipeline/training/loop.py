"""The training loop: one for every family, on one screen.

The loss of a step is (sum of nll) / (number of targets) over the whole batch, so dividing it into micro-batches
changes memory and not the loss. What the next step depends on is in `Session`; a checkpoint holds all of it.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lm_pipeline.errors import InputError
from lm_pipeline.models.language_model import RECURRENT, NeuralSpec, build_model
from lm_pipeline.models.loss import IGNORE
from lm_pipeline.models.state import State
from lm_pipeline.specs.model import EncoderModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training import checkpoint, environment, guard
from lm_pipeline.training.curve import Curve
from lm_pipeline.training.interruption import Interruption
from lm_pipeline.training.masked_plan import MaskedPlan
from lm_pipeline.training.plan import Batch, Plan, TokenStream, make_plan
from lm_pipeline.training.precision import autocast, measure_precision
from lm_pipeline.training.progress import Reporter
from lm_pipeline.training.schedule import learning_rate
from lm_pipeline.training.session import Counters, Session, make_optimizer
from lm_pipeline.training.validation import validation_loss

CHECKPOINTS = "checkpoints"
CURVE = "curve.jsonl"


@dataclass(frozen=True)
class Job:
    """What is to be trained, on what.

    Attributes:
        spec: the model.
        training: the loop's settings.
        vocab_size: pieces.
        train: training documents.
        validation: validation documents; None where the split is empty.
        work_dir: checkpoints and the learning curve; a later process with the same job goes on from there.
        key: names the job; a `work_dir` with another job's state is refused.
        name_documents: document ids of document numbers, for errors.
    """

    spec: NeuralSpec
    training: Training
    vocab_size: int
    train: TokenStream
    validation: TokenStream | None
    work_dir: Path
    key: str
    name_documents: Callable[[Sequence[int]], list[str]]

    def plan(self, stream: TokenStream, seed: int) -> Plan:
        """The order in which a stream is read, and for an encoder what is hidden of it."""
        plan = make_plan(
            stream,
            carries_state=self.spec.family in RECURRENT,
            batch_size=self.training.batch_size,
            context_length=self.training.context_length,
            seed=seed,
        )
        if not isinstance(self.spec, EncoderModel):
            return plan
        return MaskedPlan(plan, fraction=self.spec.mask_fraction, vocab_size=self.vocab_size, seed=seed)


def train(job: Job, reporter: Reporter) -> tuple[Session, bool]:
    """Train from the last checkpoint, or from the beginning, to the last step or an interruption.

    Returns:
        The session, and whether it was interrupted (then its state is saved and a later call goes on).

    Raises:
        DivergedError: losses stayed infinite or not a number after rollbacks.
        InputError: `work_dir` holds the training of another job, or the device is missing.
    """
    training = job.training
    with Interruption() as interruption, ExitStack() as exits:
        session = begin(job, reporter)
        plan = job.plan(job.train, training.seed)
        validation_plan = None if job.validation is None else job.plan(job.validation, seed=0)
        curve = exits.enter_context(closing(Curve(job.work_dir / CURVE, session.counters.curve_bytes)))
        reporter.begin(session.counters.step)
        while session.counters.step < training.num_steps and not interruption.requested:
            take_step(session, plan, training)
            if session.counters.consecutive_skips:
                reporter.warn(f"step {session.counters.step}: the loss or the gradient is not finite; step skipped")
                if session.counters.consecutive_skips >= guard.MAX_CONSECUTIVE_SKIPS:
                    roll_back(session, job, plan, reporter)
                    curve.cut(session.counters.curve_bytes)
                    continue
            step, is_last = session.counters.step, session.counters.step == training.num_steps
            if is_last or step % training.log_interval == 0:
                log_step(session, training, curve, reporter)
            if validation_plan and (is_last or step % training.validation_interval == 0):
                log_validation(session, training, validation_plan, curve, reporter)
            if is_last or (step % training.checkpoint_interval == 0 and not session.counters.consecutive_skips):
                save(session, job, curve)
        if interruption.requested:
            save(session, job, curve)
    return session, session.counters.step < training.num_steps


def begin(job: Job, reporter: Reporter) -> Session:
    """The session of the last checkpoint; a fresh one, saved as step 0, where there is none."""
    training, device = job.training, environment.choose_device(job.training)
    environment.make_deterministic(training)
    torch.manual_seed(training.seed)
    model = build_model(job.spec, job.vocab_size, training.context_length).to(device).train()
    here, carried = environment.describe(device), [None] * training.accumulation
    model.begin_as_unigram(torch.from_numpy(job.train.target_counts(job.vocab_size)).to(device))
    session = Session(model, make_optimizer(model, training), {}, here, job.key, Counters(), [*carried])
    found = checkpoint.load_latest(job.work_dir / CHECKPOINTS, reporter.warn)
    if found is None:
        session.choices = {"precision": {"precision": training.precision, "reason": "set in the experiment"}}
        if training.precision == "auto":
            session.choices["precision"] = measure_precision(model, job.plan(job.train, training.seed).batch(0), device)
        job.work_dir.mkdir(parents=True, exist_ok=True)
        checkpoint.save(job.work_dir / CHECKPOINTS, 0, session.to_checkpoint())
        return session
    if found.state["key"] != job.key:
        raise InputError(
            f"{job.work_dir} holds the training of another job (key {found.state['key']}, not {job.key}). Give each"
            " job a folder of its own, or delete this one."
        )
    session.restore(found)
    session.counters.resumed_from.append(session.counters.step)
    reporter.info(f"resumed from the checkpoint of step {session.counters.step}")
    changed = environment.differences(found.state["environment"], here)
    if changed:
        reporter.warn(f"resumed in another environment, so not bitwise equal to no interruption: {'; '.join(changed)}")
    return session


def take_step(session: Session, plan: Plan, training: Training) -> None:
    """Forward, backward, update; what is not finite never reaches the weights."""
    counters, begin_time = session.counters, time.perf_counter()
    nll, num_targets, carried = backward(session, plan.batch(counters.position), training)
    parameters = [p for p in session.model.parameters() if p.grad is not None]
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    counters.gradient_norm = norm.item()
    if math.isfinite(nll) and math.isfinite(counters.gradient_norm):
        if training.max_gradient_norm is not None:
            clip_grads_with_norm_(parameters, training.max_gradient_norm, norm)
        for group in session.optimizer.param_groups:
            group["lr"] = learning_rate(training, counters.step)
        session.optimizer.step()
        session.carried = carried
        counters.interval_nll += nll
        counters.interval_targets += num_targets
        counters.num_tokens += num_targets
        counters.consecutive_skips = 0
    else:
        session.carried = [None] * training.accumulation
        counters.skipped_steps.append(counters.step + 1)
        counters.consecutive_skips += 1
    session.optimizer.zero_grad()
    counters.step += 1
    counters.position += 1
    seconds = time.perf_counter() - begin_time
    counters.train_seconds += seconds
    counters.interval_seconds += seconds


def backward(session: Session, batch: Batch, training: Training) -> tuple[float, int, list[State | None]]:
    """Gradients of the mean loss; returns summed loss, number of targets and each micro-batch's state after."""
    model, device = session.model, session.device
    num_targets = int((batch.targets_BT != IGNORE).sum())
    total = torch.zeros((), device=device)
    carried: list[State | None] = []
    parts = (tensor.to(device).tensor_split(training.accumulation) for tensor in (batch.inputs_BT, batch.targets_BT))
    for inputs_BT, targets_BT, before in zip(*parts, session.carried, strict=True):
        with autocast(session.precision, device):
            nll_sum, _, after = model.loss_sums(inputs_BT, targets_BT, None if batch.begins else before)
        (nll_sum / max(1, num_targets)).backward()
        total += nll_sum.detach()
        carried.append(after.detach() if model.is_recurrent else None)
    return total.item(), num_targets, carried


def roll_back(session: Session, job: Job, plan: Plan, reporter: Reporter) -> None:
    """Return to the last checkpoint and read on behind the data that was stumbled over; or give up."""
    failed = session.counters
    if failed.rollbacks == guard.MAX_ROLLBACKS:
        rate = learning_rate(job.training, failed.step - 1)
        documents = job.name_documents(plan.documents(failed.position - 1))
        raise guard.diverged(failed.skipped_steps[-guard.MAX_CONSECUTIVE_SKIPS :], rate, failed.rollbacks, documents)
    found = checkpoint.load_latest(job.work_dir / CHECKPOINTS, reporter.warn)
    if found is None:
        raise InputError(f"{job.work_dir / CHECKPOINTS} has no undamaged checkpoint to go back to: train again.")
    session.restore(found)
    session.carried = [None] * job.training.accumulation
    counters = session.counters
    counters.position, counters.rollbacks = failed.position, failed.rollbacks + 1
    counters.skipped_steps, counters.consecutive_skips = failed.skipped_steps, 0
    counters.train_seconds, counters.elapsed_seconds = failed.train_seconds, failed.elapsed_seconds
    reporter.warn(f"went back to step {counters.step}, reading on at position {counters.position} of the data")


def log_step(session: Session, training: Training, curve: Curve, reporter: Reporter) -> None:
    """A point of the curve: means over the steps since the last one."""
    counters = session.counters
    session.note_time()
    if not counters.interval_targets:  # every step since was skipped
        return
    counters.train_loss = counters.interval_nll / counters.interval_targets
    values = {
        "train_loss": counters.train_loss,
        "learning_rate": learning_rate(training, counters.step - 1),
        "gradient_norm": counters.gradient_norm,
        "tokens_per_second": counters.interval_targets / counters.interval_seconds,
    }
    if not math.isfinite(counters.gradient_norm):
        del values["gradient_norm"]
    totals = {"tokens": counters.num_tokens, "elapsed_seconds": counters.elapsed_seconds}
    curve.append({"step": counters.step, **totals, **values})
    reporter.point(counters.step, values, counters.train_seconds / counters.step)
    counters.interval_nll, counters.interval_targets, counters.interval_seconds = 0.0, 0, 0.0


def log_validation(session: Session, training: Training, plan: Plan, curve: Curve, reporter: Reporter) -> None:
    """Validate, keep the best weights, add a point."""
    loss = validation_loss(session.model, plan, training.validation_batches, session.precision)
    session.note_validation(loss, training)
    curve.append({"step": session.counters.step, "validation_loss": loss})
    reporter.point(session.counters.step, {"validation_loss": loss})


def save(session: Session, job: Job, curve: Curve) -> None:
    """Write a checkpoint; the curve up to here is durable before it."""
    session.note_time()
    session.counters.curve_bytes = curve.sync()
    checkpoint.save(job.work_dir / CHECKPOINTS, session.counters.step, session.to_checkpoint())
