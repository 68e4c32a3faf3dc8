"""Learning rate of a step: a pure function of the step and of the validations so far, so that there is no state."""

import math
from collections.abc import Sequence

from lm_pipeline.specs.training import Training

Validations = Sequence[tuple[int, float]]
"""(step, loss) of every validation, in order."""

MIN_IMPROVEMENT = 1e-4
"""A validation is better than the best before it when its loss is lower by this fraction."""


def learning_rate(training: Training, step: int, validations: Validations = ()) -> float:
    """Learning rate of the step with this number, counted from 0.

    It rises linearly over `warmup_steps`, is at its peak at the step after them and ends, at the last step, at
    `min_learning_rate_fraction` of the peak (a constant schedule stays at the peak). The cosine is that of Loshchilov &
    Hutter 2017 without restarts; `wsd` is that of Hu et al. 2024 (MiniCPM), with a linear decay.

    >>> rates = Training(num_steps=11, warmup_steps=2, learning_rate=1.0, schedule="linear")
    >>> [round(learning_rate(rates, step), 2) for step in (0, 1, 2, 10)]
    [0.33, 0.67, 1.0, 0.1]
    """
    peak, lowest = training.learning_rate, training.learning_rate * training.min_learning_rate_fraction
    if step < training.warmup_steps:
        return peak * (step + 1) / (training.warmup_steps + 1)
    if training.schedule == "constant":
        return peak
    if training.schedule == "plateau":
        return max(lowest, peak * training.plateau_factor ** num_reductions(validations, training.plateau_patience))
    begin, last = training.warmup_steps, training.num_steps - 1
    if training.schedule == "wsd":
        begin = max(begin, last - round(training.decay_fraction * training.num_steps))
    done = 1.0 if step >= last else max(0, step - begin) / max(1, last - begin)
    fraction = (1 + math.cos(math.pi * done)) / 2 if training.schedule == "cosine" else 1 - done
    return lowest + (peak - lowest) * fraction


def num_reductions(validations: Validations, patience: int) -> int:
    """How often the rate has been reduced: once for each `patience` validations in a row without an improvement.

    >>> num_reductions([(1, 3.0), (2, 2.5), (3, 2.6), (4, 2.5), (5, 2.7), (6, 2.4)], patience=2)
    1
    """
    reductions, stale, best = 0, 0, math.inf
    for _, loss in validations:
        stale = 0 if is_better(loss, best) else stale + 1
        best = min(best, loss)
        if stale == patience:
            reductions, stale = reductions + 1, 0
    return reductions


def out_of_patience(validations: Validations, patience: int | None) -> bool:
    """Whether the last `patience` validations all failed to improve on what came before them.

    >>> out_of_patience([(1, 3.0), (2, 2.5), (3, 2.6), (4, 2.5)], patience=2)
    True
    """
    if patience is None or len(validations) <= patience:
        return False
    before, after = validations[:-patience], validations[-patience:]
    return not is_better(min(loss for _, loss in after), min(loss for _, loss in before))


def is_better(loss: float, best: float) -> bool:
    """Whether a validation loss improves on the best one so far by more than noise of rounding."""
    return loss < best - MIN_IMPROVEMENT * abs(best) if math.isfinite(best) else loss < best
