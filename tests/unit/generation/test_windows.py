from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.generation.windows import sliding_windows


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(2, 40))
def test_every_target_is_scored_once_with_at_least_half_a_window_of_context(num_inputs, context_length):
    scored = []
    for window in sliding_windows(num_inputs, context_length):
        assert 0 <= window.start < window.stop <= num_inputs
        assert window.stop - window.start <= context_length
        for position in range(window.first_scored, window.stop):
            context = position + 1 - window.start
            assert context >= min(position + 1, context_length / 2)
            scored.append(position)
    assert scored == list(range(num_inputs))
