"""Kneser-Ney is what the paper says, to the last digit, and is a probability distribution everywhere."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.errors import CorruptArtifactError, MissingArtifactError
from lm_pipeline.models.ngram import NgramModel
from lm_pipeline.tokenization.shards import Shard

VOCAB = 12
BOS, EOS = 1, 2
UNPREDICTABLE = [0, 1, 3]


def shard_of(documents: list[list[int]]) -> Shard:
    sizes = [len(document) for document in documents]
    tokens = np.array([i for document in documents for i in document], np.uint16)
    return Shard(Path(), "train", tokens, np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]))


def random_documents(seed: int, num: int, longest: int = 30) -> list[list[int]]:
    """Documents over a small Zipf-like vocabulary in which a token depends on the one before."""
    rng = np.random.default_rng(seed)
    documents = []
    for _ in range(num):
        document = [BOS]
        for _ in range(rng.integers(0, longest)):
            document.append(4 + int((document[-1] * 3 + rng.zipf(1.7)) % (VOCAB - 4)))
        documents.append([*document, EOS])
    return documents


class NaiveKneserNey:
    """The textbook's recursion over dictionaries, one probability at a time."""

    def __init__(self, documents: list[list[int]], order: int) -> None:
        raw: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        before: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for document in documents:
            for end in range(1, len(document)):
                for n in range(1, min(order, end + 1) + 1):
                    ngram = tuple(document[end - n + 1 : end + 1])
                    raw[n][ngram] += 1
                    if n <= end:
                        before[ngram].add(document[end - n])
        self.order = order
        self.counts: list[dict[tuple[int, ...], int]] = [{}]
        self.discounts = [[0.0] * 4]
        for n in range(1, order + 1):
            plain = {g: c if n == order or g[0] == BOS else len(before[g]) for g, c in raw[n].items()}
            self.counts.append(plain)
            n1, n2, n3, n4 = (sum(c == k for c in plain.values()) for k in (1, 2, 3, 4))
            d = [0.0, 0.5, 1.0, 1.5]
            if n1 and n2 and n3 and n4:
                y = n1 / (n1 + 2 * n2)
                estimate = [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
                d = estimate if min(estimate[1:]) > 0 else d
            self.discounts.append(d)

    def prob(self, token: int, history: tuple[int, ...]) -> float:
        if token in UNPREDICTABLE:
            return 0.0
        n = len(history) + 1
        lower = 1 / (VOCAB - 3) if n == 1 else self.prob(token, history[1:])
        if n > self.order:
            return lower
        following = {g[-1]: c for g, c in self.counts[n].items() if g[:-1] == history}
        if not following:
            return lower
        d = self.discounts[n]
        total = sum(following.values())
        count = following.get(token, 0)
        mass = sum(d[min(c, 3)] for c in following.values())
        return (count - d[min(count, 3)]) / total + mass / total * lower


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("num", [1, 4, 60])
def test_equals_a_naive_implementation(order: int, num: int) -> None:
    training, test = random_documents(order, num), random_documents(99, 6)
    model = NgramModel.train(shard_of(training), order, VOCAB)
    naive = NaiveKneserNey(training, order)
    log_probs = model.document_log_probs([np.array(document) for document in test])
    for document, given_log_probs in zip(test, log_probs, strict=True):
        expected = [
            naive.prob(document[i], tuple(document[max(0, i - order + 1) : i])) for i in range(1, len(document))
        ]
        np.testing.assert_allclose(np.exp(given_log_probs), expected, rtol=1e-6)
    np.testing.assert_allclose(model.discounts, [d[1:] for d in naive.discounts[1:]])


def test_the_discounts_are_estimated_where_the_text_allows() -> None:
    model = NgramModel.train(shard_of(random_documents(0, 60)), 3, VOCAB)
    assert (model.discounts[2] != [0.5, 1, 1.5]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(0, VOCAB - 1), max_size=12), st.integers(0, 40))
def test_probabilities_sum_to_one_after_any_context(order: int, context: list[int], num: int) -> None:
    model = NgramModel.train(shard_of(random_documents(3, num)), order, VOCAB)
    probs = np.exp(model.next_log_probs([BOS, *context]))
    assert probs.sum() == pytest.approx(1, abs=1e-6)
    assert (probs[UNPREDICTABLE] == 0).all()
    assert (np.delete(probs, UNPREDICTABLE) > 0).all()


