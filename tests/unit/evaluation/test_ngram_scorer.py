import numpy as np
import pytest

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.ngram_scorer import NgramScorer
from lm_pipeline.generation.generate import generate
from lm_pipeline.models.ngram import NgramModel
from lm_pipeline.specs.generation import Decoding
from lm_pipeline.tokenization.shards import Shard


@pytest.fixture(scope="module", params=[1, 2, 4])
def scorer(request, tokenizer, shards_dir):
    return NgramScorer(NgramModel.train(Shard.open(shards_dir, "train"), request.param, tokenizer.vocab_size))


def test_continuing_a_text_gives_the_probabilities_that_scoring_it_gives(scorer, shards_dir):
    document = Shard.open(shards_dir, "test").document(3)
    (expected,) = scorer.document_log_probs([document])
    text = scorer.start([document[:1].tolist()])
    for position, token in enumerate(document[1:].tolist()):
        log_probs = text.next_log_probs()[0]
        assert np.exp(log_probs).sum() == pytest.approx(1)
        assert log_probs[token] == pytest.approx(expected[position])
        text.append([token])


def test_an_ngram_model_generates_a_text_per_seed(scorer, tokenizer):
    texts = ["".join(generate(scorer, tokenizer, "The", Decoding(max_tokens=30, seed=seed))) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_ids_outside_the_vocabulary_are_refused(scorer):
    with pytest.raises(InputError, match="token id 9999"):
        scorer.document_log_probs([np.array([1, 9999])])
