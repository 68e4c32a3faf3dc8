"""Long lists of owners that texts have in common, so that no text has to look at each of their documents.

A licence stands in 50,000 evaluation documents, and in many training texts. The documents of the long lists that a text
has fall into *cells*: those of a cell are in the same of these lists. So the text repeats equally many n-grams of each
of them, the same fraction of a paragraph, and the same match shows it. Only how many n-grams a document has itself
differs, and the overlap falls with it: a text's hits in a cell are the first documents in that order.
"""

from itertools import pairwise
from typing import NamedTuple, Self

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.corpus.contamination.owners import Owners

MIN_LENGTH = 256
"""Documents of a list that is long."""
MIN_TEXTS = 8
"""Texts with the same long lists for which cells are made."""
_MAX_LISTS = 62  # bits of a mask
_MIN_DOCUMENTS = 16  # of a cell, on average: fewer are looked at one by one
_MAX_DOCUMENTS = 1 << 20  # of all cells: each takes 48 bytes
_MAX_ENTRIES = 1 << 25  # of the lists of all combinations that are looked at: some 0.1 s


class Tally(NamedTuple):
    """By evaluation document (E): how many training documents repeat it, the first one's row or -1, largest overlap."""

    num_documents: NDArray[np.int64]
    first: NDArray[np.int64]
    max_overlap: NDArray[np.float64]

    @classmethod
    def of(cls, num: int) -> "Tally":
        """Nothing is repeated yet."""
        return cls(np.zeros(num, np.int64), np.full(num, -1, np.int64), np.zeros(num, np.float64))


class Hits(NamedTuple):
    """What is true of a document in a cell and of all before it there (D each).

    Attributes:
        times: how many texts repeat it.
        first: the first one's row, or -1.
        fraction: the largest of a paragraph.
        num: the largest number of n-grams.
    """

    times: NDArray[np.int64]
    first: NDArray[np.int64]
    fraction: NDArray[np.float64]
    num: NDArray[np.int64]

    @classmethod
    def of(cls, num: int) -> "Hits":
        """There are none yet."""
        return cls(np.zeros(num, np.int64), np.full(num, -1), np.zeros(num), np.zeros(num, np.int64))


class _Combination(NamedTuple):
    """Long lists that several texts have, and their documents, in the orders of `Cells`."""

    lists: NDArray[np.int32]
    masks: NDArray[np.int64]  # of `documents`
    documents: NDArray[np.int32]
    ascending: NDArray[np.int32]
    distinct: NDArray[np.int32]
    cell_of: NDArray[np.int32]


class Cells(NamedTuple):
    """X combinations of long lists, and their C cells with D documents.

    Attributes:
        of_text: by text the number of its combination, -1 where it has none that several have.
        lists: of combination x: `lists[list_begins[x]:list_begins[x + 1]]`, ascending.
        list_begins: X + 1.
        begins: the cells of combination x: `begins[x]` to `begins[x + 1]` (X + 1).
        masks: by cell, which of the combination's lists its documents are in, a bit each.
        offsets: the documents of cell c: `offsets[c]` to `offsets[c + 1]` (C + 1).
        documents: those with the fewest n-grams first, then the smallest (D).
        ascending: the same documents of each cell, the smallest first (D).
        distinct: the same documents of each combination, the smallest first (D).
        cell_of: which of the combination's cells each of `distinct` is in (D).
    """

    of_text: NDArray[np.int32]
    lists: NDArray[np.int32]
    list_begins: NDArray[np.int64]
    begins: NDArray[np.int64]
    masks: NDArray[np.int64]
    offsets: NDArray[np.int64]
    documents: NDArray[np.int32]
    ascending: NDArray[np.int32]
    distinct: NDArray[np.int32]
    cell_of: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        ends: NDArray[np.int64],
        lists: NDArray[np.int32],
        owners: Owners,
        num_ngrams: NDArray[np.int64],
        min_length: int = MIN_LENGTH,
        min_texts: int = MIN_TEXTS,
    ) -> Self:
        """The combinations that at least `min_texts` texts have; arguments as of `find_repeats`."""
        lengths = np.diff(owners.offsets)
        texts: dict[bytes, list[int]] = {}
        for text, (begin, end) in enumerate(pairwise(ends.tolist())):
            own = lists[begin:end]
            own = np.sort(own[lengths[own] >= min_length])
            if 0 < len(own) <= _MAX_LISTS:
                texts.setdefault(own.astype(np.int32).tobytes(), []).append(text)
        of_text = np.full(len(ends) - 1, -1, np.int32)
        found: list[_Combination] = []
        num_entries = num_documents = 0
        mask_of = np.zeros(len(num_ngrams), np.int64)
        for key, own in sorted(texts.items(), key=lambda item: -len(item[1])):
            if len(own) < min_texts:
                break
            combination = np.frombuffer(key, np.int32)
            more = int(lengths[combination].sum())
            if num_entries + more > _MAX_ENTRIES:
                continue
            num_entries += more
            distinct = _mark(combination, owners, mask_of)
            masks = mask_of[distinct]
            mask_of[distinct] = 0
            if num_documents + len(distinct) <= _MAX_DOCUMENTS and _is_worth_it(masks):
                num_documents += len(distinct)
                of_text[own] = len(found)
                found.append(_divided(combination, distinct, masks, num_ngrams))
        return cls._joined(of_text, found)

    @classmethod
    def _joined(cls, of_text: NDArray[np.int32], found: list[_Combination]) -> Self:
        none = np.zeros(0, np.int32)
        begins, masks, offsets, num = [0], [np.zeros(0, np.int64)], [np.zeros(1, np.int64)], 0
        for own in found:
            first = np.flatnonzero(np.concatenate([[True], own.masks[1:] != own.masks[:-1]]))
            masks.append(own.masks[first])
            offsets.append(num + np.append(first[1:], len(own.documents)))
            begins.append(begins[-1] + len(first))
            num += len(own.documents)
        return cls(
            of_text=of_text,
            lists=np.concatenate([none, *(own.lists for own in found)]),
            list_begins=np.cumsum([0, *(len(own.lists) for own in found)]),
            begins=np.array(begins, np.int64),
            masks=np.concatenate(masks),
            offsets=np.concatenate(offsets),
            documents=np.concatenate([none, *(own.documents for own in found)]),
            ascending=np.concatenate([none, *(own.ascending for own in found)]),
            distinct=np.concatenate([none, *(own.distinct for own in found)]),
            cell_of=np.concatenate([none, *(own.cell_of for own in found)]),
        )


