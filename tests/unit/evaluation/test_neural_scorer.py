import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation import neural_scorer
from lm_pipeline.evaluation.neural_scorer import NeuralScorer
from lm_pipeline.generation.windows import sliding_windows

documents_of = st.lists(st.lists(st.integers(0, 303), min_size=1, max_size=40), min_size=1, max_size=8)


@pytest.fixture
def small_passes(monkeypatch):
    """Passes so small that documents of a test need many of them."""
    monkeypatch.setattr(neural_scorer, "BATCH_TOKENS", 24)
    monkeypatch.setattr(neural_scorer, "CARRIED_CHUNK", 8)
    monkeypatch.setattr(neural_scorer, "LOGITS_BUDGET", 5 * 304)


def reference(model, document):
    """Log probability of each target by the definition: one document, no batch, no state, no padding."""
    tokens = torch.tensor(document)
    values = np.empty(len(document) - 1)
    for window in sliding_windows(len(document) - 1, model.max_positions or len(document)):
        with torch.inference_mode():
            hidden, _ = model(tokens[None, window.start : window.stop])
            log_probs = model.logits(hidden[0]).double().log_softmax(-1)
        for position in range(window.first_scored, window.stop):
            values[position] = log_probs[position - window.start, document[position + 1]]
    return values


@settings(max_examples=15, deadline=None)
@given(documents_of)
def test_batches_padding_chunks_and_windows_do_not_change_a_score(model, documents):
    scores = NeuralScorer(model).document_log_probs([np.array(document) for document in documents])
    for document, values in zip(documents, scores, strict=True):
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, reference(model, document), atol=1e-5)


def test_scores_are_the_same_in_small_passes_and_in_any_order(model, small_passes):
    generator = np.random.default_rng(0)
    documents = [generator.integers(0, 304, length) for length in (1, 2, 9, 30, 8, 100, 17, 3, 64, 65)]
    scores = NeuralScorer(model).document_log_probs(documents)
    order = generator.permutation(len(documents))
    shuffled = NeuralScorer(model).document_log_probs([documents[index] for index in order])
    for position, index in enumerate(order):
        np.testing.assert_allclose(shuffled[position], scores[index], atol=1e-5)
        np.testing.assert_allclose(scores[index], reference(model, documents[index]), atol=1e-5)


def test_logits_are_never_held_for_more_positions_than_the_budget(model, small_passes):
    sizes = []
    original = model.logits
    model.logits = lambda hidden: sizes.append(hidden.shape[0]) or original(hidden)
    try:
        NeuralScorer(model).document_log_probs([np.arange(50) for _ in range(6)])
    finally:
        del model.logits
    assert max(sizes) == 5
    assert sum(sizes) == 6 * 49


def test_continuing_a_text_gives_the_probabilities_that_scoring_it_gives(model):
    document = np.random.default_rng(1).integers(0, 304, 30)
    scorer = NeuralScorer(model)
    (expected,) = scorer.document_log_probs([document])
    text = scorer.start([document[:1].tolist()])
    for position, token in enumerate(document[1:].tolist()):
        assert text.next_log_probs()[0, token] == pytest.approx(expected[position], abs=1e-5)
        text.append([token])


def test_ids_outside_the_vocabulary_are_refused(model):
    with pytest.raises(InputError, match="Document 1 has the token id 304, but the model knows ids 0 to 303"):
        NeuralScorer(model).document_log_probs([np.array([1, 2]), np.array([1, 304])])
    with pytest.raises(InputError, match="Document 0 has no tokens"):
        NeuralScorer(model).document_log_probs([np.array([], dtype=np.int64)])


def test_the_number_of_threads_changes_no_bit_and_is_left_as_it_was(model, small_passes):
    generator = np.random.default_rng(2)
    documents = [generator.integers(0, 304, length) for length in (3, 50, 9, 77, 20)]
    one = NeuralScorer(model).document_log_probs(documents)
    torch.set_num_threads(2)
    try:
        two = NeuralScorer(model).document_log_probs(documents)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
