import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.errors import InputError
from lm_pipeline.generation.alternatives import view_tokens
from lm_pipeline.generation.beam import beam_search
from lm_pipeline.generation.generate import as_json, complete, generate, only_text, prompt_tokens
from lm_pipeline.generation.neural_continuation import NeuralContinuation
from lm_pipeline.generation.sampling import normalise
from lm_pipeline.specs.generation import Decoding
from lm_pipeline.tokenization.loading import load_tokenizer
from lm_pipeline.tokenization.pretrained import import_tokenizer
from lm_pipeline.tokenization.tokenizer import BOS, EOS, PAD, UNK
from tests.unit.pretrained_models import save_tokenizer

PROMPTS = ["", "The quick", "它是", "The quick brown fox jumps over"]


class Starter:
    """A model that can be continued with."""

    def __init__(self, model):
        self.model = model

    def start(self, contexts):
        return NeuralContinuation(self.model, contexts)


class Fixed:
    """Texts whose next token has the same distribution for ever."""

    def __init__(self, log_probs):
        self.log_probs = log_probs
        self.rows = []

    def start(self, contexts):
        self.rows = [list(context) for context in contexts]
        return self

    def next_log_probs(self):
        return np.stack([self.log_probs] * len(self.rows))

    def append(self, tokens):
        for row, token in zip(self.rows, tokens, strict=True):
            row.append(token)

    def select(self, rows):
        self.rows = [list(self.rows[row]) for row in rows]


@pytest.fixture
def uniform(tokenizer):
    return Fixed(np.full(tokenizer.vocab_size, -np.log(tokenizer.vocab_size)))


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 0, "num_beams": 2}])
def test_only_a_text_that_begins_has_not_the_space_that_a_tokenizer_puts_before_it(settings, tmp_path):
    """Llama's tokenizer: after a prompt the space is one between words, and a stop string may begin with it."""
    (tmp_path / "theirs").mkdir()
    save_tokenizer("llama", tmp_path / "theirs")
    import_tokenizer(tmp_path / "theirs", tmp_path)
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    [token] = [i for i in range(tokenizer.vocab_size) if tokenizer.piece(i) == "▁of▁"]
    scorer = Fixed(normalise(np.where(np.arange(tokenizer.vocab_size) == token, 9.0, -9.0)))
    for stop, expected in ((), ["of  of ", " of  of ", " of  of "]), ((" of",), ["of ", "", ""]):
        decoding = Decoding(max_tokens=2, stop=stop, **settings)
        completions = complete(scorer, tokenizer, ["", "It was", "它是"], decoding)
        assert [completion.text for completion in completions] == expected


@pytest.mark.parametrize("prompt", ["", "The quick", "它是"])
def test_streaming_equals_decoding_the_whole_beyond_the_context(model, tokenizer, prompt):
    decoding = Decoding(max_tokens=25, seed=3)
    pieces = list(generate(Starter(model), tokenizer, prompt, decoding))
    [text] = complete(Starter(model), tokenizer, [prompt], decoding)
    assert "".join(pieces) == text.text == tokenizer.decode(text.tokens)
    assert 0 < len(text.tokens) <= 25


def test_a_seed_names_one_text(model, tokenizer):
    texts = ["".join(generate(Starter(model), tokenizer, "The", Decoding(max_tokens=20, seed=s))) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=4), st.integers(0, 3), st.sampled_from([0, 0.8]))
def test_a_text_does_not_depend_on_the_texts_beside_it(model, tokenizer, prompts, seed, temperature):
    """Whatever the batch, its padding and the rows that end earlier; far beyond the context of 8 tokens."""
    decoding = Decoding(max_tokens=22, seed=seed, temperature=temperature, stop=("e",), repetition_penalty=1.2)
    together = complete(Starter(model), tokenizer, prompts, decoding, num_per_prompt=2)
    alone = [
        complete(Starter(model), tokenizer, [prompt], decoding.model_copy(update={"seed": seed + index}))[0]
        for prompt in prompts
        for index in range(2)
    ]
    assert [as_json(text) | {"log_prob": 0} for text in together] == [as_json(t) | {"log_prob": 0} for t in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.tokens == other.tokens
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-4)


