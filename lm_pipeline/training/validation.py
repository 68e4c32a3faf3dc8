"""Loss on the validation split: always the same batches, so that the points of a curve can be compared."""

import math

import torch

from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.training.plan import Plan
from lm_pipeline.training.precision import autocast


@torch.no_grad()
def validation_loss(model: LanguageModel, plan: Plan, num_batches: int, precision: str) -> float:
    """Mean negative log-likelihood per target (natural units) over the plan's first batches, at most one epoch.

    Recurrent models carry their state through, as in training. Dropout is off; the training's state is not touched.
    """
    device = model.embedding.weight.device
    was_training = model.training
    model.eval()
    total, count, state = 0.0, 0, None
    for position in range(min(num_batches, math.ceil(plan.steps_per_epoch))):
        batch = plan.batch(position)
        with autocast(precision, device):
            nll_sum, num_targets, after = model.loss_sums(
                batch.inputs_BT.to(device), batch.targets_BT.to(device), None if batch.begins else state
            )
        state = after if model.is_recurrent else None
        total += nll_sum.item()
        count += num_targets
    model.train(was_training)
    return total / max(1, count)
