import json
import math

import numpy as np
import polars as pl
import pytest

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation import perplexity
from lm_pipeline.evaluation.documents import SplitDocuments
from lm_pipeline.evaluation.perplexity import measure, score_documents

KEYS = {"documents", "tokens", "bytes", "nll"}
KEYS |= {"perplexity", "perplexity_interval", "bits_per_byte", "bits_per_byte_interval"}


class Uniform:
    """Gives each of `vocab_size` tokens the same probability."""

    vocab_size = 304

    def document_log_probs(self, documents):
        return [np.full(len(document) - 1, -math.log(self.vocab_size)) for document in documents]


def table(nll, targets, num_bytes, corpora=None):
    return pl.DataFrame(
        {
            "document_id": [f"{index:032x}" for index in range(len(nll))],
            "corpus": corpora or ["a"] * len(nll),
            "num_targets": targets,
            "num_bytes": num_bytes,
            "nll": [float(value) for value in nll],
        }
    )


def test_a_uniform_model_has_the_vocabulary_size_as_perplexity(shards_dir):
    scores = score_documents(Uniform(), SplitDocuments.read(shards_dir, "test"))
    result = measure(scores, num_bootstrap=50)
    assert result["corpora"].keys() == {"english", "chinese"}
    for part in (result["overall"], *result["corpora"].values()):
        assert part.keys() == KEYS
        assert part["perplexity"] == pytest.approx(304)
        assert part["perplexity_interval"] == pytest.approx([304, 304])
        assert part["bits_per_byte"] == pytest.approx(part["tokens"] * math.log2(304) / part["bytes"])
        low, high = part["bits_per_byte_interval"]
        assert low <= part["bits_per_byte"] <= high
    for key in ("documents", "tokens", "bytes"):
        assert result["overall"][key] == sum(part[key] for part in result["corpora"].values())


def test_every_token_but_bos_is_a_target_and_group_size_changes_nothing(shards_dir, monkeypatch):
    documents = SplitDocuments.read(shards_dir, "test")
    whole = score_documents(Uniform(), documents)
    reports = []
    monkeypatch.setattr(perplexity, "GROUP_TOKENS", 60)
    assert score_documents(Uniform(), documents, lambda done, total: reports.append((done, total))).equals(whole)
    assert len(reports) > 1
    assert reports[-1] == (4, 4)
    assert whole["num_targets"].to_list() == [len(documents.tokens(index)) - 1 for index in range(4)]
    texts, counts = (
        dict.fromkeys(("document_id", "corpus"), pl.String),
        dict.fromkeys(("num_targets", "num_bytes"), pl.Int64),
    )
    assert whole.schema == {**texts, **counts, "nll": pl.Float64}


def test_measures_by_hand():
    overall = measure(table([math.log(8), math.log(2)], [2, 2], [3, 1]))["overall"]
    assert overall["perplexity"] == pytest.approx(2.0)
    assert overall["bits_per_byte"] == pytest.approx(1.0)
    assert overall["nll"] == pytest.approx(4 * math.log(2))


def test_equal_seeds_give_equal_intervals_that_narrow_with_confidence():
    generator = np.random.default_rng(0)
    scores = table(generator.uniform(10, 90, 60), [20] * 60, [50] * 60)
    wide, again, narrow = (measure(scores, 500, level, seed=1)["overall"] for level in (0.95, 0.95, 0.5))
    assert wide == again
    widths = [np.diff(part["perplexity_interval"])[0] for part in (wide, narrow)]
    assert widths[0] > 1.5 * widths[1] > 0


def test_one_document_has_no_interval():
    overall = measure(table([10.0], [5], [20]), num_bootstrap=100)["overall"]
    assert overall["perplexity_interval"] is None
    assert overall["bits_per_byte_interval"] is None
    json.dumps(overall, allow_nan=False)


def test_a_corpus_in_the_plural_keeps_its_order_and_its_own_numbers():
    result = measure(table([4.0, 8.0, 1.0], [2, 2, 1], [4, 4, 4], ["z", "a", "z"]))
    assert list(result["corpora"]) == ["z", "a"]
    assert result["corpora"]["z"]["nll"] == 5.0
    assert result["corpora"]["a"]["perplexity"] == pytest.approx(math.exp(4))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (table([], [], []), "no documents to measure"),
        (table([1.0], [0], [3]), "0 target tokens and 3 bytes"),
        (table([1e6], [10], [3]), "too much for a perplexity"),
    ],
)
def test_what_has_no_measure_is_refused(scores, message):
    with pytest.raises(InputError, match=message):
        measure(scores)


def test_a_diverged_model_is_refused_by_document(shards_dir):
    class Diverged(Uniform):
        def document_log_probs(self, documents):
            return [np.full(len(document) - 1, np.nan) for document in documents]

    with pytest.raises(InputError, match="gives 4 of 4 documents a likelihood that is not finite"):
        score_documents(Diverged(), SplitDocuments.read(shards_dir, "test"))
