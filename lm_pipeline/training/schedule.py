"""Learning rate of a step: a pure function, so that a resumed training needs no schedule state."""

import math

from lm_pipeline.specs.training import Training


def learning_rate(training: Training, step: int) -> float:
    """Learning rate of the step with this number, counted from 0.

    It rises linearly over `warmup_steps`, is at its peak at the step after them and ends, at the last step, at
    `min_learning_rate_fraction` of the peak (a constant schedule stays at the peak). The cosine is that of Loshchilov &
    Hutter 2017 without restarts.

    >>> rates = Training(num_steps=11, warmup_steps=2, learning_rate=1.0, schedule="linear")
    >>> [round(learning_rate(rates, step), 2) for step in (0, 1, 2, 10)]
    [0.33, 0.67, 1.0, 0.1]
    """
    peak, lowest = training.learning_rate, training.learning_rate * training.min_learning_rate_fraction
    if step < training.warmup_steps:
        return peak * (step + 1) / (training.warmup_steps + 1)
    if training.schedule == "constant":
        return peak
    remaining = training.num_steps - 1 - training.warmup_steps
    done = min(1.0, (step - training.warmup_steps) / remaining) if remaining > 0 else 1.0
    fraction = 1 - done if training.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return lowest + (peak - lowest) * fraction
