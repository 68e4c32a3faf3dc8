"""What generation asks of a model: the distribution of the next token, one token at a time. Torch-free."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Continuation(Protocol):
    """A text in progress: what the model remembers of its tokens so far.

    Whatever the model, the distribution after tokens t0..ti is the one that scoring the whole document uses for
    t(i+1): generating and scoring see the same context.
    """

    def next_log_probs(self) -> np.ndarray:
        """Natural-log probabilities of the next token: float64 [V], summing to one as probabilities."""
        ...

    def append(self, token: int) -> None:
        """Go on by one token."""
        ...


class Continuable(Protocol):
    """A model that texts can be continued with."""

    def start(self, context: Sequence[int]) -> Continuation:
        """Begin with `context`: token ids, at least one (a document begins with BOS)."""
        ...
