import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.specs.training import Training
from lm_pipeline.training.schedule import learning_rate


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_warm_up_rises_linearly_to_the_peak(shape):
    training = Training(num_steps=100, warmup_steps=4, learning_rate=1.0, schedule=shape)
    assert [learning_rate(training, step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize(("shape", "middle"), [("constant", 1.0), ("linear", 0.6), ("cosine", 0.6)])
def test_the_shapes_after_warm_up(shape, middle):
    training = Training(num_steps=21, warmup_steps=0, learning_rate=1.0, schedule=shape, min_learning_rate_fraction=0.2)
    assert learning_rate(training, 10) == pytest.approx(middle)
    assert learning_rate(training, 20) == pytest.approx(1.0 if shape == "constant" else 0.2)


@given(st.integers(1, 50), st.integers(0, 60), st.sampled_from(["constant", "linear", "cosine"]), st.floats(0, 1))
def test_rates_stay_positive_below_the_peak_and_never_rise_after_warm_up(num_steps, warmup, shape, fraction):
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
