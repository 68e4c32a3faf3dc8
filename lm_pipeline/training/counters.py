"""Randomness without state: numbers and permutations that follow from counters and keys.

SplitMix64 (Steele et al. 2014) mixes; permutations are Feistel networks with cycle walking (Black & Rogaway 2002). So
nothing has to be stored to know what comes at a place, in this process or another.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 4
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(values: NDArray[np.uint64], key: int | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 of each value under a key (or one key a value): uniform 64-bit numbers."""
    with np.errstate(over="ignore"):
        z = values * np.uint64(_GOLDEN) + (np.uint64(key & _MASK) if isinstance(key, int) else key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def key_of(*numbers: int) -> int:
    """A 64-bit key made of several integers; their order matters."""
    key = _GOLDEN  # not 0, which SplitMix64 maps to itself
    for number in numbers:
        z = (number * _GOLDEN + key) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        key = z ^ (z >> 31)
    return key


def permute(indices: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Images of indices below `size` under a permutation of range(size) that the key draws.

    >>> sorted(permute(np.arange(10), 10, key=7).tolist()) == list(range(10))
    True
    """
    round_keys = [np.full(indices.shape, key_of(key, number), np.uint64) for number in range(_ROUNDS)]
    return _walk(indices, np.full(indices.shape, size), round_keys)


def spread(ranks: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Images of ranks below `size` under a permutation of range(size) whose every beginning is spread evenly.

    The range is cut into some hundred strata of equal size. Ranks take a drawn element of each stratum in turn, from
    stratum to stratum in steps of about the golden ratio; so among the first n ranks each stretch of the range has its
    share to within 10 / n: to 0.1 % from n = 10,000 on.

    >>> sorted(spread(np.arange(10), 10, key=7).tolist()) == list(range(10))
    True
    """
    num_strata, stride = _strata(size)
    whole, rest = divmod(size, num_strata)
    rounds, places = np.divmod(ranks, num_strata)
    offsets = (mix(rounds.astype(np.uint64), key_of(key, _ROUNDS)) % np.uint64(num_strata)).astype(np.int64)
    strata = (places * stride + offsets) % num_strata
    strata = np.where(rounds == whole, places, strata)  # what is left over: one more of the first `rest` strata
    round_keys = [mix(strata.astype(np.uint64), key_of(key, number)) for number in range(_ROUNDS)]
    within = _walk(rounds, whole + (strata < rest), round_keys)
    return strata * whole + np.minimum(strata, rest) + within


@functools.lru_cache
def _strata(size: int) -> tuple[int, int]:
    """How many strata, so that little is left over, and in which steps they are visited.

    Multiples of a step are spread as evenly as the largest quotient of its continued fraction is small (Niederreiter
    1992, theorem 3.4).
    """
    num_strata = min(range(min(size, 1024), min(size, 1024) // 2, -1), key=lambda number: size % number)
    golden = 0.6180339887 * num_strata
    steps = [step for step in range(1, num_strata + 1) if math.gcd(step, num_strata) == 1]
    return num_strata, min(steps, key=lambda step: (_largest_quotient(step, num_strata), abs(step - golden)))


def _largest_quotient(part: int, whole: int) -> int:
    """Of the continued fraction of part / whole, which is Euclid's algorithm.

    >>> _largest_quotient(5, 8), _largest_quotient(1, 7)
    (2, 7)
    """
    largest = 0
    while part:
        quotient, rest = divmod(whole, part)
        largest = max(largest, quotient)
        whole, part = part, rest
    return largest


def _walk(
    indices: NDArray[np.int64], sizes: NDArray[np.int64], round_keys: list[NDArray[np.uint64]]
) -> NDArray[np.int64]:
    """Each index permuted below its size, under keys of its own."""
    if not indices.size:
        return indices.copy()
    half = np.uint64(max(1, (max(int(sizes.max()) - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    values = indices.astype(np.uint64)
    outside = np.ones(values.shape, bool)
    while outside.any():  # walk the cycle of the power-of-four domain until it comes back below the size
        left, right = values[outside] >> half, values[outside] & mask
        for keys in round_keys:
            left, right = right, left ^ (mix(right, keys[outside]) & mask)
        values[outside] = (left << half) | right
        outside = values >= sizes.astype(np.uint64)
    return values.astype(np.int64)