@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_next_probabilities_are_those_of_whole_documents(order: int) -> None:
    model = NgramModel.train(shard_of(random_documents(5, 50)), order, VOCAB)
    for document in random_documents(6, 5):
        expected = [model.next_log_probs(document[:i])[document[i]] for i in range(1, len(document))]
        np.testing.assert_allclose(model.document_log_probs([np.array(document)])[0], expected, rtol=1e-6)


def test_context_never_crosses_a_document() -> None:
    documents = random_documents(7, 40)
    model = NgramModel.train(shard_of(documents), 4, VOCAB)
    np.testing.assert_array_equal(model.next_log_probs([*documents[0], BOS]), model.next_log_probs([BOS]))
    shuffled = NgramModel.train(shard_of(documents[::-1]), 4, VOCAB)
    for name in ("keys", "alphas", "gammas"):
        for ours, theirs in zip(getattr(model, name), getattr(shuffled, name), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_order_one_is_the_unigram_distribution() -> None:
    documents = random_documents(8, 400)
    model = NgramModel.train(shard_of(documents), 1, VOCAB)
    counts = np.bincount([i for document in documents for i in document[1:]], minlength=VOCAB)
    np.testing.assert_allclose(np.exp(model.next_log_probs([BOS, 5, 6])), counts / counts.sum(), atol=0.003)
    np.testing.assert_array_equal(model.next_log_probs([]), model.next_log_probs([BOS, 5, 6]))


def test_documents_keep_their_places_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = NgramModel.train(shard_of(random_documents(9, 30)), 3, VOCAB)
    documents = [np.array(d) for d in [*random_documents(10, 20), [BOS], [BOS, EOS]]]
    whole = model.document_log_probs(documents)
    monkeypatch.setattr("lm_pipeline.models.ngram._BATCH_TOKENS", 16)
    for one, other, document in zip(whole, model.document_log_probs(iter(documents)), documents, strict=True):
        assert len(one) == len(document) - 1
        np.testing.assert_array_equal(one, other)


def test_no_training_text_gives_the_uniform_distribution() -> None:
    model = NgramModel.train(shard_of([]), 3, VOCAB)
    np.testing.assert_allclose(np.exp(model.next_log_probs([BOS]))[4:], 1 / (VOCAB - 3))
    np.testing.assert_allclose(np.exp(model.document_log_probs([np.array([BOS, 5, EOS])])[0]), 1 / (VOCAB - 3))


def test_a_saved_model_is_the_same_model(tmp_path: Path) -> None:
    model = NgramModel.train(shard_of(random_documents(11, 50)), 4, VOCAB)
    model.save(tmp_path)
    loaded = NgramModel.load(tmp_path)
    assert (loaded.order, loaded.vocab_size, loaded.num_parameters) == (4, VOCAB, model.num_parameters)
    assert loaded.num_ngrams == model.num_ngrams
    np.testing.assert_array_equal(loaded.next_log_probs([BOS, 5]), model.next_log_probs([BOS, 5]))


def test_a_missing_or_foreign_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="Materialize the checkpoint"):
        NgramModel.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CorruptArtifactError, match="does not hold an n-gram model"):
        NgramModel.load(tmp_path)


def test_real_text_is_predicted_far_better_than_by_its_unigrams(shared_data: Path) -> None:
    text = next(p for p in (shared_data / "small/lm/en").iterdir() if "shakespeare" in p.name).read_text("utf-8")
    documents = [[BOS, *text[i : i + 500].encode("ascii", "replace"), EOS] for i in range(0, 400_000, 500)]
    documents = [[i + 4 if i > 2 else i for i in document] for document in documents]
    test = [np.array(document) for document in documents[-50:]]
    nll = {}
    for order in (1, 5):
        model = NgramModel.train(shard_of(documents[:-50]), order, 260)
        nll[order] = -np.concatenate(model.document_log_probs(test)).mean()
    assert nll[1] > 3.2
    assert nll[5] < 1.8
