"""Finds training documents that repeat evaluation text: validation, test, or corpora named for it.

Source: the 13-gram rule of GPT-3 (Brown et al. 2020, appendix C). A training document is hit by an evaluation document

- when they share an *n-gram* that stands in at most `max_documents` training documents. It may be anywhere: an item is
  found inside a paragraph too, and across line breaks. What stands in more is a phrase of the field (of laws, of
  licences, of docstrings), as in GPT-3, where it is ignored;
- when they share common n-grams, if those are at least `min_overlap` of the evaluation document's or of a paragraph's;
- by *short items*: an evaluation document of 3 to 2n - 1 words is searched whole, and is a hit where such items cover
  at least `min_overlap` of a paragraph's words. So a phrase that is common is no hit within a longer paragraph.

An n-gram is `ngram` words long, or `ngram_characters` where most of its first `ngram` words are Han or Kana characters.
N-grams without a letter (tables of numbers) do not count. A paragraph is a run of lines that have words. Text with one
paragraph a line has no empty lines, so a line of several is looked at by itself as well: for n-grams when it has 2n
words or more, which lines of wrapped text do not have.
N-grams are compared by 64-bit hash; the one that names a hit is then compared word by word.
"""

from typing import Any

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.minhash import ngram_hashes
from lm_pipeline.corpus.text_ngrams import Needles, TextNgrams, batches, chosen_documents, read_needles
from lm_pipeline.corpus.words import fold, hashed_words_by_kind, segment, spans
from lm_pipeline.specs.dataset import Decontamination

SCHEMA = {
    "document_id": pl.String,
    "evaluation_document_id": pl.String,
    "evaluation_corpus": pl.String,
    "ngram": pl.String,
    "overlap": pl.Float32,
}


def find_contamination(
    documents: pl.LazyFrame,
    evaluation: NDArray[np.bool_],
    training: NDArray[np.bool_],
    spec: Decontamination,
    against: pl.LazyFrame | None = None,
) -> tuple[pl.DataFrame, NDArray[np.bool_], dict[str, Any]]:
    """Find what repeats evaluation text.

    Args:
        documents: N documents with `document_id`, `corpus` and `text`; read in batches, four times.
        evaluation: which are validation or test (bool, N).
        training: which are searched (bool, N).
        spec: n-gram lengths, common phrases and overlap.
        against: further evaluation documents, with the same columns.

    Returns:
        The hits, one row per training and evaluation document, in document order: `document_id`,
        `evaluation_document_id` (the first that has the n-gram; those of the dataset come before those of `against`)
        and `evaluation_corpus`, `ngram` (the first, as written in the training document) and `overlap` (which fraction
        of the evaluation document or of a paragraph it repeats, the larger); which documents are hit (bool, N);
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
    needles, unsearchable = read_needles(documents, evaluation, spec)
    counts = {"ngrams": len(needles.ngrams), "short_items": len(needles.items), "unsearchable_items": unsearchable}
    touched, frequencies = _count_documents(documents, training, needles, spec)
    found = []
    for batch, rows in chosen_documents(documents, touched):
        found += _search(batch, rows, needles, frequencies <= spec.max_documents, spec)
    hits = _verify(found, documents)
    contaminated = np.zeros(num, np.bool_)
    contaminated[[hit["row"] for hit in hits]] = True
    return pl.DataFrame([{name: hit[name] for name in SCHEMA} for hit in hits], schema=SCHEMA), contaminated, counts


def _count_documents(
    documents: pl.LazyFrame, training: NDArray[np.bool_], needles: Needles, spec: Decontamination
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which training documents may be hit at all, and in how many of them each n-gram stands."""
    touched = np.zeros(len(training), np.bool_)
    frequencies = np.zeros(len(needles.ngrams), np.int64)
    for batch, rows in chosen_documents(documents, training):
        words = TextNgrams.of(batch["text"], spec)
        places, found = words.find(needles)
        text = words.text_at(places)
        pairs = pl.DataFrame({"text": text, "needle": found}).unique()
        np.add.at(frequencies, pairs["needle"].to_numpy(), 1)
        touched[rows[text]] = True
        touched[rows[words.text_at(words.find_prefixes(needles))]] = True
    return touched, frequencies


