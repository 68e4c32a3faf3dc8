"""Finds training documents that repeat evaluation text: validation, test, or corpora named for it.

Source: the 13-gram rule of GPT-3 (Brown et al. 2020, appendix C), applied per paragraph. Two rules, on words:

- *n-grams*: a paragraph is hit when at least `min_overlap` of its n-grams stand in the evaluation text. N-grams without
  a letter (tables of numbers) do not count.
- *short items*: an evaluation document of 3 to 2n - 1 words is searched whole; a paragraph is hit when such items cover
  at least `min_overlap` of its words. So a phrase that is common is no hit within a longer paragraph.

A paragraph is a run of lines that have words. Text with one paragraph a line has no empty lines, so a line of several
is looked at by itself as well: for n-grams when it has 2n words or more, which lines of wrapped text do not have.
N-grams are compared by 64-bit hash; the one that names a hit is then compared word by word.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.minhash import ngram_hashes
from lm_pipeline.corpus.words import fold, hashed_words_and_letters, segment, spans
from lm_pipeline.specs.dataset import Decontamination

_BATCH_ROWS = 4096

SHORTEST_ITEM = 3
"""Words; shorter evaluation documents are too common to be searched for."""

SCHEMA = {
    "document_id": pl.String,
    "evaluation_document_id": pl.String,
    "evaluation_corpus": pl.String,
    "ngram": pl.String,
    "overlap": pl.Float32,
}


@dataclass(frozen=True)
class _Needles:
    """What is searched for: hashes, ascending, each with the first evaluation document (row) and word it begins at."""

    ngrams: NDArray[np.uint64]
    ngram_rows: NDArray[np.int64]
    ngram_places: NDArray[np.int64]
    items: NDArray[np.uint64]
    item_rows: NDArray[np.int64]
    item_lengths: NDArray[np.int64]  # the lengths that occur, longest first
    item_prefixes: NDArray[np.uint64]  # hashes of the items' first words, ascending: a cheap first look


def find_contamination(
    documents: pl.LazyFrame,
    evaluation: NDArray[np.bool_],
    training: NDArray[np.bool_],
    spec: Decontamination,
    against: pl.LazyFrame | None = None,
) -> tuple[pl.DataFrame, NDArray[np.bool_], dict[str, Any]]:
    """Find what repeats evaluation text.

    Args:
        documents: N documents with `document_id`, `corpus` and `text`; read in batches, three times.
        evaluation: which are validation or test (bool, N).
        training: which are searched (bool, N).
        spec: n-gram length and overlap.
        against: further evaluation documents, with the same columns.

    Returns:
        The hits, one row per hit paragraph in document order: `document_id`, `evaluation_document_id` (the first that
        has the n-gram; those of the dataset come before those of `against`) and `evaluation_corpus`, `ngram` (as
        written in the training document) and `overlap` (fraction of the paragraph); which documents are hit (bool, N);
        and `{"ngrams", "short_items", "unsearchable_items"}`, the numbers of distinct
        n-grams, of short items, and of evaluation documents too short or without letters, which cannot be found.
    """
    num, columns = len(training), ("document_id", "corpus", "text")
    documents = documents.select(columns)
    if against is not None:
        num_further = against.select(pl.len()).collect().item()
        documents = pl.concat([documents, against.select(columns)])
        evaluation = np.append(evaluation, np.ones(num_further, np.bool_))
        training = np.append(training, np.zeros(num_further, np.bool_))
    needles, unsearchable = _read_needles(documents, evaluation, spec)
    counts = {"ngrams": len(needles.ngrams), "short_items": len(needles.items), "unsearchable_items": unsearchable}
    found, begin = [], 0
    for batch in batches(documents, "document_id", "text"):
        rows = begin + np.flatnonzero(training[begin : begin + len(batch)])
        if len(rows):
            found += _search(batch[rows - begin], rows, needles, spec)
        begin += len(batch)
    hits = _verify(found, documents)
    contaminated = np.zeros(num, np.bool_)
    contaminated[[hit["row"] for hit in hits]] = True
    return pl.DataFrame([{name: hit[name] for name in SCHEMA} for hit in hits], schema=SCHEMA), contaminated, counts


def batches(documents: pl.LazyFrame, *columns: str) -> Iterator[pl.DataFrame]:
    """Read a frame's columns in order, a bounded number of rows at a time."""
    return documents.select(columns).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True)


