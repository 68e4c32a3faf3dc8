"""Which tokens a step reads: a pure function of (seed, step), so the data position of a training is one integer.

An epoch is the training documents (`BOS t1..tn EOS` each) in an order drawn for that epoch, joined into one circular
stream of N tokens that begins at a drawn place. Each token of it is a target exactly once an epoch; a BOS costs
nothing, for nobody could predict it.

- `WindowPlan` (CNN, Transformer): the stream is cut into windows of T tokens, read in an order drawn for the epoch.
- `StreamPlan` (recurrent families): row b of every batch reads on where it stopped, so that the carried state fits;
  this is truncated backpropagation through time.

Where corpora are mixed by weight, an epoch reads of each corpus what its share asks for (see `mixture`).

Nothing is stored and nothing advances: permutations come from counters (see `counters`), and an epoch's order of
documents takes some megabytes at most (see `order`). Only where corpora are mixed for a recurrent model, whose rows
read on from document to document, an epoch is held as 24 bytes a document.

Shapes: B batch, T time, N tokens of the stream.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lm_pipeline.models.loss import IGNORE
from lm_pipeline.training.counters import key_of, permute, spread
from lm_pipeline.training.epochs import Epoch, Everything, Interleaved
from lm_pipeline.training.mixture import InTurn, Mixture

BLOCK_TOKENS, MAX_BLOCK = 1 << 16, 64
"""Tokens, and positions, that are read at once at most."""
COUNTED_TOKENS = 1 << 20
"""Tokens that are counted at once: 8 MB."""


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Documents of one split, as they lie in a shard.

    Attributes:
        tokens: token ids of all documents, one after the other; may be memory-mapped.
        offsets: where each document begins in `tokens`, and the end of the last one.
        bos_id: the token that begins each document.
    """

    tokens: NDArray[np.integer]
    offsets: NDArray[np.int64]
    bos_id: int

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def target_counts(self, vocab_size: int) -> NDArray[np.int64]:
        """How often each token id is a target; BOS never is."""
        counts = np.zeros(vocab_size, np.int64)
        for begin in range(0, len(self.tokens), COUNTED_TOKENS):  # bincount makes int64 of all that it is given
            counts += np.bincount(self.tokens[begin : begin + COUNTED_TOKENS], minlength=vocab_size)
        counts[self.bos_id] -= len(self.offsets) - 1
        return counts


@dataclass(frozen=True)
class Batch:
    """What a step reads.

    Attributes:
        inputs_BT: int64 tokens.
        targets_BT: the tokens that follow, of a plan for an encoder the tokens themselves; `IGNORE` where nothing is to
            be predicted.
        begins: whether no carried state belongs in front of it.
        documents_BT: a number for each input's document, where training keeps documents apart; else None.
    """

    inputs_BT: Tensor
    targets_BT: Tensor
    begins: bool
    documents_BT: Tensor | None = None

    def split(self, num_parts: int) -> "list[Batch]":
        """Its rows in parts of nearly the same number, in order."""
        documents = [None] * num_parts if self.documents_BT is None else self.documents_BT.tensor_split(num_parts)
        columns = (self.inputs_BT.tensor_split(num_parts), self.targets_BT.tensor_split(num_parts), documents)
        return [Batch(inputs, targets, self.begins, kept) for inputs, targets, kept in zip(*columns, strict=True)]

    def to(self, device: torch.device) -> "Batch":
        """The same on a device; the copy to a GPU runs beside what is computed there."""
        if device.type == "cpu":
            return self
        inputs, targets, documents = (
            None if tensor is None else tensor.pin_memory().to(device, non_blocking=True)
            for tensor in (self.inputs_BT, self.targets_BT, self.documents_BT)
        )
        assert inputs is not None
        assert targets is not None
        return Batch(inputs, targets, self.begins, documents)


