"""Long lists of owners that texts have in common, so that no text has to look at each of their documents.

A licence stands in 50,000 evaluation documents, and in many training texts. The documents of the long lists that a text
has fall into *cells*: those of a cell are in the same of these lists. So the text repeats equally many n-grams of each
of them, the same fraction of a paragraph, and the same match shows it. Only how many n-grams a document has itself
differs, and the overlap falls with it: a text's hits in a cell are the first documents in that order.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray

MIN_LENGTH = 256
"""Documents of a list that is long."""
MIN_TEXTS = 8
"""Texts with the same long lists for which cells are made."""
_MAX_LISTS = 62  # bits of a mask
_MIN_DOCUMENTS = 16  # of a cell, on average: fewer are looked at one by one
_MAX_DOCUMENTS = 1 << 20  # of all cells: each takes 40 bytes


@dataclass(frozen=True)
class Cells:
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
    """

    of_text: NDArray[np.int32]
    lists: NDArray[np.int32]
    list_begins: NDArray[np.int64]
    begins: NDArray[np.int64]
    masks: NDArray[np.int64]
    offsets: NDArray[np.int64]
    documents: NDArray[np.int32]
    ascending: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        ends: NDArray[np.int64],
        lists: NDArray[np.int32],
        owners: tuple[NDArray[np.int64], NDArray[np.int32]],
        num_ngrams: NDArray[np.int64],
        min_length: int = MIN_LENGTH,
        min_texts: int = MIN_TEXTS,
    ) -> Self:
        """The combinations that at least `min_texts` texts have; arguments as of `find_repeats`."""
        lengths = np.diff(owners[0])
        texts: dict[bytes, list[int]] = {}
        for text, (begin, end) in enumerate(pairwise(ends.tolist())):
            own = lists[begin:end]
            own = np.sort(own[lengths[own] >= min_length])
            if 0 < len(own) <= _MAX_LISTS:
                texts.setdefault(own.astype(np.int32).tobytes(), []).append(text)
        of_text = np.full(len(ends) - 1, -1, np.int32)
        found: list[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]] = []
        num = 0
        for key, own in sorted(texts.items(), key=lambda item: -len(item[1])):
            combination = np.frombuffer(key, np.int32)
            num += int(lengths[combination].sum())
            if len(own) < min_texts or num > _MAX_DOCUMENTS:
                break
            masks, documents, ascending = _sorted_by_cell(combination, owners, num_ngrams)
            num_cells = 1 + np.count_nonzero(masks[1:] != masks[:-1])
            if num_cells * _MIN_DOCUMENTS <= max(len(documents), _MIN_DOCUMENTS):
                of_text[own] = len(found)
                found.append((combination, masks, documents, ascending))
        return cls._joined(of_text, found)

    @classmethod
    def _joined(
        cls,
        of_text: NDArray[np.int32],
        found: list[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]],
    ) -> Self:
        none = np.zeros(0, np.int32)
        begins, masks, offsets, num = [0], [np.zeros(0, np.int64)], [np.zeros(1, np.int64)], 0
        for _, own, documents, _ in found:
            first = np.flatnonzero(np.concatenate([[True], own[1:] != own[:-1]]))
            masks.append(own[first])
            offsets.append(num + np.append(first[1:], len(documents)))
            begins.append(begins[-1] + len(first))
            num += len(documents)
        return cls(
            of_text=of_text,
            lists=np.concatenate([none, *(lists for lists, *_ in found)]),
            list_begins=np.cumsum([0, *(len(lists) for lists, *_ in found)]),
            begins=np.array(begins, np.int64),
            masks=np.concatenate(masks),
            offsets=np.concatenate(offsets),
            documents=np.concatenate([none, *(documents for *_, documents, _ in found)]),
            ascending=np.concatenate([none, *(ascending for *_, ascending in found)]),
        )


def _sorted_by_cell(
    lists: NDArray[np.int32], owners: tuple[NDArray[np.int64], NDArray[np.int32]], num_ngrams: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Masks of all documents of these lists, ascending, and the documents in the two orders of `Cells`."""
    offsets, documents = owners
    held = [documents[offsets[number] : offsets[number + 1]] for number in lists]
    bits = np.repeat(np.int64(1) << np.arange(len(lists)), [len(own) for own in held])
    distinct, places = np.unique(np.concatenate(held), return_inverse=True)
    masks = np.zeros(len(distinct), np.int64)
    np.bitwise_or.at(masks, places, bits)
    order = np.lexsort((distinct, num_ngrams[distinct], masks))
    return masks[order], distinct[order], distinct[np.lexsort((distinct, masks))]


@numba.njit(cache=True)
def rank_of(number, lists):
    """The place of a list among ascending ones, -1 where it is none of them."""
    at = np.searchsorted(lists, number)
    return at if at < len(lists) and lists[at] == number else -1


@numba.njit(cache=True)
def num_hits(documents, num_ngrams, count, min_overlap):
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
    """Add hits to the columns of a `Tally`: what is said of a place in a cell is true of it and all before it."""
    offsets, documents = cells
    times, first_rows, fractions, counts = hits
    num_documents, first, max_overlap = tally
    for cell in range(len(offsets) - 1):
        num, row, fraction, count = 0, -1, 0.0, 0
        for place in range(offsets[cell + 1] - 1, offsets[cell] - 1, -1):
            if times[place]:
                num += times[place]
                row = first_rows[place] if row < 0 else min(row, first_rows[place])
                fraction, count = max(fraction, fractions[place]), max(count, counts[place])
            if num:
                document = documents[place]
                num_documents[document] += num
                first[document] = row if first[document] < 0 else min(first[document], row)
                overlap = max(fraction, count / max(1, num_ngrams[document]))
                max_overlap[document] = max(max_overlap[document], overlap)
