"""One protocol for every model that is measured. Torch-free.

A document is a vector of token ids that begins with BOS and ends with EOS. Every token after BOS is a target exactly
once; its context never reaches before BOS. Log probabilities are natural.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lm_pipeline.errors import InputError
from lm_pipeline.generation.continuation import Continuation


class Scorer(Protocol):
    """A model that gives probabilities to documents and continues texts."""

    @property
    def vocab_size(self) -> int:
        """Number of token ids that it knows."""
        ...

    @property
    def is_causal(self) -> bool:
        """Whether it predicts each token from those before it, so that a text has a probability."""
        ...

    def document_log_probs(self, documents: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log probability of every target.

        Args:
            documents: token ids, each [n] with n >= 1.

        Returns:
            For each document a float64 vector [n - 1]; neither the other documents nor their order change it by more
            than rounding (1e-5).
        """
        ...

    def start(self, contexts: Sequence[Sequence[int]]) -> Continuation:
        """Begin a text with each context, at least one token id (BOS)."""
        ...


def check_documents(documents: Sequence[np.ndarray], vocab_size: int) -> None:
    """Refuse what no model can score.

    Raises:
        InputError: a document has no token, or an id outside the vocabulary.
    """
    for index, document in enumerate(documents):
        if len(document) == 0:
            raise InputError(f"Document {index} has no tokens. A document begins with BOS: encode it again.")
        low, high = int(document.min()), int(document.max())
        if low < 0 or high >= vocab_size:
            raise InputError(
                f"Document {index} has the token id {low if low < 0 else high}, but the model knows ids 0 to"
                f" {vocab_size - 1}. Score with the tokenizer that the model was trained with."
            )
