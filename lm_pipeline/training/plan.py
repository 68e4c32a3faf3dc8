"""Which tokens a step reads: a pure function of (seed, step), so the data position of a training is one integer.

An epoch is the training documents (`BOS t1..tn EOS` each) in an order drawn for that epoch, joined into one circular
stream of N tokens that begins at a drawn place. Each token of it is a target exactly once an epoch; a BOS costs
nothing, for nobody could predict it.

- `WindowPlan` (CNN, Transformer): the stream is cut into windows of T tokens, read in an order drawn for the epoch.
- `StreamPlan` (recurrent families): row b of every batch reads on where it stopped, so that the carried state fits;
  this is truncated backpropagation through time.

Nothing is stored and nothing advances: permutations come from counters (a Feistel network with cycle walking, Black &
Rogaway 2002; the mixing function is SplitMix64, Steele et al. 2014).

Shapes: B batch, T time, N tokens of the stream.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lm_pipeline.models.loss import IGNORE

_ROUNDS = 4
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(values: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """SplitMix64 of each value under a key: uniform 64-bit numbers."""
    with np.errstate(over="ignore"):
        z = values * np.uint64(_GOLDEN) + np.uint64(key & _MASK)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def key_of(*numbers: int) -> int:
    """A 64-bit key made of several integers; their order matters."""
    key = _GOLDEN  # not 0, which SplitMix64 maps to itself
    for number in numbers:
        z = (number * _GOLDEN + key) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        key = z ^ (z >> 31)
    return key


def permute(indices: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Images of indices below `size` under a permutation of range(size) that the key draws.

    >>> sorted(permute(np.arange(10), 10, key=7).tolist()) == list(range(10))
    True
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    round_keys = [key_of(key, number) for number in range(_ROUNDS)]
    values = indices.astype(np.uint64)
    outside = np.ones(values.shape, bool)
    while outside.any():  # walk the cycle of the power-of-four domain until it comes back below `size`
        left, right = values[outside] >> half, values[outside] & mask
        for round_key in round_keys:
            left, right = right, left ^ (mix(right, round_key) & mask)
        values[outside] = (left << half) | right
        outside = values >= np.uint64(size)
    return values.astype(np.int64)


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
        counts = np.bincount(self.tokens, minlength=vocab_size)
        counts[self.bos_id] = 0
        return counts


@dataclass(frozen=True, eq=False)
class _Epoch:
    """One epoch's order of documents."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    shift: int

    @staticmethod
    def draw(stream: TokenStream, key: int) -> "_Epoch":
        lengths = np.diff(stream.offsets)
        order = np.argsort(mix(np.arange(len(lengths), dtype=np.uint64), key), kind="stable")
        starts = np.concatenate(([0], np.cumsum(lengths[order])))
        return _Epoch(order, starts, key_of(key, len(lengths)) % max(1, len(stream)))

    def locate(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Document and place within it of positions in the circular stream."""
        positions = (positions + self.shift) % self.starts[-1]
        rank = np.searchsorted(self.starts, positions, side="right") - 1
        return self.order[rank], positions - self.starts[rank]


@dataclass(frozen=True)
class Batch:
    """What a step reads.

    Attributes:
        inputs_BT: int64 tokens.
        targets_BT: the tokens that follow, `IGNORE` where nothing is to be predicted.
        begins: whether no carried state belongs in front of it.
    """

    inputs_BT: Tensor
    targets_BT: Tensor
    begins: bool


class Plan(Protocol):
    """Which tokens each position of the training reads."""

    @property
    def steps_per_epoch(self) -> float:
        """Steps that read every document once; not always whole."""
        ...

    def batch(self, position: int) -> Batch:
        """The batch at a position, counted in steps from 0."""
        ...

    def documents(self, position: int) -> list[int]:
        """Numbers of the documents in that batch, in the shard's order."""
        ...


class _Plan:
    """Reads tokens at (epoch, place) coordinates; the two plans differ in the coordinates."""

    def __init__(self, stream: TokenStream, batch_size: int, context_length: int, seed: int) -> None:
        if len(stream) < 2:
            raise ValueError(f"a stream of {len(stream)} tokens has nothing to predict: give at least 2")
        self.stream, self.batch_size, self.context_length, self.seed = stream, batch_size, context_length, seed
        self._epoch = lru_cache(maxsize=2)(lambda epoch: _Epoch.draw(stream, key_of(seed, epoch)))

    def _rows(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Epoch, first place and end of validity (exclusive) of each row."""
        raise NotImplementedError

    def _locate(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Document, place within it, and whether the place counts, of the T + 1 tokens of each row."""
        epochs_B, begins_B, ends_B = self._rows(position)
        places = begins_B[:, None] + np.arange(self.context_length + 1)
        documents, within = np.empty_like(places), np.empty_like(places)
        for epoch in np.unique(epochs_B):
            rows = epochs_B == epoch
            documents[rows], within[rows] = self._epoch(int(epoch)).locate(places[rows])
        return documents, within, places[:, :-1] < ends_B[:, None]

    def batch(self, position: int) -> Batch:
        """The batch at a position, counted in steps from 0."""
        documents, within, counts_BT = self._locate(position)
        tokens = self.stream.tokens[self.stream.offsets[documents] + within].astype(np.int64)
        targets_BT = np.where(counts_BT & (tokens[:, 1:] != self.stream.bos_id), tokens[:, 1:], IGNORE)
        inputs_BT = np.ascontiguousarray(tokens[:, :-1])
        return Batch(torch.from_numpy(inputs_BT), torch.from_numpy(targets_BT), self._begins(position))

    def documents(self, position: int) -> list[int]:
        """Numbers of the documents in that batch, in the shard's order."""
        documents, _, counts_BT = self._locate(position)
        return np.unique(documents[:, 1:][counts_BT]).tolist()

    def _begins(self, position: int) -> bool:
        raise NotImplementedError


class WindowPlan(_Plan):
    """Windows of the epoch's stream in a drawn order; the last, shorter one is filled up with ignored targets."""

    def __init__(self, stream: TokenStream, batch_size: int, context_length: int, seed: int) -> None:
        super().__init__(stream, batch_size, context_length, seed)
        self.num_windows = -(-len(stream) // context_length)
        self.steps_per_epoch = self.num_windows / batch_size

    def _rows(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        counter = position * self.batch_size + np.arange(self.batch_size, dtype=np.int64)
        epochs, ranks = np.divmod(counter, self.num_windows)
        windows = np.empty_like(ranks)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            windows[rows] = permute(ranks[rows], self.num_windows, key_of(self.seed, int(epoch), 1))
        return epochs, windows * self.context_length, np.full_like(windows, len(self.stream))

    def _begins(self, position: int) -> bool:
        del position
        return True


class StreamPlan(_Plan):
    """Each row reads its own N / B tokens from beginning to end, T a step; then the next epoch begins."""

    def __init__(self, stream: TokenStream, batch_size: int, context_length: int, seed: int) -> None:
        super().__init__(stream, batch_size, context_length, seed)
        self.row_length = -(-len(stream) // batch_size)
        self.steps_per_epoch = -(-self.row_length // context_length)

    def _rows(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        epoch, step = divmod(position, self.steps_per_epoch)
        rows = np.arange(self.batch_size, dtype=np.int64) * self.row_length
        ends = np.minimum(rows + self.row_length, len(self.stream))
        return np.full_like(rows, epoch), rows + step * self.context_length, ends

    def _begins(self, position: int) -> bool:
        return position % self.steps_per_epoch == 0


def make_plan(
    stream: TokenStream, *, carries_state: bool, batch_size: int, context_length: int, seed: int
) -> WindowPlan | StreamPlan:
    """The plan that fits a model: contiguous streams where state is carried, else windows."""
    return (StreamPlan if carries_state else WindowPlan)(stream, batch_size, context_length, seed)
