"""What happens when a loss is not finite or leaps: it never reaches the weights.

The step is skipped. After three skips in a row the training goes back to its last checkpoint and reads on behind the
data that it stumbled over, as PaLM's did (Chowdhery et al. 2022, section 5.1). When that has not helped twice, it
stops and names the steps and the documents.

A leap is a loss far above those of the steps before it: the rule of six standard deviations by which OLMo-core skips
steps.
"""

import math
from collections.abc import Sequence

from lm_pipeline.errors import LmPipelineError

MAX_CONSECUTIVE_SKIPS = 3
MAX_ROLLBACKS = 2
NUM_REMEMBERED = 64
"""Losses of good steps that a new one is compared with; before there are so many, no loss counts as a spike."""
NUM_OF_A_WIDTH = 16
"""Losses that suffice where batches have several widths, each with losses of its own: 64 of each come late."""
LEAST_DEVIATION = 0.02
"""Standard deviation below which losses are never thought to vary, as a fraction of their mean."""

_BEFORE = "steps before had"


class DivergedError(LmPipelineError):
    """Losses or gradients stopped being finite, or leapt, and going back did not help."""

    exit_code = 10


def problem(
    loss: float,
    gradient_norm: float,
    recent: Sequence[float],
    spike_deviations: float | None,
    num_needed: int = NUM_REMEMBERED,
) -> str | None:
    """Why a step must not reach the weights; None where it may.

    Args:
        loss: mean loss of the step.
        gradient_norm: global norm of its gradient, before clipping.
        recent: losses of the last good steps.
        spike_deviations: how far above them a loss may lie; None for any distance.
        num_needed: how many of them there must be before a loss is compared with them.

    >>> problem(float("nan"), 1.0, [], 6.0)
    'the loss is nan'
    >>> problem(9.0, 1.0, [2.0, 2.2] * 32, 6.0)
    'the loss is 9.000, and the 64 steps before had 2.100 +- 0.100'
    """
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(gradient_norm):
        return f"the gradient's norm is {gradient_norm}"
    if spike_deviations is None or len(recent) < num_needed:
        return None
    mean = math.fsum(recent) / len(recent)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in recent) / len(recent))
    if loss <= mean + spike_deviations * max(deviation, LEAST_DEVIATION * abs(mean)):
        return None
    return f"the loss is {loss:.3f}, and the {len(recent)} {_BEFORE} {mean:.3f} +- {deviation:.3f}"


def diverged(
    steps: Sequence[int], why: str, learning_rate: float, rollbacks: int, documents: Sequence[str]
) -> DivergedError:
    """The error that ends a diverged training."""
    named = "; ".join(documents[:5]) + (f"; and {len(documents) - 5} more" if len(documents) > 5 else "")
    letting_pass = "; `spike_deviations: null` lets leaps pass" if _BEFORE in why else ""
    return DivergedError(
        f"Training does not get past step {steps[-1]}: {why} (steps {', '.join(map(str, steps))}, learning rate"
        f" {learning_rate:g}), also after going back {rollbacks} times. The weights were kept out of it. The last"
        f" batch read: {named}. Lower `learning_rate`, lengthen `warmup_steps` or set `max_gradient_norm`; if one"
        f" document is at fault, look at it{letting_pass}."
    )