def _read_needles(
    documents: pl.LazyFrame, evaluation: NDArray[np.bool_], spec: Decontamination
) -> tuple[_Needles, int]:
    ngrams, places, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    items: dict[int, int] = {}
    prefixes, lengths, unsearchable, begin = set(), set(), 0, 0
    for batch in batches(documents, "text"):
        chosen = np.flatnonzero(evaluation[begin : begin + len(batch)])
        words, letters, offsets = hashed_words_and_letters(batch["text"].gather(chosen))
        for at, row in enumerate(begin + chosen):
            own = slice(offsets[at], offsets[at + 1])
            num_words = int(offsets[at + 1] - offsets[at])
            if num_words < SHORTEST_ITEM or not letters[own].any():
                unsearchable += 1
                continue
            if num_words < 2 * spec.ngram:
                items.setdefault(int(ngram_hashes(words[own], num_words)[0]), int(row))
                prefixes.add(int(ngram_hashes(words[own], SHORTEST_ITEM)[0]))
                lengths.add(num_words)
            hashes, counted = _lettered_ngrams(words[own], letters[own], spec.ngram)
            ngrams.append(hashes[counted])
            places.append(np.flatnonzero(counted))
            rows.append(np.full(int(counted.sum()), row))
        begin += len(batch)
    distinct, first = np.unique(np.concatenate(ngrams), return_index=True)
    keys = sorted(items)
    needles = _Needles(
        distinct,
        np.concatenate(rows)[first],
        np.concatenate(places)[first],
        np.array(keys, np.uint64),
        np.array([items[key] for key in keys], np.int64),
        np.array(sorted(lengths, reverse=True), np.int64),
        np.array(sorted(prefixes), np.uint64),
    )
    return needles, unsearchable


