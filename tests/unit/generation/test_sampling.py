import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.errors import InputError
from lm_pipeline.generation.sampling import (
    choose,
    draw,
    greedy,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    normalise,
    penalise_repetition,
)
from lm_pipeline.specs.generation import Decoding, Sampling

weights = st.lists(st.integers(1, 1000), min_size=1, max_size=40).map(lambda w: np.log(np.array(w) / sum(w)))


@settings(deadline=None)
@given(weights)
def test_zero_temperature_takes_the_most_probable_token_whatever_the_seed(log_probs):
    tokens = {choose(log_probs, np.random.default_rng(seed), Sampling(temperature=0)) for seed in range(3)}
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
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    first, second = (choose(log_probs, np.random.default_rng(seed), sampling) for _ in range(2))
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
        return np.mean([choose(log_probs, generator, Sampling(temperature=temperature)) == 0 for _ in range(4000)])

    # 0.6^(1/t), normalised: 0.91, 0.6 and 0.39.
    np.testing.assert_allclose([share_of_first(t) for t in (0.3, 1.0, 5.0)], [0.91, 0.6, 0.39], atol=0.03)


def test_excluded_tokens_are_never_drawn():
    log_probs = np.array([-np.inf, -1.0, -np.inf, -2.0])
    generator = np.random.default_rng(0)
    assert {draw(log_probs, generator) for _ in range(200)} == {1, 3}
    np.testing.assert_allclose(np.exp(normalise(log_probs)).sum(), 1.0)


@settings(deadline=None)
@given(weights, st.floats(0.01, 1))
def test_min_p_keeps_exactly_what_is_probable_enough_beside_the_best(log_probs, p):
    kept = np.isfinite(keep_min_p(log_probs, p))
    ratios = np.exp(log_probs - log_probs.max())
    np.testing.assert_array_equal(kept[abs(ratios - p) > 1e-9], (ratios > p)[abs(ratios - p) > 1e-9])
    assert kept.any()


def test_the_repetition_penalty_makes_another_token_win():
    log_probs = np.log([0.5, 0.4, 0.1])
    generator = np.random.default_rng(0)
    sampling = Sampling(temperature=0, repetition_penalty=2.0)
    assert choose(log_probs, generator, sampling) == 0
    assert choose(log_probs, generator, sampling, history=[0, 0]) == 1
    np.testing.assert_allclose(penalise_repetition(log_probs, [2], 3.0), log_probs * [1, 1, 3])
    np.testing.assert_array_equal(log_probs, np.log([0.5, 0.4, 0.1]))  # the model's own are left alone


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -2}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": 1.5}, "min_p"),
        ({"repetition_penalty": 0.5}, "repetition_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"stop": [""]}, "stop"),
        ({"seed": 2**64}, "seed"),
        ({"num_beams": 2}, "set temperature to 0"),
        ({"length_penalty": 2.0}, "length_penalty is of beam search"),
        ({"beams": 2}, "beams"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, named):
    with pytest.raises(ValueError, match=named):
        Decoding(**settings)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_distribution_that_is_not_finite_is_refused(value):
    with pytest.raises(InputError, match="not finite"):
        greedy(np.array([value, value]))
