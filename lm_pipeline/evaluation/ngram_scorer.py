"""Probabilities from n-gram counts. Torch-free."""

from collections.abc import Sequence

import numpy as np

from lm_pipeline.evaluation.scorer import check_documents
from lm_pipeline.generation.continuation import Continuation
from lm_pipeline.models.ngram import NgramModel


class NgramScorer:
    """Scores with an n-gram model."""

    def __init__(self, model: NgramModel) -> None:
        self._model = model

    @property
    def vocab_size(self) -> int:
        """Number of token ids that it knows."""
        return self._model.vocab_size

    @property
    def is_causal(self) -> bool:
        """Yes: each token from those before it."""
        return True

    def document_log_probs(self, documents: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log probability of every target; see `Scorer`."""
        check_documents(documents, self.vocab_size)
        return [np.asarray(values, dtype=np.float64) for values in self._model.document_log_probs(documents)]

    def start(self, contexts: Sequence[Sequence[int]]) -> Continuation:
        """Begin a text with each context."""
        check_documents([np.asarray(context) for context in contexts], self.vocab_size)
        return _NgramContinuation(self._model, [list(context) for context in contexts])


class _NgramContinuation:
    def __init__(self, model: NgramModel, rows: list[list[int]]) -> None:
        self._model = model
        self._rows = rows

    def next_log_probs(self) -> np.ndarray:
        return np.stack([np.asarray(self._model.next_log_probs(np.array(row)), np.float64) for row in self._rows])

    def append(self, tokens: Sequence[int]) -> None:
        for row, token in zip(self._rows, tokens, strict=True):
            row.append(token)
            # Longer memory than the order is never looked at.
            del row[: -self._model.order]

    def select(self, rows: Sequence[int]) -> None:
        self._rows = [list(self._rows[row]) for row in rows]
