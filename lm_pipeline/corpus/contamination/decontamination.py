"""Finds training documents that repeat evaluation text: validation, test, or corpora named for it.

Source: the 13-gram rule of GPT-3 (Brown et al. 2020, appendix C). A training document is hit by an evaluation document

- when they share an *n-gram* that stands in at most `max_documents` training documents. It may be anywhere: an item is
  found inside a paragraph too, and across line breaks. What stands in more is a phrase of the field (of laws, of
  licences, of docstrings), as in GPT-3, where it is ignored;
- when they share common n-grams, if those are at least `min_overlap` of the evaluation document's or of a paragraph's;
- by *short items*: an evaluation document of 3 to 2n - 1 words is searched whole. Of 8 words or more, or of 10
  characters where most are Han or Kana, it is a hit wherever it stands, if it stands in at most `max_documents`
  training documents; otherwise where such items cover at least `min_overlap` of a paragraph's words. So a phrase that
  is short or common is no hit within a longer paragraph.

A document's text goes on with its `target`, where it has one, on a line of its own. Such a pair is an item with and
without its target: a question is found alone too; an answer of a few words alone, which many questions have, is not.

An n-gram is `ngram` words long, or `ngram_characters` where most of its first `ngram` words are Han or Kana characters.
N-grams without a letter (tables of numbers) do not count. A paragraph is a run of lines that have words. Text with one
paragraph a line has no empty lines, so a line of several is looked at by itself as well: for n-grams when it has 2n
words or more, which lines of wrapped text do not have.
N-grams are compared by 64-bit hash; the one that shows a hit is then compared word by word.

A training document names the evaluation documents that it repeats, `MAX_NAMED` at most, and says how many they are. By
evaluation document the training documents are counted whether they name it or not.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.contamination.owner_cells import Tally
from lm_pipeline.corpus.contamination.repeats import Limits, Matches, Repeats, find_repeats
from lm_pipeline.corpus.contamination.text_matches import find_items, match_items, match_ngrams, paragraphs_of
from lm_pipeline.corpus.contamination.text_ngrams import (
    Needles,
    TextNgrams,
    chosen_documents,
    read_needles,
    with_targets,
)
from lm_pipeline.corpus.tables import TableFile
from lm_pipeline.corpus.text.words import fold, segment, spans
from lm_pipeline.specs.dataset import Decontamination

MAX_NAMED = 100
"""Evaluation documents that a training document names; those of which it repeats most."""

CONTAMINATION = pl.Schema(
    {
        "document_id": pl.String,
        "evaluation_document_id": pl.String,
        "evaluation_corpus": pl.String,
        "ngram": pl.String,
        "overlap": pl.Float32,
        "num_evaluation_documents": pl.Int64,
    }
)
EVALUATION = pl.Schema(
    {
        "document_id": pl.String,
        "corpus": pl.String,
        "searchable": pl.Boolean,
        "num_documents": pl.Int64,
        "first_document_id": pl.String,
        "max_overlap": pl.Float32,
    }
)
TABLES = {"contamination": CONTAMINATION, "evaluation_documents": EVALUATION}


@dataclass(frozen=True)
class Search:
    """What is searched for, as common as it was among the training documents that were searched.

    Attributes:
        needles: n-grams and short items of evaluation text.
        rare: which n-grams, and which items, are a hit wherever they stand (bool).
        spec: n-gram lengths, common phrases and overlap.
    """

    needles: Needles
    rare: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    spec: Decontamination

    def hits(self, batches: Iterable[tuple[pl.DataFrame, NDArray[np.int64]]], num: int) -> NDArray[np.bool_]:
        """Which of some texts repeat evaluation text (bool, `num`; False for those that are in no batch).

        Args:
            batches: `document_id` and `text`, and their numbers, which are less than `num`.
            num: length of what is returned.
        """
        found, tally = np.zeros(num, np.bool_), Tally.of(len(self.needles.documents))
        for batch, rows in batches:
            hits = _search(batch, rows, self.needles, self.rare, self.spec, tally)
            found[rows[hits["text"].unique()]] = True
        return found


@dataclass(frozen=True)
class Findings:
    """What one search has found, or several one after the other: later ones leave out the documents that were found.

    Attributes:
        contaminated: documents that were found (bool, N).
        tally: of them by evaluation document (E).
        first: by evaluation document the id of the first that was found, or "" (str, E).
        hits: `contamination.parquet`, open.
        out: the folder for `evaluation_documents.parquet`.
    """

    contaminated: NDArray[np.bool_]
    tally: Tally
    first: NDArray[np.object_]
    hits: TableFile
    out: Path

    @classmethod
    @contextmanager
    def written(cls, evaluation: NDArray[np.bool_], against: pl.LazyFrame | None, out: Path) -> Iterator[Self]:
        """None yet, and two tables that are complete at the end.

        Args:
            evaluation: which documents are validation or test (bool, N).
            against: further evaluation documents.
            out: an existing folder that receives `contamination.parquet`, one row per training and evaluation document,
                in the order of documents and of the places where they repeat, search after search: `document_id`,
                `evaluation_document_id` and `evaluation_corpus`, `ngram` (as written in the training document),
                `overlap` (which fraction of the evaluation document or of a paragraph it repeats, the larger) and
                `num_evaluation_documents` (that the training document repeats, named or not); and
                `evaluation_documents.parquet`, one row per evaluation document, those of the dataset before those of
                `against`: `document_id`, `corpus`, `searchable` (false where it is too short or has no letters),
                `num_documents` (training documents that repeat it, and 0 where none does), `first_document_id` (the
                first of them) and `max_overlap`.
        """
        num = int(evaluation.sum()) + (0 if against is None else against.select(pl.len()).collect().item())
        with TableFile(out / "contamination.parquet", CONTAMINATION) as hits:
            yield cls(np.zeros(len(evaluation), np.bool_), Tally.of(num), np.full(num, "", object), hits, out)

    def add(self, batch: pl.DataFrame, rows: NDArray[np.int64], hits: pl.DataFrame) -> None:
        """The hits of a batch, which are in the tally already."""
        self.contaminated[rows[hits["text"].unique()]] = True
        self.hits.write(hits)
        repeated = np.flatnonzero(self.tally.num_documents)
        new = repeated[self.first[repeated] == ""]
        self.first[new] = batch["document_id"].gather(np.searchsorted(rows, self.tally.first[new])).to_numpy()

    def write_evaluation(self, needles: Needles) -> None:
        """Write `evaluation_documents.parquet`."""
        report = needles.documents.select("document_id", "corpus").with_columns(
            searchable=pl.Series(needles.searchable, dtype=pl.Boolean),
            num_documents=pl.Series(self.tally.num_documents),
            first_document_id=pl.Series([name or None for name in self.first.tolist()], dtype=pl.String),
            max_overlap=pl.Series(np.where(self.tally.num_documents > 0, self.tally.max_overlap, 0)).cast(pl.Float32),
        )
        with TableFile(self.out / "evaluation_documents.parquet", EVALUATION) as file:
            file.write(report)


def find_contamination(
    documents: pl.LazyFrame,
    evaluation: NDArray[np.bool_],
    training: NDArray[np.bool_],
    spec: Decontamination,
    findings: Findings,
    against: pl.LazyFrame | None = None,
) -> tuple[dict[str, int], Search]:
    """Find what repeats evaluation text.

    Args:
        documents: N documents with `document_id`, `corpus`, `text` and `target`; read in batches, three times.
        evaluation: which are validation or test (bool, N). Their text is held in memory, with 12 bytes a word.
        training: which are searched (bool, N).
        spec: n-gram lengths, common phrases and overlap.
        findings: what is found is added to; documents that are `contaminated` there already are counted, for how common
            an n-gram is, and not searched.
        against: further evaluation documents, with the same columns.

    Returns:
        The numbers of distinct `ngrams`, of `short_items`, of `evaluation_documents`, of `unsearchable_items` among
        them, and of `repeated_items`, which some training document repeats; and what further text can be searched by.
    """
    documents = with_targets(documents)
    if against is not None:
        num_further = len(findings.first) - int(evaluation.sum())
        documents = pl.concat([documents, with_targets(against)])
        evaluation = np.append(evaluation, np.ones(num_further, np.bool_))
        training = np.append(training, np.zeros(num_further, np.bool_))
    needles = read_needles(documents, evaluation, spec)
    touched, frequencies, item_frequencies = _count_documents(documents, training, needles, spec)
    rare = frequencies <= spec.max_documents, needles.long_items & (item_frequencies <= spec.max_documents)
    touched[np.flatnonzero(findings.contaminated)] = False
    for batch, rows in chosen_documents(documents, touched):
        findings.add(batch, rows, _search(batch, rows, needles, rare, spec, findings.tally))
    findings.write_evaluation(needles)
    counts = {
        "ngrams": len(needles.ngrams),
        "short_items": len(needles.items),
        "evaluation_documents": len(needles.documents),
        "unsearchable_items": int((~needles.searchable).sum()),
        "repeated_items": int((findings.tally.num_documents > 0).sum()),
    }
    return counts, Search(needles, rare, spec)


def _count_documents(
    documents: pl.LazyFrame, training: NDArray[np.bool_], needles: Needles, spec: Decontamination
) -> tuple[NDArray[np.bool_], NDArray[np.int32], NDArray[np.int32]]:
    """Which training documents may be hit at all, and in how many of them each n-gram and each item stands."""
    touched = np.zeros(len(training), np.bool_)
    frequencies, item_frequencies = (np.zeros(len(keys), np.int32) for keys in (needles.ngrams, needles.items))
    for batch, rows in chosen_documents(documents, training):
        words = TextNgrams.of(batch["text"], spec)
        (places, ngrams), (starts, _, items) = words.find(needles), find_items(words, needles)
        for found, at, counts in ((ngrams, places, frequencies), (items, starts, item_frequencies)):
            text = words.text_at(at)
            pairs = pl.DataFrame({"text": text, "needle": found}).unique()
            np.add.at(counts, pairs["needle"].to_numpy(), 1)
            touched[rows[text]] = True
    return touched, frequencies, item_frequencies


def _search(
    batch: pl.DataFrame,
    rows: NDArray[np.int64],
    needles: Needles,
    rare: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    spec: Decontamination,
    tally: Tally,
) -> pl.DataFrame:
    """Verified hits of one batch, in the columns of `CONTAMINATION` and `text`, which document of the batch it is."""
    words, blocks, lines = paragraphs_of(batch["text"], spec)
    found = [
        match(words, blocks, lines, needles, own, spec)
        for match, own in zip((match_ngrams, match_items), rare, strict=True)
    ]
    # A hit is shown by what makes it one: a rare n-gram or an item, else an n-gram of the most repeated paragraph.
    by_best = ["sure", "repeated", "place", "length"]
    matches = (
        pl.concat(found)
        .sort("text", *by_best, descending=[False, True, True, False, False])
        .group_by("text", "list", maintain_order=True)
        .agg(pl.col(by_best).first(), pl.col("num").sum(), most=pl.col("repeated").max())
        .sort("text", *by_best, "list", descending=[False, True, True, False, False, False])
    )
    ends = np.searchsorted(matches["text"].to_numpy(), np.arange(len(batch) + 1))
    columns = Matches(*(matches[name].to_numpy() for name in ("list", "num", "sure", "most")))
    limits = Limits(spec.min_overlap, MAX_NAMED)
    repeats = find_repeats(ends, columns, needles.owners, needles.num_ngrams, limits, rows, tally)
    return _verify(batch, words, matches, repeats, needles, tally)


def _verify(
    batch: pl.DataFrame, words: TextNgrams, matches: pl.DataFrame, repeats: Repeats, needles: Needles, tally: Tally
) -> pl.DataFrame:
    """Keep the hits whose n-gram is the evaluation document's, word by word; the others are taken out of the tally."""
    pairs = matches[repeats.match].select(
        "text", "place", "length", document=pl.Series(repeats.document), overlap=pl.Series(repeats.overlap)
    )
    written, where = {}, {}
    for text, place, length in pairs.select("text", "place", "length").unique().iter_rows():
        content = batch["text"][text]
        where.setdefault(text, spans(content))
        first = place - int(words.offsets[text])
        shown = where[text][first : first + length]
        written[place, length] = " ".join(content[shown[0][0] : shown[-1][1]].split())
    expected = {key: " ".join(segment(fold(ngram))) for key, ngram in written.items()}
    same = np.zeros(len(pairs), np.bool_)
    for (document,), group in pairs.with_row_index().group_by("document"):
        content = " ".join(segment(fold(needles.documents["text"][document])))
        same[group["index"]] = [
            f" {expected[key]} " in f" {content} " for key in group.select("place", "length").rows()
        ]
    np.subtract.at(tally.num_documents, repeats.document[~same], 1)
    np.subtract.at(repeats.totals, repeats.text[~same], 1)
    pairs = pairs.filter(pl.Series(same)).sort("text", "place", "document")
    evaluation = needles.documents.select(evaluation_document_id="document_id", evaluation_corpus="corpus")
    return evaluation[pairs["document"]].with_columns(
        pairs["text"],
        document_id=batch["document_id"].gather(pairs["text"]),
        ngram=pl.Series([written[key] for key in pairs.select("place", "length").rows()], dtype=pl.String),
        overlap=pairs["overlap"].cast(pl.Float32),
        num_evaluation_documents=pl.Series(repeats.totals[pairs["text"]]),
    )