def _paragraphs(texts: pl.Series, spec: Decontamination) -> tuple[TextNgrams, pl.DataFrame, pl.DataFrame]:
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


def _search(
    batch: pl.DataFrame, rows: NDArray[np.int64], needles: Needles, rare: NDArray[np.bool_], spec: Decontamination
) -> list[dict]:
    """Hits of one batch, not verified: the document's row, the needle's row and place, and the n-gram's words."""
    words, blocks, lines = _paragraphs(batch["text"], spec)
    hits = {}
    for text, evaluation_row, place, needle, overlap in _match_ngrams(words, blocks, lines, needles, rare, spec):
        at = int(needles.ngram_places[needle])
        hits[text, evaluation_row] = _hit(words, text, place, int(words.lengths[place]), at, overlap)
    paragraphs = pl.concat([blocks, lines]).sort("text", "begin", "end")
    begins, ends = paragraphs["begin"].to_numpy(), paragraphs["end"].to_numpy()
    starts = words.find_prefixes(needles)
    overlaps, *firsts = _match_items(words.words, starts, begins, ends, (needles.items, needles.item_lengths))
    for at in np.flatnonzero((overlaps >= spec.min_overlap) & (overlaps > 0)):
        place, item, length = (int(values[at]) for values in firsts)
        text = paragraphs["text"][int(at)]
        hits.setdefault((text, int(needles.item_rows[item])), _hit(words, text, place, length, 0, float(overlaps[at])))
    found = []
    for (text, evaluation_row), hit in sorted(hits.items(), key=lambda item: (item[0][0], item[1]["first"])):
        where = spans(batch["text"][text])[hit["first"] : hit["first"] + hit["length"]]
        written = batch["text"][text][where[0][0] : where[-1][1]]
        named = {"document_id": batch["document_id"][text], "ngram": " ".join(written.split())}
        found.append({"row": int(rows[text]), "evaluation_row": evaluation_row, **named, **hit})
    return found


def _hit(words: TextNgrams, text: int, place: int, length: int, evaluation_place: int, overlap: float) -> dict:
    first = place - int(words.offsets[text])
    return {"first": first, "length": length, "evaluation_place": evaluation_place, "overlap": overlap}


def _match_ngrams(
    words: TextNgrams,
    blocks: pl.DataFrame,
    lines: pl.DataFrame,
    needles: Needles,
    rare: NDArray[np.bool_],
    spec: Decontamination,
) -> list[tuple[int, int, int, int, float]]:
    """By text and evaluation document that n-grams hit: the first word of one that does, which needle, and overlap."""
    places, found = words.find(needles)
    long_lines = lines.filter(pl.col("end") - pl.col("begin") >= 2 * spec.ngram)
    matches = pl.DataFrame(
        {
            "text": words.text_at(places),
            "row": needles.ngram_rows[found],
            "place": places,
            "needle": found,
            "rare": rare[found],
            "repeated": np.maximum(_overlaps(words, places, blocks), _overlaps(words, places, long_lines)),
        }
    )
    # A hit is shown by an n-gram that makes it one: by a rare one, else by one of the most repeated paragraph.
    groups = matches.sort("rare", "repeated", "place", descending=[True, True, False]).group_by("text", "row")
    table = groups.agg(
        pl.col("place", "needle", "rare", "repeated").first(),
        num=pl.col("needle").n_unique(),
        most=pl.col("repeated").max(),
    )
    of_item = table["num"].to_numpy() / needles.num_ngrams[table["row"].to_numpy()]
    table = table.with_columns(overlap=np.maximum(of_item, table["most"].to_numpy()))
    hits = table.filter(pl.col("rare") | (pl.col("overlap") >= spec.min_overlap))
    return hits.select("text", "row", "place", "needle", "overlap").rows()


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