@pytest.mark.parametrize("settings", [{"temperature": 2.0, "top_k": 3}, {"temperature": 0, "num_beams": 3}])
def test_log_probabilities_are_the_model_s_own_whatever_is_kept_of_them(model, tokenizer, settings):
    decoding = Decoding(max_tokens=6, repetition_penalty=1.5, **settings)
    [text] = complete(Starter(model), tokenizer, ["The"], decoding)
    views = view_tokens(Starter(model), tokenizer, prompt_tokens(tokenizer, "The"), text.tokens)
    np.testing.assert_allclose(np.exp(text.log_probs), [view.probability for view in views], rtol=1e-4)
    for view in views:
        assert len(view.alternatives) == 5
        better = [probability for _, probability in view.alternatives if probability > view.probability + 1e-9]
        assert len(better) == min(view.rank, 5)


def test_control_tokens_are_never_generated_however_probable(tokenizer):
    log_probs = np.full(tokenizer.vocab_size, -20.0)
    log_probs[[PAD, BOS, UNK]] = -1.0
    for decoding in (Decoding(max_tokens=300, top_k=0, temperature=1), Decoding(temperature=0, num_beams=2)):
        [text] = complete(Fixed(log_probs), tokenizer, [""], decoding)
        assert not set(text.tokens) & {PAD, BOS, UNK, EOS}


def test_generation_stops_at_the_end_of_the_document(tokenizer):
    log_probs = np.full(tokenizer.vocab_size, -20.0)
    log_probs[EOS] = 0.0
    [text] = complete(Fixed(log_probs), tokenizer, ["abc"], Decoding(max_tokens=50))
    assert (text.text, text.tokens, text.ending) == ("", [], "end")


def test_the_prompt_begins_a_document_and_generated_tokens_follow_it(uniform, tokenizer):
    [text] = complete(uniform, tokenizer, ["它是"], Decoding(max_tokens=5, top_k=0))
    assert uniform.rows == [[BOS, *tokenizer.encode("它是").tolist(), *text.tokens[:-1]]]
    assert text.ending == "length"


def test_text_streams_before_the_last_token_is_drawn(uniform, tokenizer):
    stream = generate(uniform, tokenizer, "", Decoding(max_tokens=10_000, top_k=0))
    assert next(stream)
    assert len(uniform.rows[0]) < 20


def test_a_stop_string_ends_a_text_and_is_no_part_of_it(tokenizer):
    log_probs = np.full(tokenizer.vocab_size, -20.0)
    log_probs[tokenizer.encode("the").tolist()] = -1.0
    decoding = Decoding(max_tokens=400, temperature=1, stop=("the", "he"))
    [text] = complete(Fixed(log_probs), tokenizer, [""], decoding)
    assert text.ending == "stop"
    assert not any(stop in text.text for stop in decoding.stop)
    assert tokenizer.decode(text.tokens).startswith(text.text)
    assert "".join(generate(Fixed(log_probs), tokenizer, "", decoding)) == text.text


def test_a_text_ends_when_its_time_is_up(uniform, tokenizer):
    uniform.log_probs[EOS] = -1e9
    [text] = complete(uniform, tokenizer, [""], Decoding(max_tokens=10**6, max_seconds=0.05, top_k=0))
    assert text.ending == "time"
    assert 0 < len(text.tokens) < 10**6
    decoding = Decoding(max_tokens=10**6, max_seconds=0.05, temperature=0, num_beams=2)
    texts = complete(uniform, tokenizer, ["", "它是", "The"], decoding)
    assert [text.ending for text in texts] == ["time"] * 3
    assert [len(text.tokens) for text in texts[1:]] == [1, 1]  # the time is that of all texts together