def _lettered_ngrams(
    words: NDArray[np.uint64], letters: NDArray[np.bool_], ngram: int
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Hashes of all n-grams, and whether each has a letter."""
    hashes = ngram_hashes(words, ngram)
    seen = np.concatenate([[0], np.cumsum(letters)])
    return hashes, seen[ngram : ngram + len(hashes)] > seen[: len(hashes)]


def _paragraphs(
    texts: pl.Series, ngram: int
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.int64], pl.DataFrame]:
    """Words of N texts, whether they have letters, each text's first word (N + 1), and the paragraphs.

    Paragraphs have `text`, `begin` and `end` (words) and `for_ngrams` (whether the n-gram rule looks at them).
    """
    lines = texts.str.split("\n")
    words, letters, offsets = hashed_words_and_letters(lines.explode())
    first_line = np.concatenate([[0], np.cumsum(lines.list.len().to_numpy().astype(np.int64))])
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
    paragraphs = pl.concat(
        [
            blocks.select(columns).with_columns(for_ngrams=pl.lit(value=True)),
            of_several.select(columns).with_columns(for_ngrams=pl.col("end") - pl.col("begin") >= 2 * ngram),
        ]
    )
    return words, letters, offsets[first_line], paragraphs.sort("text", "begin", "end")


def _search(batch: pl.DataFrame, rows: NDArray[np.int64], needles: _Needles, spec: Decontamination) -> list[dict]:
    """Hits of one batch, not verified: the document's row, the needle's row and place, and the n-gram's words."""
    words, letters, first_word, paragraphs = _paragraphs(batch["text"], spec.ngram)
    begins, ends = paragraphs["begin"].to_numpy(), paragraphs["end"].to_numpy()
    by_ngram = _match_ngrams(words, letters, paragraphs, needles, spec.ngram)
    prefixes = ngram_hashes(words, SHORTEST_ITEM)
    starts = np.flatnonzero(np.isin(prefixes, needles.item_prefixes))
    by_item = _match_items(words, starts, begins, ends, (needles.items, needles.item_lengths))
    hits = []
    for at in np.flatnonzero((by_ngram[0] >= spec.min_overlap) | (by_item[0] >= spec.min_overlap)):
        whole = by_item[0][at] >= by_ngram[0][at]
        overlap, place, needle, length = (values[at] for values in (by_item if whole else by_ngram))
        if overlap == 0:
            continue
        text = paragraphs["text"][int(at)]
        place -= first_word[text]
        where = spans(batch["text"][text])[place : place + length]
        written = batch["text"][text][where[0][0] : where[-1][1]]
        hits.append(
            {
                "row": int(rows[text]),
                "document_id": batch["document_id"][text],
                "evaluation_row": int(needles.item_rows[needle] if whole else needles.ngram_rows[needle]),
                "evaluation_place": 0 if whole else int(needles.ngram_places[needle]),
                "ngram": " ".join(written.split()),
                "overlap": float(overlap),
            }
        )
    return hits


def _match_ngrams(
    words: NDArray[np.uint64], letters: NDArray[np.bool_], paragraphs: pl.DataFrame, needles: _Needles, ngram: int
) -> tuple[NDArray[Any], ...]:
    """Per paragraph: overlap, first matched word, which needle, n-gram length."""
    hashes, counted = _lettered_ngrams(words, letters, ngram)
    needle = np.searchsorted(needles.ngrams, hashes)
    needle[needle == len(needles.ngrams)] = 0
    matched = counted & (needles.ngrams[needle] == hashes) if len(needles.ngrams) else np.zeros(len(hashes), np.bool_)
    begin = paragraphs["begin"].to_numpy()
    end = np.maximum(begin, paragraphs["end"].to_numpy() - ngram + 1)
    begin, end = np.minimum(begin, len(hashes)), np.minimum(end, len(hashes))
    num_matched, num_counted = (np.concatenate([[0], np.cumsum(flags)]) for flags in (matched, counted))
    total = num_counted[end] - num_counted[begin]
    looked_at = paragraphs["for_ngrams"].to_numpy() & (total > 0)
    overlap = np.where(looked_at, (num_matched[end] - num_matched[begin]) / np.maximum(total, 1), 0.0)
    places = np.append(np.flatnonzero(matched), 0)
    first = places[np.minimum(num_matched[begin], len(places) - 1)]
    named = needle[first] if len(needle) else np.zeros(len(first), np.int64)
    return overlap, first, named, np.full(len(first), ngram)


@numba.njit(cache=True)
def _match_items(words, starts, begins, ends, items):
    """Per paragraph: fraction of its words that items cover, first matched word, which item, its number of words.

    Args:
        words: hashes of all words.
        starts: words at which an item may begin, ascending.
        begins: first word of each paragraph.
        ends: word after its last.
        items: hashes, ascending, and the lengths that occur, longest first.
    """
    hashes, lengths = items
    overlap = np.zeros(len(begins), np.float64)
    first = np.zeros(len(begins), np.int64)
    which = np.zeros(len(begins), np.int64)
    num_words = np.zeros(len(begins), np.int64)
    for paragraph in range(len(begins)):
        begin, end = begins[paragraph], ends[paragraph]
        covered, covered_to = 0, begin
        for candidate in range(np.searchsorted(starts, begin), np.searchsorted(starts, end)):
            start = starts[candidate]
            for length in lengths:
                if start + length > end:
                    continue
                key = ngram_hashes(words[start : start + length], length)[0]
                item = np.searchsorted(hashes, key)
                if item < len(hashes) and hashes[item] == key:
                    if covered == 0:
                        first[paragraph], which[paragraph], num_words[paragraph] = start, item, length
                    covered += max(0, start + length - max(start, covered_to))
                    covered_to = max(covered_to, start + length)
                    break
        overlap[paragraph] = covered / (end - begin)
    return overlap, first, which, num_words


def _verify(found: list[dict], documents: pl.LazyFrame) -> list[dict]:
    """Keep the hits whose n-gram is the evaluation document's, word by word, and name that document."""
    wanted = np.unique([hit["evaluation_row"] for hit in found]).astype(np.int64)
    texts: dict[int, tuple[str, str, list[str]]] = {}
    begin = 0
    for batch in batches(documents, "document_id", "corpus", "text") if found else ():
        for row in wanted[(wanted >= begin) & (wanted < begin + len(batch))]:
            identifier, corpus, text = batch.row(int(row) - begin)
            texts[int(row)] = identifier, corpus, segment(fold(text))
        begin += len(batch)
    verified = []
    for hit in found:
        identifier, corpus, words = texts[hit["evaluation_row"]]
        expected = segment(fold(hit["ngram"]))
        place = hit["evaluation_place"]
        if words[place : place + len(expected)] == expected:
            verified.append(hit | {"evaluation_document_id": identifier, "evaluation_corpus": corpus})
    return verified
