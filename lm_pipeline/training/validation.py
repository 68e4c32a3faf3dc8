"""Loss on the validation split: always the same batches, so that the points of a curve can be compared."""

import math

import torch

from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.training.plan import Plan
from lm_pipeline.training.precision import autocast
from lm_pipeline.training.world import World


@torch.no_grad()
def validation_loss(model: LanguageModel, plan: Plan, num_batches: int | None, precision: str, world: World) -> float:
    """Mean negative log-likelihood per target (natural units) over the plan's first batches, at most one epoch.

    Processes divide the rows of each batch. Recurrent models carry their state through, as in training. Dropout is off;
    the training's state is not touched.
    """
    device = model.embedding.weight.device
    was_training = model.training
    model.eval()
    sums, state = torch.zeros(2, dtype=torch.float64), None
    epoch = math.ceil(plan.steps_per_epoch)
    for position in range(epoch if num_batches is None else min(num_batches, epoch)):
        batch = plan.batch(position).split(world.size)[world.rank].to(device)
        with autocast(precision, device):
            nll_sum, num_targets, after = model.loss_sums(
                batch.inputs_BT, batch.targets_BT, None if batch.begins else state, batch.documents_BT
            )
        state = after if model.is_recurrent else None
        sums += torch.tensor([nll_sum.item(), num_targets], dtype=torch.float64)
    model.train(was_training)
    total, count = world.sum(sums.to(device)).tolist()
    return total / max(1, count)
