import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.errors import InputError
from lm_pipeline.generation.sampling import choose, draw, greedy, keep_top_k, keep_top_p, normalise

weights = st.lists(st.integers(1, 1000), min_size=1, max_size=40).map(lambda w: np.log(np.array(w) / sum(w)))


@settings(deadline=None)
@given(weights)
def test_zero_temperature_takes_the_most_probable_token_whatever_the_seed(log_probs):
    tokens = {choose(log_probs, np.random.default_rng(seed), temperature=0) for seed in range(3)}
    assert tokens == {int(np.argmax(log_probs))}


@settings(deadline=None)
@given(weights, st.integers(1, 45))
def test_top_k_keeps_exactly_the_k_most_probable_and_the_lowest_ids_among_equals(log_probs, k):
    kept = keep_top_k(log_probs, k)
    expected = sorted(np.argsort(-log_probs, kind="stable")[:k].tolist())
    assert np.flatnonzero(np.isfinite(kept)).tolist() == expected


@settings(deadline=None)
@given(weights, st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_tokens_that_reach_the_mass(log_probs, p):
    kept = np.isfinite(keep_top_p(log_probs, p))
    probabilities = np.exp(log_probs)
    assert probabilities[kept].sum() >= p - 1e-9
    assert probabilities[kept].sum() - probabilities[kept].min() < p + 1e-9


@settings(deadline=None)
@given(weights, st.floats(0.05, 5), st.integers(0, 45), st.floats(0.05, 1), st.integers(0, 2**32))
def test_a_seed_names_one_token_and_it_is_a_candidate(log_probs, temperature, top_k, top_p, seed):
    first, second = (choose(log_probs, np.random.default_rng(seed), temperature, top_k, top_p) for _ in range(2))
    assert first == second
    assert np.isfinite(keep_top_k(log_probs, top_k or len(log_probs))[first])


def test_draws_follow_the_probabilities():
    generator = np.random.default_rng(0)
    log_probs = np.log([0.5, 0.2, 0.3])
    counts = np.bincount([draw(log_probs, generator) for _ in range(20_000)], minlength=3)
    np.testing.assert_allclose(counts / counts.sum(), [0.5, 0.2, 0.3], atol=0.015)


def test_low_temperature_sharpens_and_high_temperature_flattens():
    log_probs = np.log([0.6, 0.3, 0.1])
    generator = np.random.default_rng(0)

    def share_of_first(temperature):
        return np.mean([choose(log_probs, generator, temperature) == 0 for _ in range(4000)])

    # 0.6^(1/t), normalised: 0.91, 0.6 and 0.39.
    np.testing.assert_allclose([share_of_first(t) for t in (0.3, 1.0, 5.0)], [0.91, 0.6, 0.39], atol=0.03)


def test_excluded_tokens_are_never_drawn():
    log_probs = np.array([-np.inf, -1.0, -np.inf, -2.0])
    generator = np.random.default_rng(0)
    assert {draw(log_probs, generator) for _ in range(200)} == {1, 3}
    np.testing.assert_allclose(np.exp(normalise(log_probs)).sum(), 1.0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -2}, "top_k is -2"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, named):
    with pytest.raises(InputError, match=named):
        choose(np.log([0.5, 0.5]), np.random.default_rng(0), **settings)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_distribution_that_is_not_finite_is_refused(value):
    with pytest.raises(InputError, match="not finite"):
        greedy(np.array([value, value]))
