"""Batches of texts of similar length, a text a row: which rows a step reads is a pure function of (seed, step).

Texts, known by their lengths alone, become rows of at most `max_length` tokens (see `rows`). Rows go into buckets by
length. Each bucket has one width, to which its rows are padded, and one number of rows a batch, so a training has a few
shapes of batches. The widths are those with which an epoch computes least.

- An epoch reads every row once, in an order of its own: which rows of a bucket share a batch is drawn anew, and so is
  the order of the batches. It is spread evenly: of a bucket that has B of an epoch's S batches, n of its steps have
  read n B / S, to within ten (see `counters.spread`).
- A bucket's rows are divided evenly among its batches: their numbers of rows differ by one at most, and no small batch
  is left over. What a batch lacks is padding.

`max_tokens` fills batches up to a number of tokens, as fairseq's option of that name does (Ott et al. 2019): steps take
equally long and weigh about equally many targets. With one target a row, as in classification, a fixed number of rows
weighs rows equally, as `bucket_by_sequence_length` of tf.data does. fairseq draws its batches once and shuffles them
for each epoch; Hugging Face's `group_by_length` sorts stretches of 50 batches, the longest text of all first. Here
everything is drawn anew, and nothing is sorted.

Shapes: K buckets, R rows of a batch.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_pipeline.training.counters import key_of, permute, spread
from lm_pipeline.training.rows import Ints, RowIndex, Source, count_lengths

BLOCK_ROWS, MAX_BLOCK = 1 << 16, 256
"""Rows, and positions, that are found at once at most."""


class Rows(NamedTuple):
    """What a batch reads.

    Attributes:
        width: tokens to which its rows are padded.
        capacity: rows for which it has room; what R lacks of it is padding.
        sources_R: number of the source of each row.
        texts_R: number of the text within it.
        begins_R: first token within the text.
        lengths_R: tokens.
    """

    width: int
    capacity: int
    sources_R: Ints
    texts_R: Ints
    begins_R: Ints
    lengths_R: Ints


def max_tokens(number: int) -> Callable[[Ints], Ints]:
    """Batches of as many rows as fit into so many tokens, padding included.

    >>> max_tokens(4096)(np.array([48, 1024])).tolist()
    [85, 4]
    """
    return lambda widths: np.maximum(1, number // widths)


class LengthBuckets:
    """Rows in buckets, and the batches of an endless training.

    Attributes:
        widths: of the buckets, ascending.
        capacities: rows of a batch of each.
        num_rows: rows of each in an epoch.
        num_batches: batches of each in an epoch.
        steps_per_epoch: their sum.
        padding: part of what an epoch computes that is padding.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        max_length: int,
        rows_of: Callable[[Ints], Ints],
        num_buckets: int,
        seed: int,
    ) -> None:
        """Sort the rows of texts into buckets.

        Args:
            sources: the texts. Of several sources, an epoch reads each `passes` times, up to a row of each bucket, and
                batches have each source's share; a source's rows are read pass by pass, over the borders of epochs.
            max_length: tokens of a row.
            rows_of: rows of a batch for widths (see `max_tokens`).
            num_buckets: at most.
            seed: draws the order.

        Raises:
            ValueError: all texts are empty.
        """
        counts = np.stack([count_lengths(source, max_length) for source in sources])
        if not counts.any():
            raise ValueError("there is no text with a token: no row could be made of it")
        passes = np.array([[source.passes] for source in sources])
        read = (counts * passes).sum(axis=0)
        self.widths = choose_widths(read, rows_of, num_buckets)
        self.capacities, self._seed = rows_of(self.widths), seed
        self._parts = [RowIndex(source, max_length, self.widths) for source in sources]
        sizes = np.stack([part.num_rows for part in self._parts])
        self._quotas = np.where(sizes, np.maximum(1, np.rint(sizes * passes)), 0).astype(np.int64)  # source x K
        self._borders = np.concatenate((np.zeros((1, len(self.widths)), np.int64), self._quotas.cumsum(axis=0)))
        self.num_rows = self._borders[-1]
        self.num_batches = -(-self.num_rows // self.capacities)
        self.steps_per_epoch = int(self.num_batches.sum())
        room = int((self.num_batches * self.capacities * self.widths).sum())
        self.padding = 1 - float(read @ np.arange(max_length + 1)) / room
        # NumPy's overhead is that of a call: several positions are found at once, which changes none of them.
        self._block = max(1, min(MAX_BLOCK, BLOCK_ROWS // int(self.capacities.max())))
        self._found = lru_cache(maxsize=2)(self._find_block)

    def batch(self, position: int) -> Rows:
        """The rows at a position, counted in steps from 0."""
        return self._found(position // self._block)[position % self._block]

    def _find_block(self, block: int) -> list[Rows]:
        """What some positions read."""
        epochs, steps = np.divmod(block * self._block + np.arange(self._block), self.steps_per_epoch)
        numbers = np.empty_like(steps)  # of the batches, counted bucket after bucket
        for epoch in np.unique(epochs).tolist():
            here, key = epochs == epoch, key_of(self._seed, epoch, 3)
            numbers[here] = spread(steps[here], self.steps_per_epoch, key)
        ends = self.num_batches.cumsum()
        buckets = np.searchsorted(ends, numbers, side="right")
        places = numbers - (ends - self.num_batches)[buckets]
        found: dict[int, Rows] = {}
        for epoch, bucket in set(zip(epochs.tolist(), buckets.tolist(), strict=True)):
            here = np.flatnonzero((epochs == epoch) & (buckets == bucket))
            shares = ((places[here] + more) * self.num_rows[bucket] // self.num_batches[bucket] for more in (0, 1))
            ranges = [np.arange(*share) for share in zip(*shares, strict=True)]
            columns = self._find(epoch, bucket, np.concatenate(ranges))
            cuts = np.cumsum([len(ranks) for ranks in ranges])[:-1]
            shape = int(self.widths[bucket]), int(self.capacities[bucket])
            for at, *parts in zip(here.tolist(), *(np.split(column, cuts) for column in columns), strict=True):
                found[at] = Rows(*shape, *parts)
        return [found[at] for at in range(self._block)]

    def _find(self, epoch: int, bucket: int, entries: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Sources, texts, begins and lengths of an epoch's entries of a bucket."""
        if len(self._parts) > 1:  # each of the sources, which stand one after the other, has its share of each batch
            entries = spread(entries, int(self.num_rows[bucket]), key_of(self._seed, epoch, bucket, 4))
        sources = np.searchsorted(self._borders[:, bucket], entries, side="right") - 1
        texts, begins, lengths = (np.empty_like(entries) for _ in range(3))
        for source in np.unique(sources).tolist():
            here, size = sources == source, int(self._parts[source].num_rows[bucket])
            read = epoch * self._quotas[source, bucket] + entries[here] - self._borders[source, bucket]
            passes, ranks = np.divmod(read, size)
            for number in np.unique(passes).tolist():
                key = key_of(self._seed, source, bucket, number, 5)
                ranks[passes == number] = permute(ranks[passes == number], size, key)
            texts[here], begins[here], lengths[here] = self._parts[source].find(bucket, ranks)
        return sources, texts, begins, lengths


def choose_widths(counts: NDArray[np.number], rows_of: Callable[[Ints], Ints], num_buckets: int) -> Ints:
    """The widths, at most so many, with which an epoch computes least: batches x rows x width, all padding included.

    Widths below 64 are free; above, they are multiples of 8, on which matrix units are fast.

    Args:
        counts: rows of each length in an epoch, from 0 on; the last is the longest that a row may have.
        rows_of: rows of a batch for widths.
        num_buckets: at least 1.

    >>> choose_widths(np.bincount([3] * 50 + [9] * 40 + [10] * 40, minlength=13), max_tokens(40), 2).tolist()
    [3, 10]
    """
    longest = int(np.flatnonzero(counts)[-1])
    grain = 1 if longest < 64 else 8 * -(-longest // 2048)
    widths = np.minimum(np.arange(grain, longest + grain, grain), len(counts) - 1)
    capacities = rows_of(widths)
    upto = np.concatenate(([0], counts.cumsum()[widths]))
    num_batches = -(-(upto[1:] - upto[:-1, None]) // capacities)
    room = (num_batches * capacities * widths).astype(float)  # [i, j]: of a bucket behind width i - 1, up to width j
    room[np.tril_indices(len(widths), -1)] = np.inf
    best, before = room[0], []
    for _ in range(num_buckets - 1):  # least room up to each width, with one bucket more
        ways = np.concatenate(([np.inf], best[:-1]))[:, None] + room
        before.append(np.where(ways.min(axis=0) < best, ways.argmin(axis=0), 0))
        best = np.minimum(best, ways.min(axis=0))
    chosen, end = [], len(widths) - 1
    for begins in reversed(before):
        if begins[end]:
            chosen.append(end)
            end = int(begins[end]) - 1
    kept = widths[np.array([end, *reversed(chosen)])]
    return kept[np.diff(counts.cumsum()[kept], prepend=0) > 0]
