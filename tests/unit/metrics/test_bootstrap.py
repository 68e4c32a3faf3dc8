"""The interval covers the truth as often as it says."""

import numpy as np
import pytest

from lm_pipeline.metrics import bootstrap
from lm_pipeline.metrics.bootstrap import bootstrap_ratio


def documents(generator: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and losses of documents whose loss per token is 3 in expectation, over all tokens."""
    lengths = generator.integers(20, 400, num).astype(float)
    return lengths * generator.normal(3, 0.6, num), lengths


def test_the_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        low, high = bootstrap_ratio(*documents(generator, 80), num=400, confidence=0.9, seed=trial)
        hits += low <= 3 <= high
    assert 0.85 <= hits / 400 <= 0.94


def test_the_interval_agrees_with_the_normal_approximation() -> None:
    losses, lengths = documents(np.random.default_rng(1), 500)
    ratio = losses.sum() / lengths.sum()
    error = np.sqrt(((losses - ratio * lengths) ** 2).sum()) / lengths.sum()
    low, high = bootstrap_ratio(losses, lengths, num=4000, confidence=0.95, seed=0)
    assert low == pytest.approx(ratio - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(ratio + 1.96 * error, abs=0.15 * error)


def test_the_same_seed_gives_the_same_interval_and_more_confidence_a_wider_one() -> None:
    losses, lengths = documents(np.random.default_rng(2), 60)
    narrow = bootstrap_ratio(losses, lengths, num=500, confidence=0.5, seed=4)
    wide = bootstrap_ratio(losses, lengths, num=500, confidence=0.99, seed=4)
    assert narrow == bootstrap_ratio(losses, lengths, num=500, confidence=0.5, seed=4)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_blocks_leave_the_resamples_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, lengths = documents(np.random.default_rng(3), 50)
    whole = bootstrap_ratio(losses, lengths, num=100, confidence=0.95, seed=0)
    monkeypatch.setattr(bootstrap, "_BLOCK_ELEMENTS", 170)
    assert bootstrap_ratio(losses, lengths, num=100, confidence=0.95, seed=0) == whole


def test_one_document_gives_its_own_ratio() -> None:
    assert bootstrap_ratio(np.array([6.0]), np.array([3.0]), num=10, confidence=0.95, seed=0) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("numerators", "denominators", "confidence", "message"),
    [
        ([1.0, 2.0], [1.0], 0.95, "one of each"),
        ([], [], 0.95, "at least one document"),
        ([np.nan], [1.0], 0.95, "must be finite"),
        ([1.0], [0.0], 0.95, "positive"),
        ([1.0], [1.0], 95, "confidence is 95"),
    ],
)
def test_wrong_input_is_refused(
    numerators: list[float], denominators: list[float], confidence: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_ratio(np.array(numerators), np.array(denominators), 10, confidence, 0)
