"""Percentile bootstrap over documents, for figures that are one sum divided by another.

Source: Efron & Tibshirani 1993, chapter 13. The document is the unit: tokens of one document are no independent draws.
"""

import numpy as np

_BLOCK_ELEMENTS = 1 << 22
"""Resampled indices held at once: bounds memory at about 100 MB whatever the numbers of documents and resamples."""


def bootstrap_ratio(
    numerators: np.ndarray, denominators: np.ndarray, num: int, confidence: float, seed: int
) -> tuple[float, float]:
    """Confidence interval of sum(numerators) / sum(denominators) when the documents are drawn anew with replacement.

    Args:
        numerators: float [num_documents], such as each document's negative log likelihood.
        denominators: float [num_documents], positive, such as its number of tokens or bytes.
        num: resamples.
        confidence: level, above 0 and below 1, such as 0.95.
        seed: of the resampling; the same for two models means the same resamples of the same documents.

    Returns:
        The lower and the upper bound. For one document both are its own ratio: nothing says how documents vary.

    Raises:
        ValueError: the arrays differ in length, are empty or hold something that is not finite, or `confidence` is no
            level.

    >>> bootstrap_ratio(np.array([2.0, 2.0]), np.array([1.0, 1.0]), num=100, confidence=0.95, seed=0)
    (2.0, 2.0)
    """
    numerators = np.asarray(numerators, np.float64)
    denominators = np.asarray(denominators, np.float64)
    if numerators.shape != denominators.shape or numerators.ndim != 1 or not len(numerators):
        raise ValueError(
            f"given {numerators.shape} numerators and {denominators.shape} denominators; expected one of each for every"
            " document, and at least one document"
        )
    if not np.isfinite(numerators).all() or not np.isfinite(denominators).all() or (denominators <= 0).any():
        raise ValueError("numerators must be finite, denominators finite and positive; leave such documents out")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; expected a level between 0 and 1, such as 0.95")
    generator = np.random.default_rng(seed)
    num_documents = len(numerators)
    ratios = np.empty(num)
    block = max(1, _BLOCK_ELEMENTS // num_documents)
    for start in range(0, num, block):
        size = min(block, num - start)
        drawn = generator.integers(num_documents, size=(size, num_documents))
        ratios[start : start + size] = numerators[drawn].sum(1) / denominators[drawn].sum(1)
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