class Shapes(NamedTuple):
    """How the batches of a plan look.

    Attributes:
        widths: tokens of a row, of each shape.
        rows: rows of a batch of each.
        steps: batches of each in an epoch.
        padding: part of what an epoch reads that is padding.
    """

    widths: list[int]
    rows: list[int]
    steps: list[float]
    padding: float


class Plan(Protocol):
    """Which tokens each position of the training reads."""

    @property
    def steps_per_epoch(self) -> float:
        """Steps that read every document once; not always whole."""
        ...

    @property
    def shapes(self) -> Shapes:
        """How batches look."""
        ...

    def batch(self, position: int) -> Batch:
        """The batch at a position, counted in steps from 0."""
        ...

    def documents(self, position: int) -> list[int]:
        """Numbers of the documents in that batch, in the shard's order."""
        ...


class _Places(NamedTuple):
    """Of the T + 1 tokens of each row: document, place within it, piece of the epoch; and which targets count."""

    documents: NDArray[np.int64]
    within: NDArray[np.int64]
    pieces: NDArray[np.int64]
    counts_BT: NDArray[np.bool_]


class _Plan:
    """Reads tokens at (epoch, place) coordinates; the two plans differ in the coordinates."""

    reads_windows: bool
    steps_per_epoch: float

    def __init__(
        self,
        stream: TokenStream,
        batch_size: int,
        context_length: int,
        seed: int,
        mixture: Mixture | None = None,
        *,
        mask_documents: bool = False,
        bidirectional: bool = False,
    ) -> None:
        if len(stream) < 2:
            raise ValueError(f"a stream of {len(stream)} tokens has nothing to predict: give at least 2")
        self.stream, self.batch_size, self.context_length, self.seed = stream, batch_size, context_length, seed
        self.mixture, self.mask_documents, self.bidirectional = mixture, mask_documents, bidirectional
        # The place of each input's target among the T + 1 tokens of its row.
        self._aims = slice(None, -1) if bidirectional else slice(1, None)
        self._epoch = lru_cache(maxsize=2)(self._draw)
        # NumPy's overhead is that of a call: batches of several positions are read at once, which changes none of them.
        self.block = max(1, min(MAX_BLOCK, BLOCK_TOKENS // (batch_size * context_length)))
        self._block = lru_cache(maxsize=2)(self._read)

    @property
    def shapes(self) -> Shapes:
        """How batches look."""
        room = self.steps_per_epoch * self.batch_size * self.context_length
        return Shapes(
            [self.context_length], [self.batch_size], [self.steps_per_epoch], max(0.0, 1 - len(self.stream) / room)
        )

    def _draw(self, epoch: int) -> Epoch:
        if self.mixture is None:
            return Everything(self.stream.offsets, key_of(self.seed, epoch))
        if self.reads_windows:
            return InTurn(self.mixture, self.seed, epoch)
        return Interleaved(self.mixture, self.seed, epoch)

    def _rows(self, position: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Epoch, first place and end of validity (exclusive) of each row of so many positions, one after the other."""
        raise NotImplementedError

    def _locate(self, position: int, count: int) -> "_Places":
        """Where the T + 1 tokens of each row are."""
        epochs_B, begins_B, ends_B = self._rows(position, count)
        places = begins_B[:, None] + np.arange(self.context_length + 1)
        documents, within, pieces = (np.empty_like(places) for _ in range(3))
        for epoch in np.unique(epochs_B):
            rows = epochs_B == epoch
            documents[rows], within[rows], pieces[rows] = self._epoch(int(epoch)).locate(places[rows])
        return _Places(documents, within, pieces, places[:, :-1] < ends_B[:, None])

    def batch(self, position: int) -> Batch:
        """The batch at a position, counted in steps from 0."""
        block, place = divmod(position, self.block)
        part = slice(place * self.batch_size, (place + 1) * self.batch_size)
        inputs_BT, targets_BT, documents_BT = self._block(block)
        kept = None if documents_BT is None else documents_BT[part]
        return Batch(inputs_BT[part], targets_BT[part], self._begins(position), kept)

    def _read(self, block: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Inputs, targets and documents of all rows of a block of positions."""
        found = self._locate(block * self.block, self.block)
        tokens = self.stream.tokens[self.stream.offsets[found.documents] + found.within].astype(np.int64)
        counts_BT = found.counts_BT & (found.within[:, self._aims] != 0)  # by place: a BOS may be an EOS as well
        documents_BT = None
        if self.mask_documents:
            counts_BT &= found.pieces[:, self._aims] == found.pieces[:, :-1]
            documents_BT = torch.from_numpy(np.ascontiguousarray(found.pieces[:, :-1]))
        targets_BT = np.where(counts_BT, tokens[:, self._aims], IGNORE)
        return torch.from_numpy(np.ascontiguousarray(tokens[:, :-1])), torch.from_numpy(targets_BT), documents_BT

    def documents(self, position: int) -> list[int]:
        """Numbers of the documents in that batch, in the shard's order."""
        found = self._locate(position, 1)
        return np.unique(found.documents[:, self._aims][found.counts_BT]).tolist()

    def _begins(self, position: int) -> bool:
        raise NotImplementedError


class WindowPlan(_Plan):
    """Windows of the epoch's stream in a drawn order; the last, shorter one is filled up with ignored targets."""

    reads_windows = True

    def __init__(self, stream: TokenStream, batch_size: int, context_length: int, *rest: Any, **more: Any) -> None:
        super().__init__(stream, batch_size, context_length, *rest, **more)
        self.num_windows = -(-len(stream) // context_length)
        self.steps_per_epoch = self.num_windows / batch_size

    def _rows(self, position: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        counter = position * self.batch_size + np.arange(count * self.batch_size, dtype=np.int64)
        epochs, ranks = np.divmod(counter, self.num_windows)
        windows = np.empty_like(ranks)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            # Corpora that are mixed stand one after the other: the order must take its share of each all the time.
            order = permute if self.mixture is None else spread
            windows[rows] = order(ranks[rows], self.num_windows, key_of(self.seed, int(epoch), 1))
        return epochs, windows * self.context_length, np.full_like(windows, len(self.stream))

    def _begins(self, position: int) -> bool:
        del position
        return True


class StreamPlan(_Plan):
    """Each row reads its own N / B tokens from beginning to end, T a step; then the next epoch begins."""

    reads_windows = False

    def __init__(self, stream: TokenStream, batch_size: int, context_length: int, *rest: Any, **more: Any) -> None:
        super().__init__(stream, batch_size, context_length, *rest, **more)
        self.row_length = -(-len(stream) // batch_size)
        self.steps_per_epoch = -(-self.row_length // context_length)

    def _rows(self, position: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        epochs, steps = np.divmod(np.arange(position, position + count, dtype=np.int64), self.steps_per_epoch)
        rows = np.tile(np.arange(self.batch_size, dtype=np.int64) * self.row_length, count)
        ends = np.minimum(rows + self.row_length, len(self.stream))
        epochs, steps = (numbers.repeat(self.batch_size) for numbers in (epochs, steps))
        return epochs, rows + steps * self.context_length, ends

    def _begins(self, position: int) -> bool:
        return position % self.steps_per_epoch == 0


def make_plan(
    stream: TokenStream,
    *,
    carries_state: bool,
    batch_size: int,
    context_length: int,
    seed: int,
    mixture: Mixture | None = None,
    mask_documents: bool = False,
    bidirectional: bool = False,
) -> WindowPlan | StreamPlan:
    """The plan that fits a model: contiguous streams where state is carried, else windows.

    Args:
        mixture: shares of corpora; None reads every document once an epoch.
        mask_documents: whether batches say which document each token is of, so that none sees another.
        bidirectional: whether targets are the tokens that are read and not those that follow (see `masked_plan`).
    """
    plan = StreamPlan if carries_state else WindowPlan
    more = {"mask_documents": mask_documents, "bidirectional": bidirectional}
    return plan(stream, batch_size, context_length, seed, mixture, **more)
