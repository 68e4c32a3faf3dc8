"""What a word is, for filters, near-duplicate search and decontamination alike.

A Han or Kana character is a word of its own (with the marks that follow it); otherwise a word is a maximal run of
letters, digits and marks. Everything else separates words. Unicode decides, so nothing depends on spaces, and the
hash of a word depends on its case-folded code points alone: it is the same in every process and on every platform.

Character classes come from Python's own `unicodedata`; a newer Unicode version can only move characters that an
older one had not assigned.
"""

import functools
import unicodedata

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.corpus.text.code_points import decode
from lm_pipeline.corpus.text.utf8 import Texts, utf8_buffers

_SEPARATOR, _PLAIN, _IDEOGRAPH, _MARK = 0, 1, 2, 3
_KIND = 3  # the two bits that decide where words begin and end
_IS_LETTER = 4

# Scripts written without spaces whose characters count as words. First and last code point, both included.
IDEOGRAPHS = (
    (0x2E80, 0x2FD5),  # radicals
    (0x3005, 0x3007),  # 々 〆 〇
    (0x3021, 0x3029),  # Hangzhou numerals
    (0x3038, 0x303B),
    (0x3041, 0x3096),  # Hiragana
    (0x309D, 0x309F),
    (0x30A1, 0x30FA),  # Katakana
    (0x30FC, 0x30FF),  # its prolonged sound and iteration marks
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility forms
    (0xFF66, 0xFF9D),  # half-width Katakana
    (0x1AFF0, 0x1B16F),  # Kana, supplements
    (0x20000, 0x3FFFD),  # Han, extensions B and later
)
_NUM_CLASSES = 0x200000  # every value that four UTF-8 bytes can decode to, so that no index leaves the table
_NUM_FOLDED = 0x1F000  # no character beyond has another case

_HASH_SEED = np.uint64(0xCBF29CE484222325)
_HASH_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_32 = np.uint64(32)
_SHIFT_29 = np.uint64(29)


@functools.cache
def _classes() -> NDArray[np.uint8]:
    table = np.zeros(_NUM_CLASSES, np.uint8)
    category = unicodedata.category
    by_category = {"L": _PLAIN | _IS_LETTER, "N": _PLAIN, "M": _MARK}
    for first, end in ((0, 0x40000), (0xE0000, 0xE1000)):  # no other plane has letters, digits or marks
        table[first:end] = [by_category.get(category(chr(code))[0], _SEPARATOR) for code in range(first, end)]
    for first, last in IDEOGRAPHS:
        table[first : last + 1] = _IDEOGRAPH | _IS_LETTER
    return table


@functools.cache
def _folded() -> NDArray[np.uint32]:
    """Simple case folding: code point to code point; what folds to several characters is only lower-cased."""

    def fold(code: int) -> int:
        character = chr(code)
        for form in (character.casefold(), character.lower()):
            if len(form) == 1:
                return ord(form)
        return code

    return np.array([fold(code) for code in range(_NUM_FOLDED)], np.uint32)


@numba.njit(cache=True, nogil=True)
def _scan(data, text_offsets, tables, words, word_offsets):
    """Hash every word of UTF-8 texts in one pass over the bytes. Returns the number of words."""
    classes, folded = tables
    hashes, letters, ideographs = words
    num_words = 0
    for text in range(len(text_offsets) - 1):
        at = text_offsets[text]
        previous = _SEPARATOR
        state = _HASH_SEED
        has_letter = False
        while at < text_offsets[text + 1]:
            code, at = decode(data, at)
            class_ = classes[code]
            kind = class_ & _KIND
            if kind == _MARK:  # a mark continues what stands before it
                kind = previous if previous != _SEPARATOR else _PLAIN
                begins = previous == _SEPARATOR
            else:
                begins = kind == _IDEOGRAPH or (kind == _PLAIN and previous != _PLAIN)
            if previous != _SEPARATOR and (begins or kind == _SEPARATOR):
                hashes[num_words] = state ^ (state >> _SHIFT_29)
                letters[num_words] = has_letter
                ideographs[num_words] = previous == _IDEOGRAPH
                num_words += 1
            if begins:
                state = _HASH_SEED
                has_letter = False
            if kind != _SEPARATOR:
                has_letter |= class_ & _IS_LETTER != 0
                if code < _NUM_FOLDED:
                    code = folded[code]
                # Each step is a bijection of the state, so that only differing words can collide.
                state = (state ^ np.uint64(code)) * _HASH_PRIME
                state ^= state >> _SHIFT_32
            previous = kind
        if previous != _SEPARATOR:
            hashes[num_words] = state ^ (state >> _SHIFT_29)
            letters[num_words] = has_letter
            ideographs[num_words] = previous == _IDEOGRAPH
            num_words += 1
        word_offsets[text + 1] = num_words
    return num_words


