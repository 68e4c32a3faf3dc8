"""N-grams of texts, and which of them are searched for: those of the evaluation text, and short items as a whole.

What counts as an n-gram, and how long it is, is said in `decontamination.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.contamination.owners import Owners, owners_of
from lm_pipeline.corpus.similarity.minhash import ngram_hashes
from lm_pipeline.corpus.tables import slices_of_bytes
from lm_pipeline.corpus.text.words import count, hashed_words_by_kind
from lm_pipeline.specs.dataset import Decontamination

_READ_ROWS = 4096

_BATCH_BYTES = 4 << 20
"""Text that is looked at at once: its words and n-grams take about fifty times that."""

SHORTEST_ITEM = 3
"""Words; shorter evaluation documents are too common to be searched for."""
SHORTEST_SENTENCE, SHORTEST_CHARACTERS = 8, 10
"""Words, and Han or Kana characters where most of them are that: shorter ones are said by chance as well."""


@dataclass(frozen=True)
class Needles:
    """What is searched for: hashes of n-grams and of items, ascending, and the evaluation documents (E) they are of."""

    documents: pl.DataFrame  # the evaluation documents: `document_id`, `corpus`, `text` (with the target)
    searchable: NDArray[np.bool_]  # by evaluation document
    num_ngrams: NDArray[np.int64]  # distinct ones by evaluation document
    ngrams: NDArray[np.uint64]
    ngram_lists: NDArray[np.int32]  # which list of owners
    items: NDArray[np.uint64]
    item_lists: NDArray[np.int32]
    long_items: NDArray[np.bool_]  # whether each is long enough to be a hit wherever it stands
    owners: Owners
    item_lengths: NDArray[np.int64]  # the lengths that occur, ascending
    item_prefixes: NDArray[np.uint64]  # hashes of the items' first words, ascending: a cheap first look


@dataclass(frozen=True)
class TextNgrams:
    """The words of N texts, W in all, and the n-gram that begins at each."""

    words: NDArray[np.uint64]
    letters: NDArray[np.bool_]
    ideographs: NDArray[np.bool_]
    offsets: NDArray[np.int64]  # each text's first word (N + 1)
    ngrams: NDArray[np.uint64]
    lengths: NDArray[np.int64]  # words of each n-gram
    counted: NDArray[np.bool_]  # whether the n-gram has a letter and ends within its text

    @classmethod
    def of(cls, texts: pl.Series, spec: Decontamination) -> "TextNgrams":
        """The words of texts."""
        words, letters, ideographs, offsets = hashed_words_by_kind(texts)
        return cls.within(words, letters, ideographs, offsets, spec)

    @classmethod
    def within(
        cls,
        words: NDArray[np.uint64],
        letters: NDArray[np.bool_],
        ideographs: NDArray[np.bool_],
        offsets: NDArray[np.int64],
        spec: Decontamination,
    ) -> "TextNgrams":
        """The same for words that were read already; texts begin at `offsets`."""
        num = len(words)
        short, long = (_at_every_word(ngram_hashes(words, n), num) for n in (spec.ngram, spec.ngram_characters))
        is_long = 2 * _sums(ideographs, np.full(num, spec.ngram)) > spec.ngram
        lengths = np.where(is_long, spec.ngram_characters, spec.ngram)
        ends = np.repeat(offsets[1:], np.diff(offsets))
        counted = (np.arange(num) + lengths <= ends) & (_sums(letters, lengths) > 0)
        return cls(words, letters, ideographs, offsets, np.where(is_long, long, short), lengths, counted)

    def find(self, needles: Needles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The words where n-grams of the evaluation text begin, ascending, and which n-grams those are."""
        if len(needles.ngrams) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        needle = np.minimum(np.searchsorted(needles.ngrams, self.ngrams), len(needles.ngrams) - 1)
        places = np.flatnonzero(self.counted & (needles.ngrams[needle] == self.ngrams))
        return places, needle[places]

    def find_prefixes(self, needles: Needles) -> NDArray[np.int64]:
        """The words where short items may begin, ascending."""
        return np.flatnonzero(np.isin(ngram_hashes(self.words, SHORTEST_ITEM), needles.item_prefixes))

    def text_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The texts that words are in."""
        return np.searchsorted(self.offsets, places, "right") - 1


def _at_every_word(hashes: NDArray[np.uint64], num: int) -> NDArray[np.uint64]:
    return np.concatenate([hashes, np.zeros(num - len(hashes), np.uint64)])


def _sums(flags: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many flags are set in the run of words that begins at each."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    begins = np.arange(len(flags))
    return sums[np.minimum(begins + lengths, len(flags))] - sums[begins]


def _is_searchable(found: TextNgrams, own: slice) -> bool:
    return own.stop - own.start >= SHORTEST_ITEM and bool(found.letters[own].any())


def _length_of(found: TextNgrams, own: slice, spec: Decontamination) -> int:
    """Words of a text's n-grams: which kind is the more frequent."""
    return spec.ngram_characters if 2 * found.ideographs[own].mean() > 1 else spec.ngram


