import json
import math

import pytest

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.neural_scorer import NeuralScorer
from lm_pipeline.evaluation.score_text import score_text


@pytest.mark.parametrize("text", ["The quick dog.", "它是一个句子。", "龘", " ", "a\nb" * 40])
def test_a_text_is_scored_whole_with_its_end(model, tokenizer, text):
    result = score_text(NeuralScorer(model), tokenizer, text)
    assert result["num_tokens"] == len(result["tokens"]) == len(tokenizer.encode(text)) + 1
    assert result["tokens"][-1]["piece"] == "</s>"
    assert result["num_bytes"] == len(text.encode())
    total = sum(token["log_prob"] for token in result["tokens"])
    assert result["total_log_prob"] == pytest.approx(total)
    assert result["perplexity"] == pytest.approx(math.exp(-total / result["num_tokens"]))
    assert result["bits_per_byte"] == pytest.approx(-total / math.log(2) / result["num_bytes"])
    json.dumps(result, allow_nan=False)


def test_what_is_no_text_is_refused(model, tokenizer):
    with pytest.raises(InputError, match="empty"):
        score_text(NeuralScorer(model), tokenizer, "")
    with pytest.raises(InputError, match="lone surrogate"):
        score_text(NeuralScorer(model), tokenizer, "a\ud800")
