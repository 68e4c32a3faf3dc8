"""Loss on the validation split: always the same batches, so that the points of a curve can be compared."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from lm_pipeline.models.loss import IGNORE
from lm_pipeline.training.plan import Batch, Plan
from lm_pipeline.training.precision import autocast
from lm_pipeline.training.session import Session


@torch.no_grad()
def validation_loss(session: Session, plan: Plan, num_batches: int | None) -> float:
    """Mean negative log-likelihood per target (natural units) over the plan's first batches, at most one epoch.

    Processes divide the rows of each batch. Recurrent models carry their state through, as in training. Dropout is off;
    the training's state is not touched.
    """
    device, world = session.device, session.world
    was_training = session.losses.training
    session.losses.eval()
    if session.replicas is not None:
        session.replicas.refresh()
    total, count, state = torch.zeros((), dtype=torch.float64, device=device), 0, None
    for batch in validation_batches(plan, num_batches):
        mine = batch.split(world.size)[world.rank].to(device)
        before = None if batch.begins else state
        if session.replicas is not None:
            nll_sum, after = session.replicas.sums(mine, before)
        else:
            with autocast(session.precision, device):
                _, nll_sum, after = session.losses(mine.inputs_BT, mine.targets_BT, before, mine.documents_BT)
        state = after if session.model.is_recurrent else None
        total += nll_sum
        count += int((batch.targets_BT != IGNORE).sum())
    session.losses.train(was_training)
    return world.sum(total).item() / max(1, count)


def validation_batches(plan: Plan, num_batches: int | None) -> Iterator[Batch]:
    """The plan's first batches, at most one epoch, in which every target of the split counts once.

    An epoch may end within a batch. Rows behind its end belong to the next one: they stay, since shapes must, but
    nothing is predicted in them.
    """
    epoch = math.ceil(plan.steps_per_epoch)
    for position in range(epoch if num_batches is None else min(num_batches, epoch)):
        batch = plan.batch(position)
        targets_BT = batch.targets_BT.clone()
        targets_BT[round((plan.steps_per_epoch - position) * len(targets_BT)) :] = IGNORE
        yield replace(batch, targets_BT=targets_BT)
