"""Which evaluation documents a training document repeats.

A training document looks at a list of owners once, however many of its n-grams have it; at long lists that many
training documents have, all of these together look once (`owner_cells.py`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.corpus.contamination.owner_cells import Cells, Hits, Tally, count_hits, rank_of, spread
from lm_pipeline.corpus.contamination.owners import Owners


class Matches(NamedTuple):
    """M matches of texts with lists of owners. No list twice a text.

    Attributes:
        list: the list of owners.
        num: how many distinct n-grams of the text have it.
        is_hit: whether one of them is a hit by itself.
        fraction: the largest fraction of a paragraph that they belong to.
    """

    list: NDArray[np.int32]
    num: NDArray[np.int64]
    is_hit: NDArray[np.bool_]
    fraction: NDArray[np.float64]


class Limits(NamedTuple):
    """What counts as a repeat, and how many are named.

    Attributes:
        min_overlap: from which fraction of an evaluation document or paragraph on it is a hit.
        most_named: pairs of a text at most; those with the largest overlap, of these those that share most n-grams.
    """

    min_overlap: float
    most_named: int


class _Sums(NamedTuple):
    """What a text repeats of each document, or of each in a cell: the best match or -1, n-grams, largest fraction."""

    best: NDArray[np.int64]
    num: NDArray[np.int64]
    most: NDArray[np.float64]


@dataclass(frozen=True)
class Repeats:
    """P pairs of a training and an evaluation document, by training document, the most repeated first."""

    text: NDArray[np.int64]
    document: NDArray[np.int32]
    match: NDArray[np.int64]  # which match shows it
    overlap: NDArray[np.float64]
    totals: NDArray[np.int64]  # by training document: how many it repeats, also of those that are not among the pairs


def find_repeats(
    ends: NDArray[np.int64],
    matches: Matches,
    owners: Owners,
    num_ngrams: NDArray[np.int64],
    limits: Limits,
    rows: NDArray[np.int64],
    tally: Tally,
    cells: Cells | None = None,
) -> Repeats:
    """Which evaluation documents each of N training documents repeats.

    Args:
        ends: the matches of text i are `ends[i]` to `ends[i + 1]`, the best one first, and first of all those
            that are hits by themselves (N + 1).
        matches: of all texts.
        owners: the lists.
        num_ngrams: distinct n-grams by evaluation document (E).
        limits: what counts.
        rows: by text its row, ascending.
        tally: what is added to.
        cells: of these matches; they spare time and change nothing.
    """
    cells = cells or Cells.of(ends, matches.list, owners, num_ngrams)
    hits = Hits.of(len(cells.documents))
    found = _find_repeats(ends, matches, owners, num_ngrams, limits, rows, tally, cells, hits)
    spread(cells, num_ngrams, hits, tally)
    return Repeats(*found)


@numba.njit(cache=True)
def _find_repeats(ends, matches, owners, num_ngrams, limits, rows, tally, cells, hits):
    """The columns of `Repeats`; `hits` receives what `spread` has to add to the tally."""
    num_texts = len(ends) - 1
    sums = _no_sums(len(num_ngrams))
    touched = np.empty(len(num_ngrams), np.int32)
    texts = np.empty(num_texts * limits.most_named, np.int64)
    of, shown = np.empty(len(texts), np.int32), np.empty(len(texts), np.int64)
    overlaps, totals = np.empty(len(texts)), np.zeros(num_texts, np.int64)
    num = 0
    for text in range(num_texts):
        own, combination = range(ends[text], ends[text + 1]), cells.of_text[text]
        of_cell = _sum_up_cells(own, matches, combination, cells)
        num_touched = _sum_up(own, matches, combination, cells, owners, sums, touched)
        num_found = 0
        for document in touched[:num_touched]:
            is_counted = _add_its_cell(document, combination, cells, of_cell, matches, num_ngrams, limits, sums)
            overlap = max(sums.most[document], sums.num[document] / max(1, num_ngrams[document]))
            if matches.is_hit[sums.best[document]] or overlap >= limits.min_overlap:
                sums.most[document] = overlap
                touched[num_found] = document
                num_found += 1
                totals[text] += not is_counted
                tally.num_documents[document] += not is_counted
                tally.max_overlap[document] = max(tally.max_overlap[document], overlap)
                if tally.first[document] < 0:
                    tally.first[document] = rows[text]
            else:
                _forget(document, sums)
        totals[text] += _hit_cells(combination, cells, of_cell, matches, num_ngrams, limits, rows[text], hits)
        num_found = _add_candidates(num_found, combination, cells, of_cell, matches, num_ngrams, limits, sums, touched)
        for document in _most_repeated(touched[:num_found], sums, limits.most_named):
            texts[num], of[num] = text, document
            shown[num], overlaps[num] = sums.best[document], sums.most[document]
            num += 1
        for document in touched[:num_found]:
            _forget(document, sums)
    return texts[:num].copy(), of[:num].copy(), shown[:num].copy(), overlaps[:num].copy(), totals


@numba.njit(cache=True)
def _no_sums(num):
    return _Sums(np.full(num, -1), np.zeros(num, np.int64), np.zeros(num))


@numba.njit(cache=True)
def _forget(document, sums):
    sums.best[document], sums.num[document], sums.most[document] = -1, 0, 0.0


@numba.njit(cache=True)
def _lists_of(combination, cells):
    if combination < 0:
        return cells.lists[:0]
    return cells.lists[cells.list_begins[combination] : cells.list_begins[combination + 1]]


@numba.njit(cache=True)
def _sum_up(own, matches, combination, cells, owners, sums, touched):
    """By document of the lists that are in no cell: the best match, n-grams and fraction; and how many they are."""
    long = _lists_of(combination, cells)
    num = 0
    for match in own:
        number = matches.list[match]
        if rank_of(number, long) >= 0:
            continue
        for document in owners.documents[owners.offsets[number] : owners.offsets[number + 1]]:
            if sums.best[document] < 0:
                sums.best[document] = match
                touched[num] = document
                num += 1
            sums.num[document] += matches.num[match]
            sums.most[document] = max(sums.most[document], matches.fraction[match])
    return num


@numba.njit(cache=True)
def _sum_up_cells(own, matches, combination, cells):
    """The same by cell of the combination."""
    if combination < 0:
        return _no_sums(0)
    long, begin = _lists_of(combination, cells), cells.begins[combination]
    sums = _no_sums(cells.begins[combination + 1] - begin)
    for match in own:
        rank = rank_of(matches.list[match], long)
        for cell in range(len(sums.best) if rank >= 0 else 0):
            if cells.masks[begin + cell] >> rank & 1:
                sums.best[cell] = match if sums.best[cell] < 0 else sums.best[cell]
                sums.num[cell] += matches.num[match]
                sums.most[cell] = max(sums.most[cell], matches.fraction[match])
    return sums


@numba.njit(cache=True)
def _add_its_cell(document, combination, cells, of_cell, matches, num_ngrams, limits, sums):
    """Add what is said of a document's cell to the document; whether that alone makes it a hit."""
    if combination < 0:
        return False
    begin, end = cells.offsets[cells.begins[combination]], cells.offsets[cells.begins[combination + 1]]
    rank = rank_of(document, cells.distinct[begin:end])
    if rank < 0:
        return False
    cell = cells.cell_of[begin + rank]
    sums.best[document] = min(sums.best[document], of_cell.best[cell])
    sums.num[document] += of_cell.num[cell]
    sums.most[document] = max(sums.most[document], of_cell.most[cell])
    overlap = max(of_cell.most[cell], of_cell.num[cell] / max(1, num_ngrams[document]))
    return matches.is_hit[of_cell.best[cell]] or overlap >= limits.min_overlap


