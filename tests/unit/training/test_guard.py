import math

import pytest

from lm_pipeline.training.guard import LEAST_DEVIATION, NUM_OF_A_WIDTH, NUM_REMEMBERED, diverged, problem

STEADY = [2.0, 2.2] * (NUM_REMEMBERED // 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_passes(value):
    assert problem(value, 1.0, [], None)
    assert problem(1.0, value, [], None)


def test_a_loss_passes_up_to_the_given_number_of_deviations():
    assert problem(2.1 + 0.59, 1.0, STEADY, 6.0) is None
    assert "2.701" in (problem(2.1 + 0.601, 1.0, STEADY, 6.0) or "")
    assert problem(50.0, 1.0, STEADY, None) is None
    assert problem(-50.0, 1.0, STEADY, 6.0) is None


def test_nothing_is_a_spike_before_enough_was_seen():
    assert problem(50.0, 1.0, STEADY[1:], 6.0) is None


def test_beside_losses_of_one_width_fewer_are_enough():
    recent = [2.0, 2.2] * (NUM_OF_A_WIDTH // 2)
    assert problem(9.0, 1.0, recent, 6.0) is None
    assert problem(9.0, 1.0, recent[1:], 6.0, NUM_OF_A_WIDTH) is None
    assert problem(2.3, 1.0, recent, 6.0, NUM_OF_A_WIDTH) is None
    assert "the 16 steps before had 2.100" in (problem(9.0, 1.0, recent, 6.0, NUM_OF_A_WIDTH) or "")


def test_losses_that_hardly_vary_are_not_spikes_of_each_other():
    flat = [2.0] * NUM_REMEMBERED
    assert problem(2.0 + 5.9 * LEAST_DEVIATION * 2.0, 1.0, flat, 6.0) is None
    assert problem(2.0 + 6.1 * LEAST_DEVIATION * 2.0, 1.0, flat, 6.0)


def test_the_error_names_steps_documents_and_what_to_do():
    error = diverged({7: ["a"], 8: ["b"], 9: [f"d{i}" for i in range(8)]}, "the loss is nan", 0.01, 2)
    named = "step 7 read a; step 8 read b; step 9 read d0; d1; d2; d3; d4; and 3 more"
    for part in ("past step 9", "the loss is nan", named, "Lower `learning_rate`"):
        assert part in str(error)
    assert error.exit_code == 10


def test_letting_spikes_pass_is_advised_for_spikes_alone():
    spike = problem(50.0, 1.0, STEADY, 6.0)
    assert spike is not None
    assert "`spike_deviations: null`" in str(diverged({7: ["d0"]}, spike, 0.01, 2))
    assert "spike_deviations" not in str(diverged({7: ["d0"]}, "the loss is nan", 0.01, 2))
