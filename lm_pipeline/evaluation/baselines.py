"""What a neural model has to beat: unigram and Kneser-Ney n-gram models of the same training tokens. Torch-free."""

import json
from pathlib import Path
from typing import Any

from lm_pipeline.evaluation.documents import SplitDocuments
from lm_pipeline.evaluation.ngram_scorer import NgramScorer
from lm_pipeline.evaluation.perplexity import measure, score_documents
from lm_pipeline.models.ngram import NgramModel

BASELINES = {"unigram": 1, "kneser_ney_5": 5}
"""Name and order of each baseline."""


def evaluate_baselines(
    shards_dir: Path, vocab_size: int, *, num_bootstrap: int, confidence: float, seed: int, out: Path
) -> dict[str, Any]:
    """Count the baselines on train, measure them on test, as any model is measured.

    Args:
        shards_dir: folder of the token shards.
        vocab_size: number of token ids.
        num_bootstrap: resamples of test documents.
        confidence: level of the intervals.
        seed: seed of the resampling.
        out: empty folder; baselines.json is written there.

    Returns:
        `{"unigram": {"overall": M, "corpora": {name: M}}, "kneser_ney_5": {...}}`, see `perplexity.measure`.

    Raises:
        InputError: train or test has no document.
    """
    test = SplitDocuments.read(shards_dir, "test")
    train = SplitDocuments.read(shards_dir, "train").shard
    results = {}
    for name, order in BASELINES.items():
        scorer = NgramScorer(NgramModel.train(train, order, vocab_size))
        results[name] = measure(score_documents(scorer, test), num_bootstrap, confidence, seed)
    (out / "baselines.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", "utf-8")
    return results
