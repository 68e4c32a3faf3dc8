"""Perplexity and bits per byte, per corpus and overall, with bootstrap intervals over documents.

Perplexity compares models that share a tokenizer; bits per byte compares all models on the same text, because
its denominator does not depend on the tokenizer. EOS's cost counts in both. Source for bits per byte: Gao et al. 2020.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.documents import SplitDocuments
from lm_pipeline.evaluation.scorer import Scorer
from lm_pipeline.metrics.bootstrap import bootstrap_ratio

GROUP_TOKENS = 500_000
"""Tokens scored before their log probabilities are summed and forgotten."""

Report = Callable[[int, int], None]
"""Told (documents scored, documents in all) after each group."""


def score_documents(scorer: Scorer, documents: SplitDocuments, report: Report | None = None) -> pl.DataFrame:
    """Negative log-likelihood of every document.

    Memory is bounded by `GROUP_TOKENS` and the longest document.

    Returns:
        A row per document, in the order given: document_id, corpus, num_targets, num_bytes, nll (float64, nats).

    Raises:
        InputError: the model gives a document a likelihood that is not finite.
    """
    nll = np.zeros(len(documents))
    for first, last in documents.groups(GROUP_TOKENS):
        scores = scorer.document_log_probs([documents.tokens(index) for index in range(first, last)])
        nll[first:last] = [-values.sum() for values in scores]
        if report is not None:
            report(last, len(documents))
    table = documents.table.select(
        "document_id",
        "corpus",
        num_targets=pl.col("num_tokens").cast(pl.Int64) - 1,
        num_bytes=pl.col("num_bytes").cast(pl.Int64),
        nll=pl.Series(nll, dtype=pl.Float64),
    )
    broken = table.filter(~pl.col("nll").is_finite())
    if broken.height:
        raise InputError(
            f"The model gives {broken.height} of {table.height} documents a likelihood that is not finite, the first is"
            f" {broken['document_id'][0]} of {broken['corpus'][0]!r}. Its weights are damaged or diverged: train again."
        )
    return table


def measure(
    scores: pl.DataFrame, num_bootstrap: int | None = None, confidence: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Sum up the documents' scores.

    Args:
        scores: as `score_documents` returns them.
        num_bootstrap: resamples of documents for the intervals; None leaves the intervals null.
        confidence: level of the intervals.
        seed: seed of the resampling.

    Returns:
        `{"overall": M, "corpora": {name: M}}` with M = `{"documents", "tokens" (targets), "bytes", "nll" (nats),
        "perplexity", "perplexity_interval", "bits_per_byte", "bits_per_byte_interval"}`. An interval is `[low, high]`,
        or null: one document says nothing about how documents vary.

    Raises:
        InputError: there is no document, one has no target or no byte, or a measure overflows.
    """
    if scores.is_empty():
        raise InputError("There are no documents to measure. Materialize splits with a larger fraction for this split.")
    names = scores["corpus"].unique(maintain_order=True).to_list()

    def summary(part: pl.DataFrame, label: str) -> dict[str, Any]:
        return _measure_part(part, label, num_bootstrap, confidence, seed)

    return {
        "overall": summary(scores, "all documents"),
        "corpora": {name: summary(scores.filter(pl.col("corpus") == name), f"corpus {name!r}") for name in names},
    }


def as_masked(measured: dict[str, Any]) -> dict[str, Any]:
    """The measurement of a model that predicts tokens from both sides, under names of its own.

    Its perplexity says how well gaps are filled. It is none of a text, so it must not stand beside those that are.

    Args:
        measured: as `measure` returns it.

    Returns:
        The same with `masked_perplexity` and `masked_perplexity_interval`; the causal measures are null.
    """

    def rename(part: dict[str, Any]) -> dict[str, Any]:
        moved = {f"masked_{name}": part[name] for name in ("perplexity", "perplexity_interval")}
        causal = ("perplexity", "perplexity_interval", "bits_per_byte", "bits_per_byte_interval")
        return part | dict.fromkeys(causal) | moved

    return {
        "overall": rename(measured["overall"]),
        "corpora": {name: rename(part) for name, part in measured["corpora"].items()},
    }


def describe(part: dict[str, Any]) -> str:
    """A measurement in words.

    >>> describe({"perplexity": 20.0, "bits_per_byte": 1.5})
    'perplexity 20.00, 1.5000 bits per byte'
    >>> describe({"perplexity": None, "bits_per_byte": None, "masked_perplexity": 9.5})
    'masked perplexity 9.50'
    """
    if part["perplexity"] is None:
        return f"masked perplexity {part['masked_perplexity']:.2f}"
    return f"perplexity {part['perplexity']:.2f}, {part['bits_per_byte']:.4f} bits per byte"


def _measure_part(
    part: pl.DataFrame, label: str, num_bootstrap: int | None, confidence: float, seed: int
) -> dict[str, Any]:
    nll, targets, num_bytes = (part[name].to_numpy() for name in ("nll", "num_targets", "num_bytes"))
    if targets.min() < 1 or num_bytes.min() < 1:
        row = int(np.flatnonzero((targets < 1) | (num_bytes < 1))[0])
        raise InputError(
            f"In {label}, document {part['document_id'][row]} has {targets[row]} target tokens and {num_bytes[row]}"
            " bytes, both of which must be above 0. The token shards are damaged: materialize them again."
        )
    perplexity_interval = bits_interval = None
    if num_bootstrap is not None and part.height > 1:
        low, high = bootstrap_ratio(nll, targets, num_bootstrap, confidence, seed)
        perplexity_interval = [_perplexity(low, label), _perplexity(high, label)]
        low, high = bootstrap_ratio(nll / math.log(2), num_bytes, num_bootstrap, confidence, seed)
        bits_interval = [float(low), float(high)]
    return {
        "documents": part.height,
        "tokens": int(targets.sum()),
        "bytes": int(num_bytes.sum()),
        "nll": float(nll.sum()),
        "perplexity": _perplexity(nll.sum() / targets.sum(), label),
        "perplexity_interval": perplexity_interval,
        "bits_per_byte": float(nll.sum() / math.log(2) / num_bytes.sum()),
        "bits_per_byte_interval": bits_interval,
    }


def _perplexity(rate: float, label: str) -> float:
    # exp of more than this is no float64.
    if rate > math.log(np.finfo(np.float64).max):
        raise InputError(f"In {label}, a token costs {rate:.4g} nats, too much for a perplexity: the model diverged.")
    return math.exp(rate)
