"""The training loop: one for every family, on one screen.

The loss of a step is (sum of nll) / (number of targets) over the whole batch, so dividing it into micro-batches or
among processes changes memory and not the loss. What the next step depends on is in `Session`; a checkpoint holds all
of it.
"""

import math
from contextlib import ExitStack, closing

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from lm_pipeline.errors import InputError
from lm_pipeline.models.loss import IGNORE, Penalties
from lm_pipeline.models.state import State
from lm_pipeline.specs.training import Training
from lm_pipeline.training import guard, sharded
from lm_pipeline.training.averaging import averaged, update_average
from lm_pipeline.training.beginning import begin, read
from lm_pipeline.training.curve import Curve
from lm_pipeline.training.interruption import Interruption
from lm_pipeline.training.job import Job
from lm_pipeline.training.optimizers import clip, set_learning_rate
from lm_pipeline.training.parallel import synchronising
from lm_pipeline.training.plan import Batch, Plan
from lm_pipeline.training.precision import autocast
from lm_pipeline.training.progress import Reporter
from lm_pipeline.training.schedule import learning_rate, out_of_patience
from lm_pipeline.training.session import Session
from lm_pipeline.training.sharded import Saver
from lm_pipeline.training.snapshots import save_snapshot
from lm_pipeline.training.validation import validation_loss
from lm_pipeline.training.world import World, whole


def train(job: Job, reporter: Reporter, world: World = World()) -> tuple[Session, bool]:  # noqa: B008 - frozen
    """Train from the last checkpoint, or from the beginning, to the end or an interruption.

    Returns:
        The session, and whether it was interrupted (then its state is saved and a later call goes on).

    Raises:
        DivergedError: losses stayed infinite, not a number or far too high after rollbacks.
        InputError: `work_dir` holds the training of another job, or the device is missing.
    """
    training = job.training
    with Interruption() as interruption, ExitStack() as exits:
        session = begin(job, reporter, world)
        counters, plan = session.counters, job.plan(job.train, training.seed)
        validation_plan = None if job.validation is None else job.plan(job.validation, seed=0)
        curve = exits.enter_context(closing(Curve(job.curve if world.is_main else None, counters.curve_bytes)))
        saver = Saver(job.checkpoints, world, asynchronous=training.asynchronous_checkpoints)
        reporter.begin(counters.step)
        if validation_plan and training.num_steps == 0:  # a base is published as it is: how good is it?
            log_validation(session, training, validation_plan, curve, reporter)
        while not is_finished(session, training) and not world.any(interruption.requested):
            take_step(session, plan, training)
            counters = session.counters
            if counters.consecutive_skips:
                documents = guard.what_was_read(skipped_last(session, job, plan, 1))
                reporter.warn(f"step {counters.step} skipped: {counters.skip_reason}; {documents}")
                if counters.consecutive_skips >= guard.MAX_CONSECUTIVE_SKIPS:
                    roll_back(session, job, plan, saver, reporter)
                    curve.cut(session.counters.curve_bytes)
                    continue
            step, is_last = counters.step, counters.step == training.num_steps
            if is_last or step % training.log_interval == 0:
                log_step(session, training, curve, reporter)
            if validation_plan and (is_last or step % training.validation_interval == 0):
                log_validation(session, training, validation_plan, curve, reporter)
            if training.snapshot_interval and step % training.snapshot_interval == 0:
                save_snapshot(job.snapshots, step, session.weights(), training, world)
            is_due = step % training.checkpoint_interval == 0 and not counters.consecutive_skips
            if is_due or is_finished(session, training):
                save(session, saver, curve)
        interrupted = not is_finished(session, training)
        if interrupted:
            save(session, saver, curve)
        saver.finish()
    return session, interrupted


def is_finished(session: Session, training: Training) -> bool:
    """Whether all steps are done, or validation has not improved for too long."""
    counters = session.counters
    return counters.step >= training.num_steps or out_of_patience(
        counters.validations, training.early_stopping_patience
    )


def take_step(session: Session, plan: Plan, training: Training) -> None:
    """Forward, backward, update; what is not finite, or leaps, never reaches the weights."""
    counters, clock = session.counters, session.clock
    clock.lap("logging")
    batch = plan.batch(counters.position)
    clock.lap("data")
    nll, num_targets, carried = backward(session, batch, training)
    parameters = [p for p in session.parameters if p.grad is not None]
    norm = total_norm([p.grad for p in parameters if p.grad is not None])
    counters.gradient_norm, loss = norm.item(), nll / max(1, num_targets)
    shape = str(batch.inputs_BT.shape[1])
    recent = counters.recent_losses.get(shape, [])
    num_needed = guard.NUM_REMEMBERED if training.batching == "packed" else guard.NUM_OF_A_WIDTH
    why = guard.problem(loss, counters.gradient_norm, recent, training.spike_deviations, num_needed)
    if why is None:
        clip(session.optimizers, norm, training.max_gradient_norm)
        set_learning_rate(session.optimizers, learning_rate(training, counters.step, counters.validations))
        for optimizer in session.optimizers:
            optimizer.step()
        if session.average is not None and training.average_decay is not None:
            update_average(session.average, session.model, training.average_decay, counters.step)
        session.carried = carried
        counters.recent_losses[shape] = [*recent[-guard.NUM_REMEMBERED + 1 :], loss]
        counters.interval_nll += nll
        counters.interval_targets += num_targets
        counters.num_tokens += num_targets
        counters.consecutive_skips = 0
    else:
        session.carried = [None] * training.accumulation
        counters.skipped_steps.append(counters.step + 1)
        counters.consecutive_skips += 1
        counters.skip_reason = why
    for parameter in parameters:
        parameter.grad = None
    counters.step += 1
    counters.position += 1
    clock.lap("optimizer")


