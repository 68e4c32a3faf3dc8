"""Where texts repeat n-grams and short items of evaluation text, and how much of a paragraph they are.

What is a hit is said in `decontamination.py`.
"""

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.contamination.text_ngrams import Needles, TextNgrams
from lm_pipeline.corpus.similarity.minhash import ngram_hashes
from lm_pipeline.corpus.text.words import hashed_words_by_kind
from lm_pipeline.specs.dataset import Decontamination


def paragraphs_of(texts: pl.Series, spec: Decontamination) -> tuple[TextNgrams, pl.DataFrame, pl.DataFrame]:
    """The words of N texts, and `text`, `begin` and `end` (words) of paragraphs, and of lines of several in one."""
    lines = texts.str.split("\n")
    first_line = np.concatenate([[0], np.cumsum(lines.list.len().to_numpy().astype(np.int64))])
    words, letters, ideographs, offsets = hashed_words_by_kind(lines.explode())
    found = TextNgrams.within(words, letters, ideographs, offsets[first_line], spec)
    text_of = np.repeat(np.arange(len(texts)), np.diff(first_line))
    has_words = np.diff(offsets) > 0
    continues = np.concatenate([[False], has_words[:-1] & (text_of[1:] == text_of[:-1])])
    full = np.flatnonzero(has_words)
    block = np.cumsum(~continues[full])
    table = pl.DataFrame({"text": text_of[full], "begin": offsets[full], "end": offsets[full + 1], "block": block})
    blocks = table.group_by("text", "block", maintain_order=True).agg(
        pl.col("begin").first(), pl.col("end").last(), several=pl.len() > 1
    )
    of_several = table.join(blocks.filter("several"), on="block", how="semi", maintain_order="left")
    columns = ["text", "begin", "end"]
    return found, blocks.select(columns), of_several.select(columns)


def match_ngrams(
    words: TextNgrams,
    blocks: pl.DataFrame,
    lines: pl.DataFrame,
    needles: Needles,
    rare: NDArray[np.bool_],
    spec: Decontamination,
) -> pl.DataFrame:
    """The n-grams that texts share with evaluation text, each once a text, at its place in the most repeated paragraph.

    Columns: `text`, `list` (of owners), `num` (1), `sure` (whether it is a hit by itself), `repeated` (the largest
    fraction of a paragraph that is matched), `place` and `length` (words).
    """
    places, found = words.find(needles)
    long_lines = lines.filter(pl.col("end") - pl.col("begin") >= 2 * spec.ngram)
    matches = pl.DataFrame(
        {
            "text": words.text_at(places),
            "list": needles.ngram_lists[found],
            "num": np.ones(len(places), np.int64),
            "sure": rare[found],
            "repeated": np.maximum(_overlaps(words, places, blocks), _overlaps(words, places, long_lines)),
            "place": places,
            "length": words.lengths[places],
            "needle": found,
        }
    )
    best_first = matches.sort("repeated", "place", descending=[True, False])
    return best_first.unique(["text", "needle"], keep="first", maintain_order=True).drop("needle")


def _overlaps(words: TextNgrams, places: NDArray[np.int64], paragraphs: pl.DataFrame) -> NDArray[np.float64]:
    """Which fraction of its paragraph's n-grams are matched, for each matched n-gram; 0 where it is in none."""
    if len(paragraphs) == 0 or len(places) == 0:
        return np.zeros(len(places))
    begins, ends = paragraphs["begin"].to_numpy(), paragraphs["end"].to_numpy()
    at = np.arange(len(words.words))
    paragraph = np.searchsorted(begins, at, "right") - 1
    inside = (paragraph >= 0) & (at + words.lengths <= ends[paragraph])
    matched = np.zeros(len(at), np.bool_)
    matched[places] = True
    total, same = (np.bincount(paragraph[inside & flags], minlength=len(begins)) for flags in (words.counted, matched))
    return np.where(inside[places], (same / np.maximum(total, 1))[paragraph[places]], 0.0)


def find_items(words: TextNgrams, needles: Needles) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The words where short items begin, how many words these have and which items they are."""
    starts, lengths, items = _find_items(words.words, words.find_prefixes(needles), needles.items, needles.item_lengths)
    inside = starts + lengths <= words.offsets[words.text_at(starts) + 1]
    return starts[inside], lengths[inside], items[inside]


def match_items(
    words: TextNgrams,
    blocks: pl.DataFrame,
    lines: pl.DataFrame,
    needles: Needles,
    rare: NDArray[np.bool_],
    spec: Decontamination,
) -> pl.DataFrame:
    """The short items that are hits: the columns of `match_ngrams`.

    `repeated` is how much of a paragraph they are; 1, the whole item, where it is `rare` enough to be a hit anywhere.
    """
    starts, lengths, items = find_items(words, needles)
    covered = np.maximum(*(_covered(words, starts, lengths, paragraphs) for paragraphs in (blocks, lines)))
    covered[rare[items]] = 1.0
    hits = np.flatnonzero((covered >= spec.min_overlap) & (covered > 0))
    return pl.DataFrame(
        {
            "text": words.text_at(starts[hits]),
            "list": needles.item_lists[items[hits]],
            "num": np.zeros(len(hits), np.int64),
            "sure": np.ones(len(hits), np.bool_),
            "repeated": covered[hits],
            "place": starts[hits],
            "length": lengths[hits],
        }
    )


@numba.njit(cache=True)
def _find_items(words, starts, items, item_lengths):
    """Where items begin, how many words they have and which they are.

    Args:
        words: hashes of all words.
        starts: words at which an item may begin, ascending.
        items: hashes, ascending.
        item_lengths: the lengths that occur, ascending.
    """
    places = np.empty(len(starts) * len(item_lengths), np.int64)  # untouched pages cost no memory
    lengths, found = np.empty(len(places), np.int64), np.empty(len(places), np.int64)
    num = 0
    for start in starts:
        for length in item_lengths:
            if start + length > len(words):
                break
            key = ngram_hashes(words[start : start + length], length)[0]
            item = np.searchsorted(items, key)
            if item < len(items) and items[item] == key:
                places[num], lengths[num], found[num] = start, length, item
                num += 1
    return places[:num].copy(), lengths[:num].copy(), found[:num].copy()


def _covered(
    words: TextNgrams, starts: NDArray[np.int64], lengths: NDArray[np.int64], paragraphs: pl.DataFrame
) -> NDArray[np.float64]:
    """Which fraction of its paragraph's words items cover together, for each item; 0 where it is in none."""
    if len(paragraphs) == 0 or len(starts) == 0:
        return np.zeros(len(starts))
    begins, ends = paragraphs["begin"].to_numpy(), paragraphs["end"].to_numpy()
    paragraph = np.searchsorted(begins, starts, "right") - 1
    inside = (paragraph >= 0) & (starts + lengths <= ends[paragraph])
    steps = np.zeros(len(words.words) + 1, np.int64)
    np.add.at(steps, starts[inside], 1)
    np.add.at(steps, (starts + lengths)[inside], -1)
    before = np.concatenate([[0], np.cumsum(np.cumsum(steps) > 0)])
    fractions = (before[ends] - before[begins]) / (ends - begins)
    return np.where(inside, fractions[paragraph], 0.0)
