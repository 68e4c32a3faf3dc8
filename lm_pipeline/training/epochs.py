"""One epoch as a circular stream of documents: what stands at each place of it.

Where nothing is mixed it is every document once, in an order drawn for the epoch; else pieces of documents, each
stretch of them with each corpus's share (see `mixture`, which has the form for windows as well: `InTurn`).
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lm_pipeline.training.counters import key_of
from lm_pipeline.training.mixture import Mixture
from lm_pipeline.training.order import Order

Located = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Of positions: the document, the place within it, and the number of that piece of the epoch."""


class Epoch(Protocol):
    """One epoch's stream of documents, or of pieces of them where corpora are mixed."""

    def locate(self, positions: NDArray[np.int64]) -> Located:
        """What is at positions in the stream; it is circular."""
        ...


class Everything:
    """Every document once, in a drawn order.

    Args:
        offsets: where each document begins, and the end of the last one.
        key: draws the order.
    """

    def __init__(self, offsets: NDArray[np.int64], key: int) -> None:
        def lengths_of(documents: NDArray[np.int64]) -> NDArray[np.int64]:
            return offsets[documents + 1] - offsets[documents]

        num_documents = len(offsets) - 1
        self._order = Order(num_documents, lengths_of, key)
        self._shift = key_of(key, num_documents) % int(offsets[-1])  # where in the stream the epoch begins

    def locate(self, positions: NDArray[np.int64]) -> Located:
        """What is at positions in the stream."""
        return self._order.locate((positions + self._shift) % self._order.num_tokens)


class Interleaved:
    """Pieces of a mixture, each stretch of them with each corpus's share."""

    def __init__(self, mixture: Mixture, seed: int, epoch: int) -> None:
        self._pieces = mixture.interleaved(seed, epoch)
        self._starts = np.concatenate(([0], np.cumsum(self._pieces.lengths)))
        # Pieces are alike everywhere, so the stream may begin anywhere.
        self._shift = key_of(seed, epoch, len(self._pieces.lengths)) % int(self._starts[-1])

    def locate(self, positions: NDArray[np.int64]) -> Located:
        """What is at positions in the stream."""
        places = (positions + self._shift) % self._starts[-1]
        piece = np.searchsorted(self._starts, places, side="right") - 1
        return self._pieces.documents[piece], self._pieces.begins[piece] + places - self._starts[piece], piece