def _shortest_sentence(found: TextNgrams, own: slice) -> int:
    return SHORTEST_CHARACTERS if 2 * found.ideographs[own].mean() > 1 else SHORTEST_SENTENCE


def chosen_documents(
    documents: pl.LazyFrame, wanted: NDArray[np.bool_]
) -> Iterator[tuple[pl.DataFrame, NDArray[np.int64]]]:
    """The wanted documents, a bounded number at a time in their order, and their rows."""
    begin = 0
    for batch in documents.collect_batches(chunk_size=_READ_ROWS, maintain_order=True):
        rows = begin + np.flatnonzero(wanted[begin : begin + len(batch)])
        chosen = batch[rows - begin]
        for own in slices_of_bytes(chosen["text"], _BATCH_BYTES):
            yield chosen[own], rows[own]
        begin += len(batch)


def with_targets(documents: pl.LazyFrame) -> pl.LazyFrame:
    """`document_id`, `corpus`, `text` with the target below it, where there is one, and `source`: the text alone."""
    text = pl.concat_str("text", "target", separator="\n", ignore_nulls=True)
    return documents.select("document_id", "corpus", text=text, source="text")


def read_needles(documents: pl.LazyFrame, evaluation: NDArray[np.bool_], spec: Decontamination) -> Needles:
    """What to search for: n-grams of evaluation documents, and those of less than two as a whole.

    `documents` are those of `with_targets`: where a document has a target, its source alone is an item as well.

    Memory: per word of evaluation text about 12 bytes and the text itself; twice as much while it is sorted.
    """
    ngrams, ngram_of = [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
    items: list[tuple[int, int]] = []
    long_items: dict[int, bool] = {}
    prefixes, lengths = set(), set()
    num_ngrams, searchable, kept = [], [], [documents.head(0).drop("source").collect()]
    for batch, _ in chosen_documents(documents, evaluation):
        found = TextNgrams.of(batch["text"], spec)
        for (begin, end), num_of_source in zip(pairwise(found.offsets), count(batch["source"]).tolist(), strict=True):
            document, whole = len(searchable), slice(begin, end)
            searchable.append(_is_searchable(found, whole))
            num_ngrams.append(0)
            if not searchable[-1]:
                continue
            for stop in dict.fromkeys((end, begin + num_of_source)):
                item = slice(begin, stop)
                if _is_searchable(found, item) and stop - begin < 2 * _length_of(found, item, spec):
                    items.append((int(ngram_hashes(found.words[item], stop - begin)[0]), document))
                    long_items[items[-1][0]] = stop - begin >= _shortest_sentence(found, item)
                    prefixes.add(int(ngram_hashes(found.words[item], SHORTEST_ITEM)[0]))
                    lengths.add(stop - begin)
            ngrams.append(np.unique(found.ngrams[whole][found.counted[whole]]))
            ngram_of.append(np.full(len(ngrams[-1]), document, np.int32))
            num_ngrams[-1] = len(ngrams[-1])
        kept.append(batch.drop("source"))
    hashes, ngram_lists, owners = owners_of(np.concatenate(ngrams), np.concatenate(ngram_of))
    keys, item_lists, more = owners_of(
        np.array([key for key, _ in items], np.uint64), np.array([document for _, document in items], np.int32)
    )
    return Needles(
        pl.concat(kept),
        np.array(searchable, np.bool_),
        np.array(num_ngrams, np.int64),
        hashes,
        ngram_lists,
        keys,
        item_lists + np.int32(owners.num_lists),
        np.array([long_items[key] for key in keys.tolist()], np.bool_),
        owners.followed_by(more),
        np.array(sorted(lengths), np.int64),
        np.array(sorted(prefixes), np.uint64),
    )