@numba.njit(cache=True)
def _hits_of(cell, own, of_cell, matches, num_ngrams, limits):
    """How many of a cell's documents `own` are hits."""
    if matches.is_hit[of_cell.best[cell]] or of_cell.most[cell] >= limits.min_overlap:
        return len(own)
    return count_hits(own, num_ngrams, of_cell.num[cell], limits.min_overlap)


@numba.njit(cache=True)
def _hit_cells(combination, cells, of_cell, matches, num_ngrams, limits, row, hits):
    """Note where the hits of each cell end, and how many there are."""
    total = 0
    for cell in range(len(of_cell.best)):
        begin, end = _span(combination, cell, cells)
        num = _hits_of(cell, cells.documents[begin:end], of_cell, matches, num_ngrams, limits)
        if num:
            place = begin + num - 1
            hits.times[place] += 1
            hits.first[place] = row if hits.first[place] < 0 else hits.first[place]
            hits.fraction[place] = max(hits.fraction[place], of_cell.most[cell])
            hits.num[place] = max(hits.num[place], of_cell.num[cell])
            total += num
    return total


@numba.njit(cache=True)
def _span(combination, cell, cells):
    number = cells.begins[combination] + cell
    return cells.offsets[number], cells.offsets[number + 1]


@numba.njit(cache=True)
def _add_candidates(num, combination, cells, of_cell, matches, num_ngrams, limits, sums, touched):
    """Append those hits of each cell that may be among the most repeated to the documents that are looked at."""
    for cell in range(len(of_cell.best)):
        begin, end = _span(combination, cell, cells)
        fewest_first, ascending = cells.documents[begin:end], cells.ascending[begin:end]
        num_hits = _hits_of(cell, fewest_first, of_cell, matches, num_ngrams, limits)
        left = limits.most_named
        # First those of which a larger part is repeated than of the paragraph, then the others, all of them alike.
        for is_first, some in ((True, fewest_first[:num_hits]), (False, ascending)):
            if not is_first and num_hits < len(some):
                break
            for document in some:
                part = of_cell.num[cell] / max(1, num_ngrams[document])
                if left == 0 or (is_first and part <= of_cell.most[cell]):
                    break
                if sums.best[document] < 0 and is_first == (part > of_cell.most[cell]):
                    sums.best[document], sums.num[document] = of_cell.best[cell], of_cell.num[cell]
                    sums.most[document] = max(part, of_cell.most[cell])
                    touched[num] = document
                    num, left = num + 1, left - 1
    return num


@numba.njit(cache=True)
def _most_repeated(documents, sums, most):
    """The `most` documents with the largest overlap, then the largest count, then the smallest number; in this order.

    Each is put in its place among those so far: of tens of thousands that share a licence, nearly all stay outside.
    """
    found = np.empty(min(most, len(documents)), np.int32)
    num = 0
    for document in documents:
        at = num
        while at > 0:
            other = found[at - 1]
            if sums.most[document] != sums.most[other]:
                is_before = sums.most[document] > sums.most[other]
            elif sums.num[document] != sums.num[other]:
                is_before = sums.num[document] > sums.num[other]
            else:
                is_before = document < other
            if not is_before:
                break
            if at < len(found):
                found[at] = other
            at -= 1
        if at < len(found):
            found[at] = document
            num = min(num + 1, len(found))
    return found
