"""What generation asks of a model: the distributions of the next tokens of a batch of texts. Torch-free."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Continuation(Protocol):
    """Texts in progress, one a row: what the model remembers of their tokens so far.

    Whatever the model, the distribution after tokens t0..ti of a row is the one that scoring the whole document uses
    for t(i+1), and the other rows have no say in it: generating and scoring see the same context.
    """

    def next_log_probs(self) -> np.ndarray:
        """Natural-log probabilities of each row's next token: float64 [B, V], each summing to one as probabilities."""
        ...

    def append(self, tokens: Sequence[int]) -> None:
        """Go on by one token in each row."""
        ...

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; a row may be named twice, which makes it two texts."""
        ...


class Continuable(Protocol):
    """A model that texts can be continued with."""

    def start(self, contexts: Sequence[Sequence[int]]) -> Continuation:
        """Begin a text with each context: token ids, at least one (a document begins with BOS)."""
        ...
