"""Which evaluation documents a training document repeats.

A training document looks at a list of owners once, however many of its n-grams have it; at long lists that many
training documents have, all of these together look once (`owner_cells.py`).
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.corpus.owner_cells import Cells, num_hits, rank_of, spread


@dataclass(frozen=True)
class Repeats:
    """P pairs of a training and an evaluation document, by training document, the most repeated first."""

    text: NDArray[np.int64]
    document: NDArray[np.int32]
    match: NDArray[np.int64]  # which match shows it
    overlap: NDArray[np.float64]
    totals: NDArray[np.int64]  # by training document: how many it repeats, also of those that are not among the pairs


@dataclass(frozen=True)
class Tally:
    """By evaluation document (E): how many training documents repeat it, the first one's row or -1, largest overlap."""

    num_documents: NDArray[np.int64]
    first: NDArray[np.int64]
    max_overlap: NDArray[np.float64]

    @classmethod
    def of(cls, num: int) -> "Tally":
        """Nothing is repeated yet."""
        return cls(np.zeros(num, np.int64), np.full(num, -1, np.int64), np.zeros(num, np.float64))


def find_repeats(
    ends: NDArray[np.int64],
    matches: tuple[NDArray[Any], ...],
    owners: tuple[NDArray[np.int64], NDArray[np.int32]],
    num_ngrams: NDArray[np.int64],
    min_overlap: float,
    most_named: int,
    rows: NDArray[np.int64],
    tally: Tally,
    cells: Cells | None = None,
) -> Repeats:
    """Which evaluation documents each of N training documents repeats.

    Args:
        ends: the matches of text i are `ends[i]` to `ends[i + 1]`, the best one first, and first of all those
            that are hits by themselves (N + 1).
        matches: of M matches: the list of owners, how many distinct n-grams of the text have it, whether one of them
            is a hit by itself, and the largest fraction of a paragraph that they belong to. No list twice a text.
        owners: offsets and documents of the lists.
        num_ngrams: distinct n-grams by evaluation document (E).
        min_overlap: from which fraction of an evaluation document or paragraph on it is a hit.
        most_named: pairs of a text at most; those with the largest overlap, of these those that share most n-grams.
        rows: by text its row, ascending.
        tally: what is added to.
        cells: of these matches; they spare time and change nothing.
    """
    cells = cells or Cells.of(ends, matches[0], owners, num_ngrams)
    num = len(cells.documents)
    hits = np.zeros(num, np.int64), np.full(num, -1), np.zeros(num), np.zeros(num, np.int64)
    columns = tally.num_documents, tally.first, tally.max_overlap
    by_combination = cells.of_text, cells.lists, cells.list_begins, cells.begins
    by_cell = cells.masks, cells.offsets, cells.documents, cells.ascending
    limits = min_overlap, most_named
    found = _find_repeats(ends, matches, owners, num_ngrams, limits, rows, columns, by_combination, by_cell, hits)
    spread((cells.offsets, cells.documents), num_ngrams, hits, columns)
    return Repeats(*found)


@numba.njit(cache=True)
def _find_repeats(ends, matches, owners, num_ngrams, limits, rows, tally, by_combination, by_cell, hits):
    """The columns of `Repeats`; `hits` receives what `spread` has to add to the tally."""
    min_overlap, most_named = limits
    num_documents, first, max_overlap = tally
    of_text, _, _, begins = by_combination
    num_texts = len(ends) - 1
    best, count, most = np.full(len(num_ngrams), -1), np.zeros(len(num_ngrams), np.int64), np.zeros(len(num_ngrams))
    counted = np.zeros(len(num_ngrams), np.bool_)
    touched = np.empty(len(num_ngrams), np.int32)
    of_document = best, count, most, touched
    texts = np.empty(num_texts * most_named, np.int64)
    of, shown = np.empty(len(texts), np.int32), np.empty(len(texts), np.int64)
    overlaps, totals = np.empty(len(texts)), np.zeros(num_texts, np.int64)
    num = 0
    for text in range(num_texts):
        own = range(ends[text], ends[text + 1])
        of_cell = _sum_up_cells(own, matches, of_text[text], by_combination, by_cell)
        num_touched = _sum_up(own, matches, of_text[text], by_combination, owners, of_document)
        cell = begins[max(0, of_text[text])]
        num_hits = 0
        for document in touched[:num_touched]:
            counted[document] = _add_its_cell(
                document, cell, of_cell, matches, by_cell, num_ngrams, min_overlap, of_document
            )
            overlap = max(most[document], count[document] / max(1, num_ngrams[document]))
            if matches[2][best[document]] or overlap >= min_overlap:
                most[document] = overlap
                touched[num_hits] = document
                num_hits += 1
                max_overlap[document] = max(max_overlap[document], overlap)
                totals[text] += not counted[document]
                num_documents[document] += not counted[document]
                if first[document] < 0:
                    first[document] = rows[text]
            else:
                best[document], count[document], most[document] = -1, 0, 0.0
        totals[text] += _hit_cells(cell, of_cell, matches, by_cell, num_ngrams, limits, rows[text], hits)
        num_hits = _add_candidates(num_hits, cell, of_cell, matches, by_cell, num_ngrams, limits, of_document)
        for document in _most_repeated(touched[:num_hits], most, count, most_named):
            texts[num], of[num], shown[num], overlaps[num] = text, document, best[document], most[document]
            num += 1
        for document in touched[:num_hits]:
            best[document], count[document], most[document] = -1, 0, 0.0
    return texts[:num].copy(), of[:num].copy(), shown[:num].copy(), overlaps[:num].copy(), totals