class Toy:
    """Four tokens whose distribution depends on the last two, with every text of up to four tokens enumerable."""

    vocab = (EOS, 4, 5, 6)

    def __init__(self, seed, vocab_size):
        self.tables = np.random.default_rng(seed).normal(size=(8, 8, 4)) * 2
        self.vocab_size = vocab_size
        self.rows = []

    def start(self, contexts):
        toy = Toy.__new__(Toy)
        toy.tables, toy.vocab_size, toy.rows = self.tables, self.vocab_size, [list(c) for c in contexts]
        return toy

    def row(self, tokens):
        log_probs = np.full(self.vocab_size, -np.inf)
        last, before = ([0, 0, *tokens][-1] % 8, [0, 0, *tokens][-2] % 8)
        log_probs[list(self.vocab)] = normalise(self.tables[before, last])
        return log_probs

    def next_log_probs(self):
        return np.stack([self.row(row) for row in self.rows])

    def append(self, tokens):
        for row, token in zip(self.rows, tokens, strict=True):
            row.append(token)

    def select(self, rows):
        self.rows = [list(self.rows[row]) for row in rows]


def every_text(toy, max_tokens):
    """(tokens, log probability) of every text that ends, or is cut off at `max_tokens`."""
    for length in range(max_tokens + 1):
        for tokens in itertools.product(toy.vocab[1:], repeat=length):
            full = [*tokens, EOS] if length < max_tokens else list(tokens)
            total = sum(toy.row([BOS, *full[:place]])[token] for place, token in enumerate(full))
            yield tokens, total, len(full)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, -1.0, 2.5])
@pytest.mark.parametrize("seed", range(5))
def test_a_wide_enough_beam_finds_the_best_texts_of_all(tokenizer, seed, length_penalty):
    toy = Toy(seed, tokenizer.vocab_size)
    decoding = Decoding(num_beams=120, max_tokens=4, temperature=0, length_penalty=length_penalty)
    found = complete(toy, tokenizer, [""], decoding, num_per_prompt=5)
    ranked = sorted(every_text(toy, 4), key=lambda text: -text[1] / text[2] ** length_penalty)
    assert [tuple(text.tokens) for text in found] == [tokens for tokens, _, _ in ranked[:5]]


def search_total(model, tokenizer, decoding):
    """What the best text's tokens add up to among tokens of text, EOS included."""
    [best, *_] = beam_search(Starter(model), prompt_tokens(tokenizer, "The"), decoding, only_text, EOS)
    return best.score


def test_one_beam_of_the_search_is_greedy_and_more_are_never_less_probable(model, tokenizer):
    [greedy] = complete(Starter(model), tokenizer, ["The"], Decoding(max_tokens=6, temperature=0))
    totals = []
    for num_beams in (2, 4, 16):
        decoding = Decoding(max_tokens=6, temperature=0, num_beams=num_beams, length_penalty=0.0)
        [best] = complete(Starter(model), tokenizer, ["The"], decoding)
        totals.append(search_total(model, tokenizer, decoding))
        assert "".join(generate(Starter(model), tokenizer, "The", decoding)) == best.text
    assert totals[-1] >= sum(greedy.log_probs) - 1e-6 or greedy.ending == "end"
    assert max(totals) == pytest.approx(totals[-1])


def test_beams_end_at_stop_strings_and_give_as_many_texts_as_are_asked_for(tokenizer):
    log_probs = np.full(tokenizer.vocab_size, -30.0)
    ids = tokenizer.encode("the").tolist()
    log_probs[ids] = np.log(1 / len(ids))
    decoding = Decoding(num_beams=4, temperature=0, max_tokens=8, stop=("he",))
    texts = complete(Fixed(log_probs), tokenizer, [""], decoding, num_per_prompt=3)
    assert len(texts) == 3
    assert all("he" not in text.text for text in texts)
    with pytest.raises(InputError, match="5 texts are asked for"):
        complete(Fixed(log_probs), tokenizer, [""], decoding, num_per_prompt=5)


def test_what_is_no_text_is_left_out_of_the_distribution():
    assert np.isneginf(only_text(np.zeros(6))).tolist() == [True, True, False, True, False, False]
