"""A classifier of good and bad text, trained on corpora that serve as examples, and the score it gives a document.

Source: Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification" (fastText): a text is the bag of its
words and word pairs, each hashed into one of a fixed number of buckets, with one logistic layer on top. With two
classes the embedding of the paper comes down to one weight a bucket. The bag is the set of distinct features, scaled
to length 1, so that the score does not depend on how long a text is. Words are those of comparison
(`corpus/text/words.py`): a Han character is one, so pairs of characters are features.

Trained with AdaGrad (Duchi et al. 2011), one example at a time in an order drawn from the seed: the same examples give
the same bytes. Both sides weigh the same, however many examples each has.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from lm_pipeline.corpus.similarity.minhash import ngram_hashes
from lm_pipeline.corpus.tables import TableFile
from lm_pipeline.corpus.text.words import Texts, hashed_words
from lm_pipeline.errors import InputError
from lm_pipeline.specs.dataset import QualityModel

MAX_EXAMPLES = 50_000
"""Documents of each side that are used at most."""
MAX_WORDS = 2048
"""Words of a document that are looked at; what a text is shows early."""
FEWEST_EXAMPLES = 20
"""Documents that each side has to have."""

SCORES = pl.Schema({"score": pl.Float32})
"""Columns of `scores.parquet`, which stands row by row with `documents.parquet`."""

_LOG_BUCKETS = 20
_SHIFT = np.uint64(64 - _LOG_BUCKETS)
_EPOCHS = 5
_RATE = 0.3
_HELD_OUT = 10  # every tenth example is kept for measuring
_BATCH_ROWS = 2048


@dataclass(frozen=True)
class Scorer:
    """A trained model: a weight a bucket (float32), and a bias."""

    weights: NDArray[np.float32]
    bias: float

    @classmethod
    def load(cls, path: Path) -> "Scorer":
        """Read `model.safetensors`."""
        tensors = load_file(path)
        return cls(tensors["weights"], float(tensors["bias"][0]))

    def scores(self, texts: Texts) -> NDArray[np.float32]:
        """The probability that each text is of the good kind (0 to 1); 0.5 and less where a text has no words."""
        return _scores(*_features(texts), self.weights, np.float32(self.bias))


def train_quality_model(good: pl.LazyFrame, bad: pl.LazyFrame, spec: QualityModel, out: Path) -> dict[str, Any]:
    """Train on documents of two kinds.

    Args:
        good: documents of the wanted kind, with `document_id` and `text`.
        bad: of the other kind.
        spec: the seed.
        out: an existing folder that receives `model.safetensors` (`weights`, `bias`) and `quality.json` (the summary).

    Returns:
        `good`, `bad` (examples that were used, held-out ones included), `held_out`, and of those `auc` (area under the
        receiver operating characteristic), `accuracy` at 0.5 and `quantiles`: by side, the scores at 5, 25, 50, 75 and
        95 percent.

    Raises:
        InputError: a side has fewer than 20 documents.
    """
    examples = {"good": _sample(good, spec.seed), "bad": _sample(bad, spec.seed)}
    for side, frame in examples.items():
        if len(frame) < FEWEST_EXAMPLES:
            raise InputError(
                f"quality.{side}: the corpora {list(getattr(spec, side))} have {len(frame)} documents after cleaning;"
                f" a quality model needs at least {FEWEST_EXAMPLES} of each kind. Name more corpora."
            )
    frame = pl.concat(examples.values())
    labels = np.repeat([True, False], [len(side) for side in examples.values()])
    held_out = np.concatenate([np.arange(len(side)) % _HELD_OUT == 0 for side in examples.values()])
    features, offsets = _features(frame["text"])
    train = np.flatnonzero(~held_out)
    generator = np.random.Generator(np.random.PCG64(spec.seed))
    order = np.concatenate([generator.permutation(train) for _ in range(_EPOCHS)])
    share = labels[train].mean()
    weights, bias = _train(features, offsets, labels, order, np.where(labels, 0.5 / share, 0.5 / (1 - share)))
    save_file({"weights": weights, "bias": np.array([bias], np.float32)}, out / "model.safetensors")
    scores = _scores(features, offsets, weights, np.float32(bias))
    summary = {
        **{side: len(frame) for side, frame in examples.items()},
        "held_out": int(held_out.sum()),
        **_measure(scores[held_out], labels[held_out]),
    }
    (out / "quality.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    return summary


def write_scores(documents_parquet: Path, scorer: Scorer, out: Path) -> dict[str, Any]:
    """Score the documents of one part of a corpus.

    Args:
        documents_parquet: the part's documents.
        scorer: the model.
        out: an existing folder that receives `scores.parquet`: `score` (float32, 0 to 1), row by row.

    Returns:
        `documents` and `mean_score`.
    """
    num, total = 0, 0.0
    with pq.ParquetFile(documents_parquet) as source, TableFile(out / "scores.parquet", SCORES) as file:
        for batch in source.iter_batches(_BATCH_ROWS, columns=["text"]):
            scores = scorer.scores(batch.column("text"))
            file.write(pl.DataFrame({"score": scores}))
            num += len(scores)
            total += float(scores.sum(dtype=np.float64))
    return {"documents": num, "mean_score": round(total / num, 6) if num else 0.0}


def _sample(documents: pl.LazyFrame, seed: int) -> pl.DataFrame:
    """The documents whose ids hash lowest with the seed: the same whatever else is there, in whatever order."""
    identifiers = documents.select("document_id").collect(engine="streaming")["document_id"]
    ranks = np.array([xxhash.xxh3_64_intdigest(f"{seed}\0{value}".encode()) for value in identifiers], np.uint64)
    chosen = identifiers.gather(np.argsort(ranks, kind="stable")[:MAX_EXAMPLES]).rename("document_id")
    texts = (
        documents.filter(pl.col("document_id").is_in(chosen.implode()))
        .select("document_id", pl.col("text").str.head(16 * MAX_WORDS))
        .collect(engine="streaming")
    )
    return chosen.to_frame().join(texts, on="document_id", how="left", maintain_order="left")


def _features(texts: Texts) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The distinct buckets of each text's words and word pairs, one text after another, and offsets (N + 1)."""
    words, offsets = hashed_words(texts)
    return _buckets(words, offsets)


