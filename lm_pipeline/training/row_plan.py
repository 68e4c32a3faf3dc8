"""A document a row: batches of documents of similar length, each read from its own beginning, without carried state.

A document of more than `context_length` tokens is cut into rows of so many; nothing is left out or read twice. What is
behind a row's end is padding: causal models never look there, recurrent ones are past all targets by then, and an
encoder is told that it is another document.

Shapes: B rows of a batch, padding included; R those that hold a document; T their width.
"""

from collections.abc import Callable

import numpy as np
import torch

from lm_pipeline.models.loss import IGNORE
from lm_pipeline.training.buckets import LengthBuckets, Rows, max_tokens
from lm_pipeline.training.mixture import Mixture
from lm_pipeline.training.plan import Batch, Shapes, TokenStream
from lm_pipeline.training.rows import Ints, Source


class RowPlan:
    """Batches of at most `batch_size` x `context_length` tokens: as many rows as their bucket's width allows."""

    def __init__(
        self,
        stream: TokenStream,
        *,
        batch_size: int,
        context_length: int,
        seed: int,
        num_buckets: int,
        mixture: Mixture | None = None,
        bidirectional: bool = False,
    ) -> None:
        """Sort documents into buckets.

        Args:
            stream: the documents.
            batch_size: rows of a batch of the longest ones.
            context_length: tokens of a row.
            seed: draws the order.
            num_buckets: at most.
            mixture: shares of corpora; None reads every document once an epoch.
            bidirectional: whether targets are the tokens that are read and not those that follow (see `masked_plan`).
                Then a document's last token, after which nothing follows, is read as well, and padding is marked as
                another document.

        Raises:
            ValueError: no document has two tokens.
        """
        self._stream, self._bidirectional = stream, bidirectional
        self._corpora = None if mixture is None else mixture.rows
        if mixture is None:
            sources = [Source(len(stream.offsets) - 1, self._lengths)]
        else:
            corpora = zip(mixture.rows, mixture.epochs.values(), strict=True)
            sources = [Source(len(rows), self._lengths_of(rows), passes) for rows, passes in corpora]
        self.buckets = LengthBuckets(
            sources,
            max_length=context_length,
            rows_of=max_tokens(batch_size * context_length),
            num_buckets=num_buckets,
            seed=seed,
        )

    def _lengths(self, documents: Ints) -> Ints:
        """Tokens of documents that are read."""
        lengths = self._stream.offsets[documents + 1] - self._stream.offsets[documents]
        return lengths if self._bidirectional else np.maximum(lengths - 1, 0)  # the last one predicts nothing

    def _lengths_of(self, rows: Ints) -> Callable[[Ints], Ints]:
        return lambda texts: self._lengths(rows[texts])

    @property
    def steps_per_epoch(self) -> int:
        """Steps that read every document once."""
        return self.buckets.steps_per_epoch

    @property
    def shapes(self) -> Shapes:
        """How batches look."""
        found = self.buckets
        return Shapes(found.widths.tolist(), found.capacities.tolist(), found.num_batches.tolist(), found.padding)

    def batch(self, position: int) -> Batch:
        """The batch at a position, counted in steps from 0."""
        rows = self.buckets.batch(position)
        offsets, documents_R = self._stream.offsets, self._documents(rows)
        places = np.arange(rows.width + 1)
        begins_R = offsets[documents_R] + rows.begins_R
        tokens = self._stream.tokens[np.minimum(begins_R[:, None] + places, len(self._stream) - 1)].astype(np.int64)
        is_read = places[:-1] < rows.lengths_R[:, None]
        if self._bidirectional:
            aims, counts = tokens[:, :-1], is_read & (rows.begins_R[:, None] + places[:-1] != 0)  # a BOS is none
        else:
            aims, counts = tokens[:, 1:], is_read & (places[1:] < (offsets[documents_R + 1] - begins_R)[:, None])
        shape = (rows.capacity, rows.width)
        inputs_BT, targets_BT = np.full(shape, self._stream.bos_id), np.full(shape, IGNORE)
        inputs_BT[: len(documents_R)][is_read] = tokens[:, :-1][is_read]
        targets_BT[: len(documents_R)][counts] = aims[counts]
        padding_BT = None
        if self._bidirectional:
            padding_BT = torch.ones(shape, dtype=torch.int64)
            padding_BT[: len(documents_R)] = torch.from_numpy(~is_read)
        return Batch(torch.from_numpy(inputs_BT), torch.from_numpy(targets_BT), begins=True, documents_BT=padding_BT)

    def _documents(self, rows: Rows) -> Ints:
        """The document of each row."""
        if self._corpora is None:
            return rows.texts_R
        documents_R = np.empty_like(rows.texts_R)
        for source, corpus in enumerate(self._corpora):
            here = rows.sources_R == source
            documents_R[here] = corpus[rows.texts_R[here]]
        return documents_R

    def documents(self, position: int) -> list[int]:
        """Numbers of the documents in that batch, in the shard's order."""
        return np.unique(self._documents(self.buckets.batch(position))).tolist()
