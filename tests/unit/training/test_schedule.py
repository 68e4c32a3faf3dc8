import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.specs.training import Training
from lm_pipeline.training.schedule import learning_rate, num_reductions, out_of_patience


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "wsd", "plateau"])
def test_warm_up_rises_linearly_to_the_peak(shape):
    training = Training(num_steps=100, warmup_steps=4, learning_rate=1.0, schedule=shape)
    assert [learning_rate(training, step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize(("shape", "middle"), [("constant", 1.0), ("linear", 0.6), ("cosine", 0.6)])
def test_the_shapes_after_warm_up(shape, middle):
    lowest = {} if shape == "constant" else {"min_learning_rate_fraction": 0.2}
    training = Training(num_steps=21, warmup_steps=0, learning_rate=1.0, schedule=shape, **lowest)
    assert learning_rate(training, 10) == pytest.approx(middle)
    assert learning_rate(training, 20) == pytest.approx(1.0 if shape == "constant" else 0.2)


@given(st.integers(1, 50), st.floats(0, 1), st.sampled_from(["linear", "cosine", "wsd"]), st.floats(0, 1))
def test_rates_stay_positive_below_the_peak_and_never_rise_after_warm_up(num_steps, warm, shape, fraction):
    warmup = int(warm * (num_steps - 1))
    training = Training(
        num_steps=num_steps,
        warmup_steps=warmup,
        learning_rate=0.5,
        schedule=shape,
        min_learning_rate_fraction=fraction,
    )
    rates = [learning_rate(training, step) for step in range(num_steps)]
    assert all(0 <= rate <= 0.5 for rate in rates)
    decay = rates[warmup:]
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(decay))


def test_wsd_is_stable_and_then_decays_to_the_lowest_rate():
    training = Training(num_steps=100, warmup_steps=10, learning_rate=1.0, schedule="wsd", decay_fraction=0.2)
    rates = [learning_rate(training, step) for step in range(100)]
    assert rates[10:80] == [1.0] * 70
    assert rates[-1] == pytest.approx(0.1)
    assert rates[89] == pytest.approx(0.55)


@pytest.mark.parametrize(("num_steps", "fraction"), [(20, 0.02), (100, 0.0), (4, 0.1)])
def test_wsd_with_a_decay_shorter_than_a_step_is_at_the_peak_until_the_last(num_steps, fraction):
    rates = Training(num_steps=num_steps, warmup_steps=1, learning_rate=1.0, schedule="wsd", decay_fraction=fraction)
    after_warmup = [learning_rate(rates, step) for step in range(1, num_steps)]
    assert after_warmup == pytest.approx([1.0] * (num_steps - 2) + [0.1])


def falling_then_flat(number):
    return [(step, 3.0 - min(step, 3) * 0.5) for step in range(number)]


def test_plateau_reduces_after_each_run_of_validations_without_improvement():
    training = Training(warmup_steps=0, learning_rate=1.0, schedule="plateau", plateau_patience=2)
    rates = [learning_rate(training, 500, falling_then_flat(number)) for number in range(11)]
    assert rates == [1.0] * 6 + [0.5, 0.5, 0.25, 0.25, 0.125]
    assert learning_rate(training, 500, falling_then_flat(60)) == pytest.approx(0.1)  # the lowest


@given(st.lists(st.floats(0.1, 5), max_size=30), st.integers(1, 4))
def test_plateau_follows_from_history_alone_and_never_forgets_a_reduction(losses, patience):
    history = list(enumerate(losses))
    counts = [num_reductions(history[:n], patience) for n in range(len(history) + 1)]
    assert counts == sorted(counts)
    assert counts[-1] <= len(losses) // patience


def test_patience_ends_when_the_last_validations_brought_nothing():
    assert not out_of_patience(falling_then_flat(5), None)
    assert not out_of_patience([], 1)
    ended = [number for number in range(12) if out_of_patience(falling_then_flat(number), 3)]
    assert ended[0] == 7  # the best is number 3; 4, 5 and 6 were no better