def backward(session: Session, batch: Batch, training: Training) -> tuple[float, int, list[State | None]]:
    """Gradients of the mean loss; returns summed loss, number of targets and each micro-batch's state after."""
    device, world, clock = session.device, session.world, session.clock
    penalties = Penalties(training.label_smoothing, training.z_loss)
    num_targets = int((batch.targets_BT != IGNORE).sum())
    total = torch.zeros((), device=device)
    carried: list[State | None] = []
    states = [None] * training.accumulation if batch.begins else session.carried
    mine = batch.split(world.size)[world.rank].to(device)
    scale = world.size / max(1, num_targets)
    carries = session.model.is_recurrent and training.batching == "packed"
    if session.replicas is not None:
        session.replicas.refresh()
    for part, before in zip(mine.split(training.accumulation), states, strict=True):
        if session.replicas is not None:
            nll_sum, after = session.replicas.differentiate(part, before, penalties, scale, clock)
            total += nll_sum
            carried.append(after if carries else None)
            continue
        with synchronising(session.losses, is_last=len(carried) + 1 == training.accumulation):
            with autocast(session.precision, device):
                objective, nll_sum, after = session.losses(
                    part.inputs_BT, part.targets_BT, before, part.documents_BT, penalties
                )
            clock.lap("forward")
            (objective * scale).backward()
            clock.lap("backward")
        total += nll_sum
        carried.append(after.detach() if carries else None)
    return world.sum(total).item(), num_targets, carried


def total_norm(tensors: list[Tensor]) -> Tensor:
    """Euclidean norm of all of them together."""
    return whole(get_total_norm(tensors))


def roll_back(session: Session, job: Job, plan: Plan, saver: Saver, reporter: Reporter) -> None:
    """Return to the last checkpoint and read on behind the data that was stumbled over; or give up."""
    failed, seconds = session.counters, session.clock.seconds
    skipped = skipped_last(session, job, plan, guard.MAX_CONSECUTIVE_SKIPS)
    saver.finish()
    path = sharded.find(job.checkpoints, reporter.warn, session.world)
    if path is None:
        raise InputError(f"{job.checkpoints} has no checkpoint to go back to: train again.")
    session.restore(read(path, session))
    session.carried = [None] * job.training.accumulation
    counters = session.counters
    num_fruitless = guard.fruitless(failed.rollbacks, counters.step)
    if num_fruitless == guard.MAX_ROLLBACKS:
        rate = learning_rate(job.training, failed.step - 1, failed.validations)
        raise guard.diverged(skipped, failed.skip_reason, rate, num_fruitless)
    counters.position, counters.rollbacks = failed.position, [*failed.rollbacks, failed.step]
    counters.skipped_steps, counters.consecutive_skips = failed.skipped_steps, 0
    session.clock.seconds.update(seconds)
    reporter.rolled_back(failed.step, counters.step, guard.what_was_read(skipped))


def skipped_last(session: Session, job: Job, plan: Plan, number: int) -> dict[int, list[str]]:
    """The last so many steps, all of them skipped, and the documents that each has read."""
    counters = session.counters
    positions = range(counters.position - number, counters.position)
    steps = counters.skipped_steps[-number:]
    return {step: job.name_documents(plan.documents(at)) for step, at in zip(steps, positions, strict=True)}


def log_step(session: Session, training: Training, curve: Curve, reporter: Reporter) -> None:
    """A point of the curve: means over the steps since the last one."""
    counters, clock = session.counters, session.clock
    if not counters.interval_targets:  # every step since was skipped
        return
    counters.train_loss = counters.interval_nll / counters.interval_targets
    speed = counters.interval_targets / max(clock.training - counters.logged_seconds, 1e-9)
    values = {
        "train_loss": counters.train_loss,
        "learning_rate": learning_rate(training, counters.step - 1, counters.validations),
        "gradient_norm": counters.gradient_norm,
        "weight_norm": total_norm([p.detach() for p in session.model.parameters()]).item(),
        "tokens_per_second": speed,
        "mfu": utilisation(session, speed),
    }
    if not math.isfinite(counters.gradient_norm):
        del values["gradient_norm"]
    totals = {"tokens": counters.num_tokens, "elapsed_seconds": clock.total, "seconds": dict(clock.seconds)}
    curve.append({"step": counters.step, **totals, **values})
    seconds = {f"seconds/{part}": value for part, value in clock.seconds.items()}
    reporter.point(counters.step, values | seconds, clock.total / counters.step)
    counters.interval_nll, counters.interval_targets, counters.logged_seconds = 0.0, 0, clock.training
    clock.lap("logging")


def utilisation(session: Session, speed: float) -> float:
    """Operations a second as a fraction of the devices' peak, at so many targets a second."""
    tokens_per_second = speed / session.model.target_fraction
    return tokens_per_second * session.model.flops_per_token() / (session.peak_flops * session.world.size)


def log_validation(session: Session, training: Training, plan: Plan, curve: Curve, reporter: Reporter) -> None:
    """Validate, keep the best weights, add a point."""
    with averaged(session.model, session.average):
        loss = validation_loss(session, plan, training.validation_batches)
    session.note_validation(loss, training)
    curve.append({"step": session.counters.step, "validation_loss": loss})
    reporter.point(session.counters.step, {"validation_loss": loss})
    session.clock.lap("evaluation")


def save(session: Session, saver: Saver, curve: Curve) -> None:
    """Write a checkpoint; the curve up to here is durable before it."""
    session.clock.lap("logging")
    session.counters.curve_bytes = curve.sync()
    saver.save(session.counters.step, session.to_checkpoint())
    session.clock.lap("checkpoint")
