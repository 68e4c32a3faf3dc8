"""Documents in a drawn order, joined into a stream, found without holding the order.

Which document comes at a rank is computed when it is asked for (`counters.permute`). Of the stream only the places are
held at which every block of 64 documents begins, and blocks grow so that there are never more than a million of them:
an order takes at most 8 MB, however many documents it has. Drawing it reads every document's length once.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lm_pipeline.training.counters import permute

MIN_BLOCK, MAX_BLOCKS = 64, 1 << 20
_BATCH_DOCUMENTS = 1 << 16


class Order:
    """N documents in an order that the key draws.

    Attributes:
        num_tokens: of all documents.
    """

    def __init__(
        self, num_documents: int, lengths_of: Callable[[NDArray[np.int64]], NDArray[np.int64]], key: int
    ) -> None:
        """Draw it.

        Args:
            num_documents: N; they are range(N).
            lengths_of: tokens of documents, each at least 1.
            key: what the order follows from.
        """
        self._num, self._lengths_of, self._key = num_documents, lengths_of, key
        self._block = max(MIN_BLOCK, -(-num_documents // MAX_BLOCKS))
        blocks = np.arange(-(-num_documents // self._block))
        batch = max(1, _BATCH_DOCUMENTS // self._block)
        sums = [self._block_of(blocks[at : at + batch])[2].sum(axis=1) for at in range(0, len(blocks), batch)]
        self._begins = np.concatenate([np.zeros(1, np.int64), *sums]).cumsum()
        self.num_tokens = int(self._begins[-1])

    def locate(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Document, place within it and rank of the document, of places below `num_tokens` in the stream."""
        found = np.searchsorted(self._begins, places.ravel(), side="right") - 1
        blocks = np.unique(found[np.append(True, found[1:] != found[:-1])])  # runs of places are read: few changes
        ranks, documents, lengths = self._block_of(blocks)
        ends = self._begins[blocks][:, None] + lengths.cumsum(axis=1)
        # Blocks ascend, and so do the ends of all of them together.
        at = np.searchsorted(ends.ravel(), places, side="right")
        return documents.ravel()[at], places - (ends - lengths).ravel()[at], ranks.ravel()[at]

    def _block_of(self, blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Ranks, documents and lengths of some blocks, a row each; beyond the last document lengths are 0."""
        ranks = blocks[:, None] * self._block + np.arange(self._block)
        documents = permute(np.minimum(ranks, self._num - 1), self._num, self._key)
        return ranks, documents, np.where(ranks < self._num, self._lengths_of(documents), 0)
