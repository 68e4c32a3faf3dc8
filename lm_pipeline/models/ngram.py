"""Interpolated modified Kneser-Ney n-gram model, counted and evaluated with sorts and binary searches.

Source: Chen & Goodman 1999, section 3; the treatment of document starts follows KenLM (Heafield et al. 2013).

With h' = h without its first token and a(hw) the adjusted count of an n-gram hw,

    p(w | h) = (a(hw) - D(a(hw))) / a(h.) + gamma(h) p(w | h')

where a(hw) is the count at the highest order and for n-grams that begin with BOS, else the number of distinct tokens
that precede hw. D takes one of three values per order (counts 1, 2, 3 and more), gamma(h) is the mass that the
discounts took from h, and the recursion ends at the uniform distribution over what a document may hold: all ids except
what the tokenizer's `Controls` exclude: PAD, BOS and UNK. So every target has a probability above zero and they sum to
one.

An n-gram is the number (index of its first n - 1 tokens among the (n-1)-grams) * vocab_size + (its last token); a
unigram's index is its id. Sorted, these numbers are the model: the n-gram that ends at position i is found by one
binary search from the index of the (n-1)-gram that ends at i - 1, for all positions at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lm_pipeline.errors import CorruptArtifactError, MissingArtifactError
from lm_pipeline.tokenization.controls import OURS, Controls

if TYPE_CHECKING:
    from lm_pipeline.tokenization.shards import Shard

MODEL_FILE = "model.safetensors"
_BATCH_TOKENS = 1 << 20


@dataclass(frozen=True)
class NgramModel:
    """Counts turned into probabilities.

    Attributes:
        keys: for n = 2..order, int64 [number of n-grams], ascending.
        alphas: for n = 1..order, float32 [number of n-grams]: (a - D) / a(h.). The unigrams' has an entry per id.
        gammas: for n = 1..order, float32 [number of (n-1)-grams]: mass left for the next shorter context; 1 for a
            context that was never followed by anything. The unigrams' has one entry.
        discounts: float64 [order, 3], D for adjusted counts 1, 2 and 3 or more.
        controls: control ids of the tokenizer.
    """

    keys: tuple[np.ndarray, ...]
    alphas: tuple[np.ndarray, ...]
    gammas: tuple[np.ndarray, ...]
    discounts: np.ndarray
    controls: Controls = OURS

    @property
    def order(self) -> int:
        """Longest n-gram."""
        return len(self.alphas)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.alphas[0])

    @property
    def num_parameters(self) -> int:
        """Stored probabilities and interpolation weights."""
        return sum(len(array) for array in (*self.alphas, *self.gammas))

    @property
    def num_ngrams(self) -> list[int]:
        """Distinct n-grams seen, for n = 1..order."""
        return [int((self.alphas[0] > 0).sum()), *(len(keys) for keys in self.keys)]

    @classmethod
    def train(cls, shard: "Shard", order: int, vocab_size: int) -> "NgramModel":
        """Count a split. Memory: about 60 bytes a token and 16 bytes a distinct n-gram.

        No n-gram crosses a document; BOS is context only.
        """
        tokens = np.asarray(shard.tokens).astype(np.int64)
        depths = np.arange(len(tokens)) - np.repeat(shard.offsets[:-1], np.diff(shard.offsets))  # 0 at BOS
        ids = tokens  # index of the (n-1)-gram that ends at each position
        from_bos = np.zeros(vocab_size, bool)
        keys: list[np.ndarray] = []
        counts = [np.bincount(tokens[depths >= 1], minlength=vocab_size)]
        for n in range(2, order + 1):
            ends = np.flatnonzero(depths >= n - 1)
            found, indices, occurrences, places = _unique(ids[ends - 1] * vocab_size + tokens[ends])
            preceding = np.bincount(ids[ends[places]], minlength=len(counts[-1]))
            counts[-1] = np.where(from_bos, counts[-1], preceding)
            counts.append(occurrences)
            keys.append(found)
            from_bos = depths[ends[places]] == n - 1
            ids = np.full(len(tokens), -1)
            ids[ends] = indices
        alphas, gammas, discounts = [], [], []
        for n, adjusted in enumerate(counts, 1):
            contexts = keys[n - 2] // vocab_size if n > 1 else np.zeros(vocab_size, np.int64)
            alpha, gamma, discount = _smooth(adjusted, contexts, len(counts[n - 2]) if n > 1 else 1)
            alphas.append(alpha)
            gammas.append(gamma)
            discounts.append(discount)
        return cls(tuple(keys), tuple(alphas), tuple(gammas), np.array(discounts), shard.controls)

    def document_log_probs(self, documents: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Natural log probability of every token after BOS.

        Args:
            documents: ids of each document, beginning with BOS.

        Returns:
            float64 [length - 1] for each document.
        """
        results: list[np.ndarray] = []
        batch: list[np.ndarray] = []
        size = 0
        for document in documents:
            assert len(document) == 0 or document[0] == self.controls.bos, "a document begins with BOS"
            batch.append(np.asarray(document))
            size += len(document)
            if size >= _BATCH_TOKENS:
                results += self._score(batch)
                batch, size = [], 0
        return results + self._score(batch)

    def next_log_probs(self, context: Sequence[int] | np.ndarray) -> np.ndarray:
        """Natural log probability of each id coming next, float64 [vocab_size]; -inf for PAD, BOS and UNK.

        The context counts from its last BOS on; without any token it is the unigram distribution.
        """
        history = [int(i) for i in context[max(0, len(context) - self.order + 1) :]] if self.order > 1 else []
        bos = self.controls.bos
        if bos in history:
            history = history[len(history) - 1 - history[::-1].index(bos) :]
        probs = self.alphas[0] + self.gammas[0][0] * _uniform(self.vocab_size, self.controls)
        for length in range(1, len(history) + 1):
            index = self._find(history[-length:])
            if index < 0:
                break  # nor is any longer context, which would end in this one
            keys = self.keys[length - 1]
            start, end = np.searchsorted(keys, [index * self.vocab_size, (index + 1) * self.vocab_size])
            probs *= self.gammas[length][index]
            probs[keys[start:end] - index * self.vocab_size] += self.alphas[length][start:end]
        with np.errstate(divide="ignore"):
            return np.log(probs)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` into a folder."""
        from safetensors.numpy import save_file

        tensors = {"discounts": self.discounts}
        for name, arrays, first in (("keys", self.keys, 2), ("alphas", self.alphas, 1), ("gammas", self.gammas, 1)):
            tensors |= {f"{name}.{n}": np.ascontiguousarray(array) for n, array in enumerate(arrays, first)}
        save_file(tensors, folder / MODEL_FILE)
        self.controls.write(folder)

    @classmethod
    def load(cls, folder: Path) -> "NgramModel":
        """Read what `save` wrote.

        Raises:
            MissingArtifactError: there is no such file.
            CorruptArtifactError: it does not hold an n-gram model.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = Path(folder) / MODEL_FILE
        try:
            tensors = load_file(path)
            order = len(tensors["discounts"])
            return cls(
                tuple(tensors[f"keys.{n}"] for n in range(2, order + 1)),
                tuple(tensors[f"alphas.{n}"] for n in range(1, order + 1)),
                tuple(tensors[f"gammas.{n}"] for n in range(1, order + 1)),
                tensors["discounts"],
                Controls.read(Path(folder)),
            )
        except FileNotFoundError:
            raise MissingArtifactError(f"There is no {path}. Materialize the checkpoint first.") from None
        except (SafetensorError, KeyError) as error:
            raise CorruptArtifactError(f"{path} does not hold an n-gram model ({error!r}).") from error

    def _score(self, documents: list[np.ndarray]) -> list[np.ndarray]:
        sizes = np.array([len(document) for document in documents], np.int64)
        if sizes.sum() == 0:
            return [np.empty(0) for _ in documents]
        tokens = np.concatenate(documents).astype(np.int64)
        depths = np.arange(len(tokens)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        probs = self.alphas[0][tokens] + self.gammas[0][0] * _uniform(self.vocab_size, self.controls)[tokens]
        ids = tokens  # index of the (n-1)-gram that ends at each position; -1 where it was never seen
        for n in range(2, self.order + 1):
            ends = np.flatnonzero(depths >= n - 1)
            contexts = ids[ends - 1]
            ends, contexts = ends[contexts >= 0], contexts[contexts >= 0]
            found = _search(self.keys[n - 2], contexts * self.vocab_size + tokens[ends])
            alphas = np.where(found >= 0, self.alphas[n - 1][found], 0) if len(self.keys[n - 2]) else 0
            probs[ends] = alphas + self.gammas[n - 1][contexts] * probs[ends]
            ids = np.full(len(tokens), -1)
            ids[ends] = found
        with np.errstate(divide="ignore"):  # BOS itself, dropped below
            logs = np.split(np.log(probs), np.cumsum(sizes)[:-1])
        return [log[1:] for log in logs]

    def _find(self, ngram: list[int]) -> int:
        """Index of an n-gram among those of its length, or -1."""
        index = ngram[0]
        for keys, token in zip(self.keys, ngram[1:], strict=False):
            index = int(_search(keys, np.array([index * self.vocab_size + token]))[0])
            if index < 0:
                break
        return index


def _uniform(vocab_size: int, controls: Controls) -> np.ndarray:
    """float64 [vocab_size]: equal mass on every id that a document may hold after BOS."""
    excluded = list(controls.excluded)
    probs = np.full(vocab_size, 1 / (vocab_size - len(excluded)))
    probs[excluded] = 0
    return probs


def _unique(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct keys ascending, each key's index among them, their counts, and where each one occurs (any place).

    `np.unique` gives the same but sorts stably to give the first place, which takes three times as long.
    """
    order = np.argsort(keys)
    ordered = keys[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts = np.diff(starts, append=len(keys))
    inverse = np.empty(len(keys), np.int64)
    inverse[order] = np.repeat(np.arange(len(starts)), counts)
    return ordered[starts], inverse, counts, order[starts]


def _search(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of each wanted key in the ascending keys, or -1."""
    if not len(keys):
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)


def _smooth(counts: np.ndarray, contexts: np.ndarray, num_contexts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Alpha of each n-gram, gamma of each context and the three discounts, from adjusted counts and context indices."""
    discounts = _discounts(counts)
    taken = np.array([0.0, *discounts])[np.minimum(counts, 3)]
    totals = np.bincount(contexts, counts, num_contexts)
    left = np.bincount(contexts, taken, num_contexts)
    gammas = np.divide(left, totals, out=np.ones(num_contexts), where=totals > 0)
    alphas = np.divide(counts - taken, totals[contexts], out=np.zeros(len(counts)), where=counts > 0)
    return alphas.astype(np.float32), gammas.astype(np.float32), discounts


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Chen & Goodman's D1, D2, D3+ from the numbers of n-grams with adjusted counts 1 to 4.

    A tiny text may lack one of them or yield a discount that is not positive; then 0.5, 1, 1.5, as in KenLM.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        discounts = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if (discounts > 0).all():
            return discounts
    return np.array([0.5, 1.0, 1.5])
