"""Which evaluation documents have an n-gram, and which of them a training document repeats.

An n-gram of a licence stands in thousands of documents, and those beside it stand in the same ones. Each distinct list
of documents is stored once, and a training document looks at a list once, however many of its n-grams have it.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_32 = np.uint64(32)


@dataclass(frozen=True)
class Owners:
    """L distinct lists of documents, ascending: list i is `documents[offsets[i]:offsets[i + 1]]`."""

    offsets: NDArray[np.int64]
    documents: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def followed_by(self, other: "Owners") -> "Owners":
        """These lists and then those of another."""
        offsets = np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]])
        return Owners(offsets, np.concatenate([self.documents, other.documents]))


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


def owners_of(
    keys: NDArray[np.uint64], documents: NDArray[np.int32]
) -> tuple[NDArray[np.uint64], NDArray[np.int32], Owners]:
    """Who has each key.

    Args:
        keys: of N pairs, each of which occurs once.
        documents: of the same pairs; those of one key ascend.

    Returns:
        The K distinct keys, ascending; the number of each one's list; and the lists.

    >>> distinct, lists, owners = owners_of(np.array([5, 7, 5, 9, 7], np.uint64), np.array([0, 0, 1, 1, 1], np.int32))
    >>> distinct.tolist(), lists.tolist()
    ([5, 7, 9], [1, 1, 0])
    >>> owners.offsets.tolist(), owners.documents.tolist()
    ([0, 1, 3], [1, 0, 1])
    """
    order = np.argsort(keys, kind="stable")
    keys, documents = keys[order], documents[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    ends = np.append(begins, len(keys))
    marks = _marks(ends, documents)
    lists, chosen = _number_lists(np.argsort(marks, kind="stable"), marks, ends, documents)
    lengths = np.diff(ends)[chosen]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(offsets[-1]) + np.repeat(ends[chosen] - offsets[:-1], lengths)
    return keys[begins], lists, Owners(offsets, documents[places])


@numba.njit(cache=True)
def _marks(ends, documents):
    """A hash of every list."""
    marks = np.empty(len(ends) - 1, np.uint64)
    for at in range(len(marks)):
        state = np.uint64(ends[at + 1] - ends[at])
        for place in range(ends[at], ends[at + 1]):
            state = (state ^ np.uint64(documents[place])) * _MIX
            state ^= state >> _SHIFT_32
        marks[at] = state
    return marks


@numba.njit(cache=True)
def _number_lists(order, marks, ends, documents):
    """The number of every list, equal ones having the same, and by number the first place where it stands."""
    numbers = np.empty(len(marks), np.int32)
    chosen = np.empty(len(marks), np.int64)
    num = 0
    for at in order:
        same = num > 0 and marks[chosen[num - 1]] == marks[at]
        if same:
            before = chosen[num - 1]
            length = ends[at + 1] - ends[at]
            same = ends[before + 1] - ends[before] == length
            for step in range(length if same else 0):
                if documents[ends[before] + step] != documents[ends[at] + step]:
                    same = False
                    break
        if not same:
            chosen[num] = at
            num += 1
        numbers[at] = num - 1
    return numbers, chosen[:num].copy()


@numba.njit(cache=True)
def find_repeats(ends, matches, owners, num_ngrams, min_overlap, most_named, rows, tally):
    """Which evaluation documents each of N training documents repeats.

    Args:
        ends: the matches of text i are `ends[i]` to `ends[i + 1]`, the best one first (N + 1).
        matches: of M matches: the list of owners, how many distinct n-grams of the text have it, whether one of them
            is a hit by itself, and the largest fraction of a paragraph that they belong to.
        owners: offsets and documents of the lists.
        num_ngrams: distinct n-grams by evaluation document (E).
        min_overlap: from which fraction of an evaluation document or paragraph on it is a hit.
        most_named: pairs of a text at most; those with the largest overlap, of these those that share most n-grams.
        rows: by text its row.
        tally: the three columns of a `Tally`, which are added to.

    Returns:
        The five columns of `Repeats`.
    """
    lists, nums, sure, fractions = matches
    offsets, documents = owners
    num_documents, first, max_overlap = tally
    num_texts = len(ends) - 1
    best, count, most = np.full(len(num_ngrams), -1), np.zeros(len(num_ngrams), np.int64), np.zeros(len(num_ngrams))
    touched = np.empty(len(num_ngrams), np.int32)
    texts = np.empty(num_texts * most_named, np.int64)
    of, shown = np.empty(len(texts), np.int32), np.empty(len(texts), np.int64)
    overlaps, totals = np.empty(len(texts)), np.zeros(num_texts, np.int64)
    num = 0
    for text in range(num_texts):
        num_touched = 0
        for match in range(ends[text], ends[text + 1]):
            for place in range(offsets[lists[match]], offsets[lists[match] + 1]):
                document = documents[place]
                if best[document] < 0:
                    best[document] = match
                    touched[num_touched] = document
                    num_touched += 1
                count[document] += nums[match]
                most[document] = max(most[document], fractions[match])
        num_hits = 0
        for document in touched[:num_touched]:
            overlap = max(most[document], count[document] / max(1, num_ngrams[document]))
            if sure[best[document]] or overlap >= min_overlap:
                most[document] = overlap
                touched[num_hits] = document
                num_hits += 1
                num_documents[document] += 1
                max_overlap[document] = max(max_overlap[document], overlap)
                if first[document] < 0:
                    first[document] = rows[text]
            else:
                best[document], count[document], most[document] = -1, 0, 0.0
        totals[text] = num_hits
        hits = touched[:num_hits]
        for document in _most_repeated(hits, most, count, most_named):
            texts[num], of[num], shown[num], overlaps[num] = text, document, best[document], most[document]
            num += 1
        for document in hits:
            best[document], count[document], most[document] = -1, 0, 0.0
    return texts[:num].copy(), of[:num].copy(), shown[:num].copy(), overlaps[:num].copy(), totals


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