@numba.njit(cache=True, nogil=True)
def _buckets(words, offsets):
    features = np.empty(2 * len(words), np.uint32)
    ends = np.zeros(len(offsets), np.int64)
    num = 0
    for text in range(len(offsets) - 1):
        own = words[offsets[text] : min(offsets[text + 1], offsets[text] + MAX_WORDS)]
        singles, pairs = ngram_hashes(own, 1), ngram_hashes(own, 2)
        buckets = np.sort((np.append(singles, pairs) >> _SHIFT).astype(np.uint32))
        for at in range(len(buckets)):
            if at == 0 or buckets[at] != buckets[at - 1]:
                features[num] = buckets[at]
                num += 1
        ends[text + 1] = num
    return features[:num].copy(), ends


@numba.njit(cache=True, nogil=True)
def _score(buckets, weights, bias):
    total = np.float32(0)
    for bucket in buckets:
        total += weights[bucket]
    if len(buckets):
        total /= np.float32(np.sqrt(len(buckets)))
    return np.float32(1) / (np.float32(1) + np.exp(-(total + bias)))


@numba.njit(cache=True, nogil=True)
def _scores(features, offsets, weights, bias):
    scores = np.empty(len(offsets) - 1, np.float32)
    for text in range(len(scores)):
        scores[text] = _score(features[offsets[text] : offsets[text + 1]], weights, bias)
    return scores


@numba.njit(cache=True)
def _train(features, offsets, labels, order, importance):
    """AdaGrad on the log loss of one example after another. Returns weights (float32) and bias."""
    weights = np.zeros(1 << _LOG_BUCKETS, np.float32)
    squares = np.full(1 << _LOG_BUCKETS, np.float32(1e-3))
    bias, bias_squares = np.float32(0), np.float32(1e-3)
    rate = np.float32(_RATE)
    for example in order:
        buckets = features[offsets[example] : offsets[example + 1]]
        if len(buckets) == 0:
            continue
        error = _score(buckets, weights, bias) - np.float32(labels[example])
        error *= np.float32(importance[example])
        gradient = error / np.float32(np.sqrt(len(buckets)))
        for bucket in buckets:
            squares[bucket] += gradient * gradient
            weights[bucket] -= rate * gradient / np.sqrt(squares[bucket])
        bias_squares += error * error
        bias -= rate * error / np.sqrt(bias_squares)
    return weights, bias


def _measure(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> dict[str, Any]:
    order = np.argsort(scores, kind="stable")
    _, group, counts = np.unique(scores[order], return_inverse=True, return_counts=True)
    ranks = np.empty(len(scores))
    ranks[order] = (np.cumsum(counts) - (counts - 1) / 2)[group]  # equal scores share their mean rank
    num_good, num_bad = int(labels.sum()), int((~labels).sum())
    auc = (ranks[labels].sum() - num_good * (num_good + 1) / 2) / (num_good * num_bad)
    sides = {"good": scores[labels], "bad": scores[~labels]}
    quantiles = {
        side: [round(float(q), 4) for q in np.quantile(x, [0.05, 0.25, 0.5, 0.75, 0.95])] for side, x in sides.items()
    }
    return {
        "auc": round(float(auc), 6),
        "accuracy": round(float(((scores >= 0.5) == labels).mean()), 6),
        "quantiles": quantiles,
    }
