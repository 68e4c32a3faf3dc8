"""Choosing a token from a distribution: greedy, temperature, top-k (Fan et al. 2018) and top-p (Holtzman et al. 2020).

Every function takes and returns natural-log probabilities as a float64 vector [V]; -inf marks a token that cannot be
chosen. Draws use one uniform number per token, so that a seed names one text.
"""

import numpy as np

from lm_pipeline.errors import InputError


def choose(
    log_probs_V: np.ndarray,
    generator: np.random.Generator,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> int:
    """Draw the next token.

    Temperature comes first, then top-k, then top-p, as in GPT-2's sampler and its successors.

    Args:
        log_probs_V: natural-log probabilities [V]; they need not sum to one.
        generator: source of the draw; greedy choice leaves it untouched.
        temperature: divides log probabilities; 0 is greedy.
        top_k: candidates kept; 0 keeps all.
        top_p: smallest probability mass kept; 1 keeps all.

    Raises:
        InputError: a setting is outside its range, or no token can be chosen.
    """
    check_settings(temperature, top_k, top_p)
    if temperature == 0:
        return greedy(log_probs_V)
    # Relative to the peak, so that a tiny temperature cannot overflow.
    kept = normalise((log_probs_V - log_probs_V[greedy(log_probs_V)]) / temperature)
    if top_k:
        kept = keep_top_k(kept, top_k)
    if top_p < 1:
        kept = keep_top_p(kept, top_p)
    return draw(kept, generator)


def check_settings(temperature: float, top_k: int, top_p: float) -> None:
    """Refuse settings that no sampler can follow.

    Raises:
        InputError: a setting is outside its range.
    """
    if not (np.isfinite(temperature) and temperature >= 0):
        raise InputError(f"temperature is {temperature}. Give a finite number from 0 (greedy) upward, such as 0.8.")
    if top_k < 0:
        raise InputError(f"top_k is {top_k}. Give the number of candidates to keep, or 0 to keep all.")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}. Give a probability above 0 and up to 1; 1 keeps all.")


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


def draw(log_probs_V: np.ndarray, generator: np.random.Generator) -> int:
    """Draw a token by its probability, from one uniform number through the cumulative distribution."""
    candidates = np.flatnonzero(np.isfinite(log_probs_V))
    mass = np.cumsum(np.exp(normalise(log_probs_V)[candidates]))
    position = np.searchsorted(mass, generator.random() * mass[-1], side="right")
    return int(candidates[min(int(position), len(candidates) - 1)])