def _is_worth_it(masks: NDArray[np.int64]) -> bool:
    """Whether documents with these masks fall into so few cells that a text looks at less."""
    num_cells = len(np.unique(masks))
    return num_cells == 1 or num_cells * _MIN_DOCUMENTS <= len(masks)


def _divided(
    lists: NDArray[np.int32], distinct: NDArray[np.int32], masks: NDArray[np.int64], num_ngrams: NDArray[np.int64]
) -> _Combination:
    order = np.lexsort((distinct, num_ngrams[distinct], masks))
    by_mask = np.argsort(masks, kind="stable")
    cell_of = np.unique(masks, return_inverse=True)[1].astype(np.int32)
    return _Combination(lists, masks[order], distinct[order], distinct[by_mask], distinct, cell_of)


def _mark(lists: NDArray[np.int32], owners: Owners, mask_of: NDArray[np.int64]) -> NDArray[np.int32]:
    """The documents of lists, ascending; `mask_of`, all 0 before, has a bit for each list of theirs."""
    return np.sort(_mark_each(lists, owners, mask_of))


@numba.njit(cache=True)
def _mark_each(lists, owners, mask_of):
    num = 0
    for number in lists:
        num += owners.offsets[number + 1] - owners.offsets[number]
    found = np.empty(min(num, len(mask_of)), np.int32)
    num = 0
    for bit, number in enumerate(lists):
        for document in owners.documents[owners.offsets[number] : owners.offsets[number + 1]]:
            if mask_of[document] == 0:
                found[num] = document
                num += 1
            mask_of[document] |= 1 << bit
    return found[:num]


@numba.njit(cache=True)
def rank_of(number, numbers):
    """The place of a number among ascending ones, -1 where it is none of them."""
    at = np.searchsorted(numbers, number)
    return at if at < len(numbers) and numbers[at] == number else -1


@numba.njit(cache=True)
def count_hits(documents, num_ngrams, count, min_overlap):
    """Of documents in ascending order of their n-grams, how many have a large enough part of them in `count`."""
    low, high = 0, len(documents)
    while low < high:
        middle = (low + high) // 2
        if count / max(1, num_ngrams[documents[middle]]) >= min_overlap:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True)
def spread(cells, num_ngrams, hits, tally):
    """Add hits to a `Tally`: what is said of a place in a cell is true of it and all before it."""
    for cell in range(len(cells.offsets) - 1):
        num, row, fraction, count = 0, -1, 0.0, 0
        for place in range(cells.offsets[cell + 1] - 1, cells.offsets[cell] - 1, -1):
            if hits.times[place]:
                num += hits.times[place]
                row = hits.first[place] if row < 0 else min(row, hits.first[place])
                fraction, count = max(fraction, hits.fraction[place]), max(count, hits.num[place])
            if num:
                document = cells.documents[place]
                tally.num_documents[document] += num
                first = tally.first[document]
                tally.first[document] = row if first < 0 else min(first, row)
                overlap = max(fraction, count / max(1, num_ngrams[document]))
                tally.max_overlap[document] = max(tally.max_overlap[document], overlap)
