"""How much of a text repeats itself: lines, paragraphs and n-grams of words, by their hashes.

The statistics are those of Gopher (Rae et al. 2021, table A1), counted as `datatrove` does: the characters of the most
frequent n-gram include a space between words; duplicated n-grams are looked for from left to right, and one that was
seen before is jumped over as a whole, so that no character counts twice.

An n-gram's hash is a difference of two values of a polynomial over word hashes, so that all lengths cost the same.
"""

import numba
import numpy as np

from lm_pipeline.corpus.document_tables import DUPLICATE_NGRAMS, TOP_NGRAMS

_FIRST, _LAST_TOP, _LAST = TOP_NGRAMS[0], TOP_NGRAMS[-1], DUPLICATE_NGRAMS[-1]
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)


@numba.njit(cache=True, nogil=True)
def new_table(num_items):
    """A hash table with room for so many items: keys, the generation that wrote each, counts and first positions.

    Entries of other generations count as empty, so that a table serves many texts without being cleared.
    """
    size = 64
    while size < num_items + num_items // 2:
        size *= 2
    return (np.empty(size, np.uint64), np.zeros(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32))


@numba.njit(cache=True, nogil=True)
def _slot(table, mask, generation, key):
    """Where the key is, or where it would go; and whether it is there."""
    keys, generations, _, _ = table
    mixed = (key ^ (key >> _SHIFT)) * _MIX
    at = np.int64((mixed >> _SHIFT) & np.uint64(mask))
    while generations[at] == generation:
        if keys[at] == key:
            return at, True
        at = (at + 1) & mask
    return at, False


@numba.njit(cache=True, nogil=True)
def _mask(table, num_items):
    """The part of the table that is used for so many items: small texts stay in the cache."""
    size = 64
    while size < num_items + num_items // 2:
        size *= 2
    return min(size, len(table[0])) - 1


@numba.njit(cache=True, nogil=True)
def count_duplicates(hashes, lengths, num, table, generation):
    """How many of `num` items occurred before, and their characters."""
    keys, generations, _, _ = table
    mask = _mask(table, num)
    duplicates, characters = 0, 0
    for item in range(num):
        at, found = _slot(table, mask, generation, hashes[item])
        if found:
            duplicates += 1
            characters += lengths[item]
        else:
            keys[at] = hashes[item]
            generations[at] = generation
    return duplicates, characters


@numba.njit(cache=True, nogil=True)
def _top(sums, ends, num, ngram, power, table, generation):
    """How often the most frequent n-gram occurs, and the characters of one occurrence without spaces.

    Of equally frequent ones it is the one that occurs first.
    """
    keys, generations, counts, firsts = table
    mask = _mask(table, num)
    best_count, best_first = 0, 0
    for begin in range(num - ngram + 1):
        key = sums[begin + ngram] - sums[begin] * power
        at, found = _slot(table, mask, generation, key)
        if not found:
            keys[at], generations[at], counts[at], firsts[at] = key, generation, 0, begin
        counts[at] += 1
        if counts[at] > best_count or (counts[at] == best_count and firsts[at] < best_first):
            best_count, best_first = counts[at], firsts[at]
    return best_count, ends[best_first + ngram] - ends[best_first]


@numba.njit(cache=True, nogil=True)
def _duplicated(sums, ends, num, ngram, power, table, generation):
    """The characters of n-grams that occurred before."""
    keys, generations, _, _ = table
    mask = _mask(table, num)
    begin, characters = 0, 0
    while begin + ngram <= num:
        key = sums[begin + ngram] - sums[begin] * power
        at, found = _slot(table, mask, generation, key)
        if found:
            characters += ends[begin + ngram] - ends[begin]
            begin += ngram
        else:
            keys[at] = key
            generations[at] = generation
            begin += 1
    return characters


@numba.njit(cache=True, nogil=True)
def ngram_repetition(sums, ends, num, table, generation, out):
    """Measure the n-grams of one text.

    Args:
        sums: num + 1 values, uint64, of the polynomial over word hashes (see `next_sum`); `sums[0]` = 0.
        ends: where each word ends in the characters of all words written together; `ends[0]` = 0.
        num: number of words.
        table: from `new_table`, with room for `num` items.
        generation: numbers from here on were never used with this table; nine are.
        out: nine numbers: characters of the top n-grams for 2, 3, 4 and in duplicated n-grams for 5 to 10.
    """
    out[:] = 0
    power = np.uint64(1)
    repeats = True  # an n-gram occurs twice; if none does, no longer one can
    for ngram in range(1, min(_LAST, num) + 1):
        power = power * _BASE
        place = ngram - _FIRST
        if place < 0:
            continue
        if ngram <= _LAST_TOP:
            count, characters = 1, ends[ngram]
            if repeats:
                count, characters = _top(sums, ends, num, ngram, power, table, generation + place)
                repeats = count > 1
            out[place] = count * (characters + ngram - 1)
        elif repeats:
            out[place] = _duplicated(sums, ends, num, ngram, power, table, generation + place)
            repeats = out[place] > 0


@numba.njit(cache=True, nogil=True)
def next_sum(previous, word_hash):
    """The polynomial's value after one more word."""
    return previous * _BASE + word_hash