@numba.njit(cache=True)
def _lists_of(combination, by_combination):
    _, lists, list_begins, _ = by_combination
    return lists[list_begins[combination] : list_begins[combination + 1]] if combination >= 0 else lists[:0]


@numba.njit(cache=True)
def _sum_up(own, matches, combination, by_combination, owners, of_document):
    """By document of the lists that are in no cell: the best match, n-grams and fraction; and how many they are."""
    lists, nums, _, fractions = matches
    offsets, documents = owners
    best, count, most, touched = of_document
    long = _lists_of(combination, by_combination)
    num = 0
    for match in own:
        if rank_of(lists[match], long) >= 0:
            continue
        for place in range(offsets[lists[match]], offsets[lists[match] + 1]):
            document = documents[place]
            if best[document] < 0:
                best[document] = match
                touched[num] = document
                num += 1
            count[document] += nums[match]
            most[document] = max(most[document], fractions[match])
    return num


@numba.njit(cache=True)
def _sum_up_cells(own, matches, combination, by_combination, by_cell):
    """The same by cell of the combination."""
    lists, nums, _, fractions = matches
    begins, masks = by_combination[3], by_cell[0]
    long = _lists_of(combination, by_combination)
    begin, num = (begins[combination], begins[combination + 1] - begins[combination]) if combination >= 0 else (0, 0)
    best, count, most = np.full(num, -1), np.zeros(num, np.int64), np.zeros(num)
    for match in own:
        rank = rank_of(lists[match], long)
        for cell in range(num if rank >= 0 else 0):
            if masks[begin + cell] >> rank & 1:
                best[cell] = match if best[cell] < 0 else best[cell]
                count[cell] += nums[match]
                most[cell] = max(most[cell], fractions[match])
    return best, count, most


@numba.njit(cache=True)
def _add_its_cell(document, begin, of_cell, matches, by_cell, num_ngrams, min_overlap, of_document):
    """Add what is said of a document's cell to the document; whether that alone makes it a hit."""
    cell_best, cell_count, cell_most = of_cell
    _, offsets, _, ascending = by_cell
    best, count, most, _ = of_document
    for cell in range(len(cell_best)):
        if rank_of(document, ascending[offsets[begin + cell] : offsets[begin + cell + 1]]) >= 0:
            best[document] = min(best[document], cell_best[cell])
            count[document] += cell_count[cell]
            most[document] = max(most[document], cell_most[cell])
            overlap = max(cell_most[cell], cell_count[cell] / max(1, num_ngrams[document]))
            return matches[2][cell_best[cell]] or overlap >= min_overlap
    return False


@numba.njit(cache=True)
def _num_hits(cell, begin, of_cell, matches, by_cell, num_ngrams, min_overlap):
    best, count, most = of_cell
    _, offsets, documents, _ = by_cell
    own = documents[offsets[begin + cell] : offsets[begin + cell + 1]]
    if matches[2][best[cell]] or most[cell] >= min_overlap:
        return len(own)
    return num_hits(own, num_ngrams, count[cell], min_overlap)


@numba.njit(cache=True)
def _hit_cells(begin, of_cell, matches, by_cell, num_ngrams, limits, row, hits):
    """Note where the hits of each cell end, and how many there are."""
    _, count, most = of_cell
    times, first_rows, fractions, counts = hits
    total = 0
    for cell in range(len(count)):
        num = _num_hits(cell, begin, of_cell, matches, by_cell, num_ngrams, limits[0])
        if num:
            place = by_cell[1][begin + cell] + num - 1
            times[place] += 1
            first_rows[place] = row if first_rows[place] < 0 else first_rows[place]
            fractions[place] = max(fractions[place], most[cell])
            counts[place] = max(counts[place], count[cell])
            total += num
    return total


@numba.njit(cache=True)
def _add_candidates(num, begin, of_cell, matches, by_cell, num_ngrams, limits, of_document):
    """Append those hits of each cell that may be among the most repeated to the documents that are looked at."""
    min_overlap, most_named = limits
    cell_best, cell_count, cell_most = of_cell
    _, offsets, documents, ascending = by_cell
    best, count, most, touched = of_document
    for cell in range(len(cell_best)):
        own = slice(offsets[begin + cell], offsets[begin + cell + 1])
        hits = _num_hits(cell, begin, of_cell, matches, by_cell, num_ngrams, min_overlap)
        left = most_named
        # First those of which a larger part is repeated than of the paragraph, then the others, all of them alike.
        for is_first, some in ((True, documents[own][:hits]), (False, ascending[own])):
            if not is_first and hits < len(some):
                break
            for document in some:
                part = cell_count[cell] / max(1, num_ngrams[document])
                if left == 0 or (is_first and part <= cell_most[cell]):
                    break
                if best[document] < 0 and is_first == (part > cell_most[cell]):
                    best[document], count[document] = cell_best[cell], cell_count[cell]
                    most[document] = max(part, cell_most[cell])
                    touched[num] = document
                    num, left = num + 1, left - 1
    return num


@numba.njit(cache=True)
def _most_repeated(documents, overlaps, counts, most):
    """The `most` documents with the largest overlap, then the largest count, then the smallest number; in this order.

    Each is put in its place among those so far: of tens of thousands that share a licence, nearly all stay outside.
    """
    found = np.empty(min(most, len(documents)), np.int32)
    num = 0
    for document in documents:
        at = num
        while at > 0:
            other = found[at - 1]
            if overlaps[document] != overlaps[other]:
                is_before = overlaps[document] > overlaps[other]
            elif counts[document] != counts[other]:
                is_before = counts[document] > counts[other]
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
