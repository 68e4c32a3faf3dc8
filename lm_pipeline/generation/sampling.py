"""Choosing a token from a distribution: greedy, temperature, top-k, top-p, min-p, repetition penalty.

Papers: Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p), Nguyen et al. 2024 (min-p), Keskar et al. 2019
(repetition penalty). Order and definitions are those of Hugging Face's processors, applied to log probabilities.

Every function takes and returns natural-log probabilities as a float64 vector [V]; -inf marks a token that cannot be
chosen. Draws use one uniform number per token, so that a seed names one text.
"""

from collections.abc import Sequence

import numpy as np

from lm_pipeline.errors import InputError
from lm_pipeline.specs.generation import Sampling


def choose(
    log_probs_V: np.ndarray, generator: np.random.Generator, sampling: Sampling, history: Sequence[int] = ()
) -> int:
    """Draw the next token.

    Args:
        log_probs_V: natural-log probabilities [V]; they need not sum to one.
        generator: source of the draw; greedy choice leaves it untouched.
        sampling: what is kept of the distribution.
        history: tokens of the text so far, for the repetition penalty.

    Raises:
        InputError: no token can be chosen.
    """
    kept = penalise_repetition(log_probs_V, history, sampling.repetition_penalty)
    best = greedy(kept)
    if sampling.temperature == 0:
        return best
    # Relative to the peak, so that a tiny temperature cannot overflow.
    kept = normalise((kept - kept[best]) / sampling.temperature)
    if sampling.top_k:
        kept = keep_top_k(kept, sampling.top_k)
    if sampling.top_p < 1:
        kept = keep_top_p(kept, sampling.top_p)
    if sampling.min_p > 0:
        kept = keep_min_p(kept, sampling.min_p)
    return draw(kept, generator)


def greedy(log_probs_V: np.ndarray) -> int:
    """The most probable token; the lowest id among equals.

    Raises:
        InputError: no token can be chosen.
    """
    token = int(np.argmax(log_probs_V))
    if not np.isfinite(log_probs_V[token]):
        raise InputError(
            f"The model gives its most probable token the log probability {log_probs_V[token]}, which is not finite."
            " Its weights are damaged or diverged: train it again."
        )
    return token


def normalise(log_probs_V: np.ndarray) -> np.ndarray:
    """Shift log probabilities so that the probabilities sum to one.

    >>> np.exp(normalise(np.log([1.0, 3.0]))).round(2).tolist()
    [0.25, 0.75]
    """
    peak = log_probs_V[greedy(log_probs_V)]
    return log_probs_V - (peak + np.log(np.exp(log_probs_V - peak).sum()))


def penalise_repetition(log_probs_V: np.ndarray, history: Sequence[int], penalty: float) -> np.ndarray:
    """Multiply the log probability of tokens that have occurred by `penalty`, which is 1 or more.

    >>> penalise_repetition(np.array([-1.0, -2.0]), [0, 0], 1.5).tolist()
    [-1.5, -2.0]
    """
    if penalty == 1 or not history:
        return log_probs_V
    seen = np.unique(np.asarray(history))
    penalised = log_probs_V.copy()
    penalised[seen] *= penalty
    return penalised


def keep_top_k(log_probs_V: np.ndarray, top_k: int) -> np.ndarray:
    """Keep the `top_k` most probable tokens, the lowest ids among equals; the rest becomes -inf.

    >>> keep_top_k(np.log([0.2, 0.5, 0.2, 0.1]), 2).round(2).tolist()
    [-1.61, -0.69, -inf, -inf]
    """
    if top_k >= len(log_probs_V):
        return log_probs_V
    least = np.partition(log_probs_V, -top_k)[-top_k]
    chosen = log_probs_V > least
    # Ties at the border would otherwise be kept or dropped as the partition happens to order them.
    chosen[np.flatnonzero(log_probs_V == least)[: top_k - chosen.sum()]] = True
    return np.where(chosen, log_probs_V, -np.inf)


def keep_top_p(log_probs_V: np.ndarray, top_p: float) -> np.ndarray:
    """Keep the fewest tokens whose probabilities reach `top_p` of the whole; the rest becomes -inf.

    >>> keep_top_p(np.log([0.2, 0.5, 0.3]), 0.7).round(2).tolist()
    [-inf, -0.69, -1.2]
    """
    order = np.argsort(-log_probs_V, kind="stable")
    mass = np.cumsum(np.exp(normalise(log_probs_V)[order]))
    num_kept = int(np.searchsorted(mass, top_p)) + 1
    kept = np.full_like(log_probs_V, -np.inf)
    kept[order[:num_kept]] = log_probs_V[order[:num_kept]]
    return kept


def keep_min_p(log_probs_V: np.ndarray, min_p: float) -> np.ndarray:
    """Keep the tokens at least `min_p` times as probable as the most probable one; the rest becomes -inf.

    >>> keep_min_p(np.log([0.6, 0.3, 0.1]), 0.4).round(2).tolist()
    [-0.51, -1.2, -inf]
    """
    return np.where(log_probs_V >= log_probs_V[greedy(log_probs_V)] + np.log(min_p), log_probs_V, -np.inf)


def draw(log_probs_V: np.ndarray, generator: np.random.Generator) -> int:
    """Draw a token by its probability, from one uniform number through the cumulative distribution."""
    candidates = np.flatnonzero(np.isfinite(log_probs_V))
    mass = np.cumsum(np.exp(normalise(log_probs_V)[candidates]))
    position = np.searchsorted(mass, generator.random() * mass[-1], side="right")
    return int(candidates[min(int(position), len(candidates) - 1)])
