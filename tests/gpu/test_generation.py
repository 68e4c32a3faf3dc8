"""Generation and scoring on CUDA: what a model says does not depend on the device."""

import copy

import numpy as np
import pytest

from lm_pipeline.evaluation.neural_scorer import NeuralScorer
from lm_pipeline.generation.generate import complete
from lm_pipeline.specs.generation import Decoding
from lm_pipeline.tokenization.tokenizer import MODEL_FILE, Tokenizer
from tests.unit.small_models import SPECS, TEXTS, random_model, small_tokenizer

PROMPTS = ["", "The quick", "它是"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return Tokenizer.load(small_tokenizer(tmp_path_factory.mktemp("tokenizer")) / MODEL_FILE)


@pytest.fixture(params=SPECS)
def scorers(request, tokenizer):
    """The same model on the CPU and on the GPU."""
    model = random_model(SPECS[request.param], tokenizer.vocab_size)
    return NeuralScorer(model), NeuralScorer(copy.deepcopy(model).to("cuda"))


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 0, "num_beams": 3}, {"top_k": 5}])
def test_texts_are_those_of_the_cpu(scorers, tokenizer, settings):
    decoding = Decoding(max_tokens=20, **settings)
    here, there = (complete(scorer, tokenizer, PROMPTS, decoding) for scorer in scorers)
    assert [text.tokens for text in there] == [text.tokens for text in here]


def test_probabilities_are_those_of_the_cpu(scorers, tokenizer):
    documents = [tokenizer.encode(text).astype(np.uint16) for text in TEXTS]
    here, there = (list(scorer.document_log_probs(documents)) for scorer in scorers)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-3)
