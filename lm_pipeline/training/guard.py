"""What happens when a loss is not finite or leaps: it never reaches the weights.

The step is skipped. After three skips in a row the training goes back to its last checkpoint and reads on behind the
data that it stumbled over, as PaLM's did (Chowdhery et al. 2022, section 5.1). When it has gone back twice without
getting to a checkpoint behind the step where it last turned, it stops. Whatever it does, it names the steps and the
documents.

A leap is a loss far above those of the steps before it: the rule of six standard deviations by which OLMo-core skips
steps.
"""

import math
from collections.abc import Mapping, Sequence

from lm_pipeline.errors import LmPipelineError

MAX_CONSECUTIVE_SKIPS = 3
MAX_ROLLBACKS = 2
MAX_NAMED = 5
"""Documents of a batch that a message names."""
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


def fruitless(rollbacks: Sequence[int], saved: int) -> int:
    """How many returns to a checkpoint did not lead past the trouble.

    Args:
        rollbacks: the steps from which the training went back.
        saved: step of the last checkpoint.

    >>> fruitless([9, 40, 43], saved=30)
    2
    """
    return sum(step >= saved for step in rollbacks)


def what_was_read(read: Mapping[int, Sequence[str]]) -> str:
    """The documents of each step's batch, for a message.

    >>> what_was_read({7: ["a", "b"], 8: ["c"]})
    'step 7 read a; b; step 8 read c'
    """
    return "; ".join(
        f"step {step} read {'; '.join(documents[:MAX_NAMED])}"
        + (f"; and {len(documents) - MAX_NAMED} more" if len(documents) > MAX_NAMED else "")
        for step, documents in read.items()
    )


def diverged(read: Mapping[int, Sequence[str]], why: str, learning_rate: float, rollbacks: int) -> DivergedError:
    """The error that ends a diverged training; `read` has the documents of each step that was skipped last."""
    letting_pass = "; `spike_deviations: null` lets leaps pass" if _BEFORE in why else ""
    return DivergedError(
        f"Training does not get past step {max(read)}: {why} (learning rate {learning_rate:g}), also after going back"
        f" {rollbacks} times. The weights were kept out of it. What was skipped last: {what_was_read(read)}. Lower"
        " `learning_rate`, lengthen `warmup_steps` or set `max_gradient_norm`; if one document is at fault, look at"
        f" it{letting_pass}."
    )
