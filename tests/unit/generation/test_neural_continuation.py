import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.generation import neural_continuation
from lm_pipeline.generation.neural_continuation import NeuralContinuation
from lm_pipeline.generation.windows import sliding_windows
from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.model import TransformerModel


def from_scratch(model, tokens):
    """Log probabilities after all tokens, without any state: the window that predicts the next token, read whole."""
    window = sliding_windows(len(tokens), model.max_positions or len(tokens))[-1]
    with torch.inference_mode():
        hidden, _ = model(torch.tensor([tokens[window.start :]]))
        return model.logits(hidden[0, -1]).double().log_softmax(-1).numpy()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 303), min_size=1, max_size=30), st.integers(1, 30))
def test_cached_steps_equal_reading_everything_again_also_beyond_the_context(model, tokens, num_context):
    num_context = min(num_context, len(tokens))
    text = NeuralContinuation(model, [tokens[:num_context]])
    for position in range(num_context, len(tokens) + 1):
        log_probs = text.next_log_probs()[0]
        np.testing.assert_allclose(log_probs, from_scratch(model, tokens[:position]), atol=1e-5)
        assert np.exp(log_probs).sum() == pytest.approx(1)
        if position < len(tokens):
            text.append([tokens[position]])


def test_each_appended_token_is_read_alone_until_the_window_is_full(model):
    lengths = []
    handle = model.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    try:
        text = NeuralContinuation(model, [[1, 2, 3]])
        for token in range(4, 14):
            text.append([token])
    finally:
        handle.remove()
    # Context of 8: the ninth token makes room by reading again the 4 tokens before it.
    assert lengths == ([3, 1, 1, 1, 1, 1, 5, 1, 1, 1, 5] if model.max_positions else [3] + [1] * 10)


def test_keys_and_values_are_written_where_there_is_room_and_seldom_copied(tokenizer):
    torch.manual_seed(0)
    model = build_model(TransformerModel(num_layers=2, width=16, num_heads=2), tokenizer.vocab_size, 256).eval()
    text = NeuralContinuation(model, [[1, 2, 3], [4, 5]])
    places = []
    for token in range(200):
        text.append([token, token])
        places.append(text._state.tensors[0].data_ptr())
    assert sum(before != after for before, after in itertools.pairwise(places)) == 2  # 64 tokens, 128, 256


def test_a_text_goes_on_in_two_ways_as_two_rows(model):
    text = NeuralContinuation(model, [[1, 2, 3]])
    text.append([4])
    text.select([0, 0])
    text.append([5, 6])
    text.append([7, 7])
    for row, token in enumerate((5, 6)):
        np.testing.assert_allclose(text.next_log_probs()[row], from_scratch(model, [1, 2, 3, 4, token, 7]), atol=1e-5)


def test_with_fixed_threads_a_step_of_any_size_has_one_thread(model, monkeypatch):
    monkeypatch.setattr(neural_continuation, "LARGE_PARAMETERS", 1)  # as if the model were large
    monkeypatch.setattr(neural_continuation, "SHARED_WORK", 1)
    used = []
    hook = model.register_forward_pre_hook(lambda *_: used.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        for is_fixed in (True, False):
            continuation = NeuralContinuation(model, [[1, 2], [1]], fixed_threads=is_fixed)
            for _ in range(4):
                continuation.append([3, 4])
            assert set(used) == ({1} if is_fixed else {1, 2})
            used.clear()
    finally:
        torch.set_num_threads(1)
        hook.remove()
