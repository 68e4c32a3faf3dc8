import numpy as np
import pytest

from lm_pipeline.errors import InputError
from lm_pipeline.generation.generate import generate, generate_tokens, prompt_tokens
from lm_pipeline.generation.neural_continuation import NeuralContinuation
from lm_pipeline.tokenization.tokenizer import BOS, EOS, PAD, UNK


class Starter:
    """A model that can be continued with."""

    def __init__(self, model):
        self.model = model

    def start(self, context):
        return NeuralContinuation(self.model, context)


class Fixed:
    """A text whose next token has the same distribution for ever."""

    def __init__(self, log_probs):
        self.log_probs = log_probs
        self.appended = []

    def start(self, context):
        self.appended = list(context)
        return self

    def next_log_probs(self):
        return self.log_probs

    def append(self, token):
        self.appended.append(token)


@pytest.fixture
def uniform(tokenizer):
    return Fixed(np.full(tokenizer.vocab_size, -np.log(tokenizer.vocab_size)))


@pytest.mark.parametrize("prompt", ["", "The quick", "它是"])
def test_streaming_equals_decoding_the_whole_beyond_the_context(model, tokenizer, prompt):
    pieces = list(generate(Starter(model), tokenizer, prompt, max_tokens=25, seed=3))
    tokens = list(generate_tokens(Starter(model), prompt_tokens(tokenizer, prompt), max_tokens=25, seed=3))
    assert "".join(pieces) == tokenizer.decode(tokens)
    assert 0 < len(tokens) <= 25


def test_a_seed_names_one_text(model, tokenizer):
    texts = ["".join(generate(Starter(model), tokenizer, "The", max_tokens=20, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_greedy_text_needs_no_seed(model, tokenizer):
    texts = {
        "".join(generate(Starter(model), tokenizer, "它", max_tokens=12, temperature=0, seed=seed)) for seed in (0, 1)
    }
    assert len(texts) == 1


def test_control_tokens_are_never_generated_however_probable(tokenizer):
    log_probs = np.full(tokenizer.vocab_size, -20.0)
    log_probs[[PAD, BOS, UNK]] = -1.0
    tokens = set(generate_tokens(Fixed(log_probs), [BOS], max_tokens=300, top_k=0, temperature=1))
    assert tokens
    assert not tokens & {PAD, BOS, UNK, EOS}


def test_generation_stops_at_the_end_of_the_document(tokenizer):
    log_probs = np.full(tokenizer.vocab_size, -20.0)
    log_probs[EOS] = 0.0
    assert list(generate(Fixed(log_probs), tokenizer, "abc", max_tokens=50)) == []


def test_the_prompt_begins_a_document_and_generated_tokens_follow_it(uniform, tokenizer):
    tokens = list(generate_tokens(uniform, prompt_tokens(tokenizer, "它是"), max_tokens=5, top_k=0))
    assert uniform.appended == [BOS, *tokenizer.encode("它是").tolist(), *tokens[:-1]]


def test_text_streams_before_the_last_token_is_drawn(uniform, tokenizer):
    stream = generate(uniform, tokenizer, "", max_tokens=10_000, top_k=0)
    assert next(stream)
    assert len(uniform.appended) < 20


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"max_tokens": 0}, "max_tokens is 0"), ({"max_tokens": 5, "temperature": -1.0}, "temperature is -1")],
)
def test_impossible_settings_are_refused(uniform, tokenizer, settings, named):
    with pytest.raises(InputError, match=named):
        list(generate(uniform, tokenizer, "", **settings))
