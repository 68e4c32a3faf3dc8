"""Mixing corpora by weight: which stretches of which documents an epoch reads.

An epoch has as many tokens as the split. Corpus c gets its share of them, exact to the token: its documents in an order
drawn for each pass over them, pass after pass, cut where the share ends; the next epoch goes on from there. So a corpus
with twice its natural share is read twice an epoch, one with half of it every other epoch, and no document is read more
often than another of its corpus by more than one.

Nothing is stored: the passes of an epoch follow from (seed, epoch).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_pipeline.errors import InputError
from lm_pipeline.training.counters import key_of, permute
from lm_pipeline.training.order import Order


class Stretch(NamedTuple):
    """Pieces of documents in reading order, one an entry.

    Attributes:
        documents: number of the document.
        begins: first token within it.
        lengths: number of tokens.
    """

    documents: NDArray[np.int64]
    begins: NDArray[np.int64]
    lengths: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Corpora and their shares.

    Attributes:
        names: of the corpora.
        rows: the numbers of each corpus's documents; together all documents of the split.
        lengths: tokens of every document of the split.
        weights: share of each corpus, relative to each other.
    """

    names: tuple[str, ...]
    rows: tuple[NDArray[np.int64], ...]
    lengths: NDArray[np.int64]
    weights: tuple[float, ...]

    @cached_property
    def quotas(self) -> NDArray[np.int64]:
        """Tokens of each corpus in an epoch; their sum is the number of tokens of the split."""
        cumulative = np.cumsum(self.weights) / np.sum(self.weights)
        return np.diff(np.round(cumulative * int(self.lengths.sum())).astype(np.int64), prepend=0)

    @property
    def epochs(self) -> dict[str, float]:
        """How often an epoch of the mixture reads each corpus."""
        counted = zip(self.names, self.quotas, self.sizes, strict=True)
        return {name: float(quota / size) for name, quota, size in counted}

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Tokens of each corpus."""
        return tuple(int(self.lengths[rows].sum()) for rows in self.rows)

    def order(self, corpus: int, number: int, seed: int) -> Order:
        """The order of one pass over a corpus; it numbers the corpus's documents from 0."""
        rows = self.rows[corpus]
        return Order(len(rows), lambda documents: self.lengths[rows[documents]], key_of(seed, corpus, number, 2))

    def interleaved(self, seed: int, epoch: int) -> Stretch:
        """What an epoch reads, with each corpus's share, up to a document, in every stretch of it.

        For reading from beginning to end; for reading windows in a drawn order see `InTurn`.
        """
        parts = [self._pass_over(corpus, seed, epoch) for corpus in range(len(self.rows))]
        documents, begins, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
        # Sorted by how far through its corpus each document's middle is.
        middles = [(np.cumsum(part.lengths) - part.lengths / 2) / max(1, part.lengths.sum()) for part in parts]
        order = np.argsort(np.concatenate(middles), kind="stable")
        return Stretch(documents[order], begins[order], lengths[order])

    def _pass_over(self, corpus: int, seed: int, epoch: int) -> Stretch:
        """The tokens [epoch x quota, (epoch + 1) x quota) of this corpus's endless sequence of passes."""
        rows, quota, size = self.rows[corpus], int(self.quotas[corpus]), self.sizes[corpus]
        first, last = epoch * quota, (epoch + 1) * quota
        passes = range(first // size, -(-last // size))
        ranks = np.arange(len(rows))
        order = [rows[permute(ranks, len(rows), key_of(seed, corpus, number, 2))] for number in passes]
        documents = np.concatenate(order) if order else np.empty(0, np.int64)
        lengths = self.lengths[documents]
        ends = passes.start * size + np.cumsum(lengths)
        starts = ends - lengths
        inside = (ends > first) & (starts < last)
        begins = np.maximum(first - starts, 0)[inside]
        return Stretch(documents[inside], begins, (np.minimum(ends, last) - starts)[inside] - begins)


class InTurn:
    """An epoch of a mixture, one corpus after the other, for reading windows in a drawn order; nothing is listed."""

    def __init__(self, mixture: Mixture, seed: int, epoch: int) -> None:
        self._mixture, self._seed, self._epoch = mixture, seed, epoch
        self._begins = np.concatenate(([0], np.cumsum(mixture.quotas)))
        self._orders: dict[tuple[int, int], Order] = {}  # of the passes that the epoch touches

    def locate(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Document, place within it and a number for the piece, of positions in the circular stream."""
        positions = positions % self._begins[-1]
        corpora = np.searchsorted(self._begins, positions, side="right") - 1
        sizes, quotas = np.asarray(self._mixture.sizes)[corpora], self._mixture.quotas[corpora]
        passes, places = np.divmod(self._epoch * quotas + positions - self._begins[corpora], sizes)
        streams = passes * len(self._mixture.rows) + corpora
        documents, within, pieces = (np.empty_like(positions) for _ in range(3))
        for stream in np.unique(streams).tolist():
            here = streams == stream
            number, corpus = divmod(stream, len(self._mixture.rows))
            rows = self._mixture.rows[corpus]
            if (corpus, number) not in self._orders:
                self._orders[corpus, number] = self._mixture.order(corpus, number, self._seed)
            order = self._orders[corpus, number]
            found, within[here], ranks = order.locate(places[here])
            documents[here] = rows[found]
            pieces[here] = (number * len(rows) + ranks) * len(self._mixture.rows) + corpus
        return documents, within, pieces


def mix_corpora(corpora: NDArray[np.str_], lengths: NDArray[np.int64], weights: Mapping[str, float]) -> Mixture | None:
    """The mixture of a split's documents.

    Args:
        corpora: each document's corpus.
        lengths: each document's tokens.
        weights: by corpus; empty mixes nothing.

    Raises:
        InputError: a corpus that has a weight has no training document.
    """
    if not weights:
        return None
    names = np.asarray(corpora)
    rows = {name: np.flatnonzero(names == name) for name in weights}
    if empty := [name for name, found in rows.items() if not len(found)]:
        raise InputError(
            f"The corpora {', '.join(empty)} have weights and no training document. Look at the dataset's splits, or"
            " take them out of `corpora` and `weights`."
        )
    return Mixture(tuple(weights), tuple(rows.values()), lengths, tuple(weights.values()))


def epochs_read(
    corpora: NDArray[np.str_], lengths: NDArray[np.int64], mixture: Mixture | None, epochs: float
) -> dict[str, dict[str, float]]:
    """By corpus: its share of the tokens that a training read, and how often it was read.

    Args:
        corpora: each document's corpus.
        lengths: each document's tokens.
        mixture: the training's.
        epochs: how many the training read.
    """
    total, names = int(lengths.sum()), np.asarray(corpora)
    sizes = {str(name): int(lengths[names == name].sum()) for name in np.unique(names)}
    read = sizes if mixture is None else dict(zip(mixture.names, map(int, mixture.quotas), strict=True))
    return {name: {"share": read[name] / total, "epochs": read[name] / size * epochs} for name, size in sizes.items()}