def hashed_words(texts: Texts) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash every word of every text.

    Args:
        texts: N texts.

    Returns:
        The hashes of all words in reading order (uint64, W), and the offsets (int64, N + 1): the words of text i are
        `hashes[offsets[i]:offsets[i + 1]]`.

    >>> hashes, offsets = hashed_words(["The law, the LAW.", "", "法律 law"])
    >>> offsets.tolist()
    [0, 4, 4, 7]
    >>> hashes[0] == hashes[2] and hashes[1] == hashes[3] == hashes[6]
    np.True_
    """
    hashes, _, _, offsets = hashed_words_by_kind(texts)
    return hashes, offsets


def hashed_words_by_kind(
    texts: Texts,
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """As `hashed_words`, and between hashes and offsets whether each word has a letter and is an ideograph (bool, W).

    >>> _, letters, ideographs, _ = hashed_words_by_kind(["Article 12 第12条"])
    >>> letters.tolist(), ideographs.tolist()
    ([True, False, True, False, True], [False, False, True, False, True])
    """
    data, text_offsets = utf8_buffers(texts)
    # A word takes a byte and a separator, or an ideograph's three bytes; untouched pages cost no memory.
    capacity = int(text_offsets[-1] - text_offsets[0]) // 2 + len(text_offsets)
    hashes = np.empty(capacity, np.uint64)
    letters, ideographs = np.empty(capacity, np.bool_), np.empty(capacity, np.bool_)
    offsets = np.zeros(len(text_offsets), np.int64)
    num_words = _scan(data, text_offsets, (_classes(), _folded()), (hashes, letters, ideographs), offsets)
    return hashes[:num_words].copy(), letters[:num_words].copy(), ideographs[:num_words].copy(), offsets


def count(texts: Texts) -> NDArray[np.int64]:
    """The number of words of each text (int64, N).

    >>> count(["Don't panic!", "三国演义 1522 年", "..."]).tolist()
    [3, 6, 0]
    """
    return np.diff(hashed_words(texts)[1])


def segment(text: str) -> list[str]:
    """The words of one text as they are written, in reading order.

    >>> segment("GPT-2在2019年发布")
    ['GPT', '2', '在', '2019', '年', '发', '布']
    """
    return [text[begin:end] for begin, end in spans(text)]


def fold(text: str) -> str:
    """The text in the case in which its words are hashed; as long as the text itself.

    >>> fold("ΣΑΣ 法律 Straße")
    'σασ 法律 straße'
    """
    folded = _folded()
    return "".join(chr(folded[ord(character)]) if ord(character) < _NUM_FOLDED else character for character in text)


def spans(text: str) -> list[tuple[int, int]]:
    """Where each word of a text begins and ends, in characters.

    >>> spans("a 法律")
    [(0, 1), (2, 3), (3, 4)]
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _classes()[codes] & _KIND
    if len(kinds) == 0:
        return []
    # A mark is of the kind of what it follows, and a letter where it stands alone.
    base = np.where(kinds == _MARK, 0, np.arange(len(kinds)) + 1)
    followed = np.concatenate([[_PLAIN], kinds])[np.maximum.accumulate(base)]
    own = np.where(kinds == _MARK, np.where(followed == _SEPARATOR, _PLAIN, followed), kinds)
    before = np.concatenate([[_SEPARATOR], own[:-1]])
    begins = (kinds == _IDEOGRAPH) | ((own == _PLAIN) & (before != _PLAIN))
    ends = (before != _SEPARATOR) & ((own == _SEPARATOR) | begins)
    stops = np.flatnonzero(ends).tolist()
    if own[-1] != _SEPARATOR:
        stops.append(len(own))
    return list(zip(np.flatnonzero(begins).tolist(), stops, strict=True))
