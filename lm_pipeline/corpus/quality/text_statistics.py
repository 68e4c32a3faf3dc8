"""What the quality rules look at, counted in one pass over the bytes of a text.

The definitions are in `corpus/quality/filters.py`. The kernel works on Arrow's buffers, holds no lock and has no state,
so that threads and processes may run it side by side.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.corpus.quality.repetition import count_duplicates, new_table, next_sum, ngram_repetition
from lm_pipeline.corpus.text.character_classes import (
    ASCII_WORD,
    BULLET,
    CJK,
    CLOSER,
    ENDS_SENTENCE,
    LETTER,
    LETTER_OR_DIGIT,
    LOWER,
    SPACE,
    TERMINAL,
    character_classes,
)
from lm_pipeline.corpus.text.code_points import decode
from lm_pipeline.corpus.text.utf8 import Texts, utf8_buffers

ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Of Gopher."""
SHORT_LINE = 30
"""A line of at most so many characters is short (FineWeb)."""

COUNTS = (
    "characters",
    "tokens",
    "words",
    "word_characters",
    "alpha_tokens",
    "hashes",
    "ellipses",
    "newlines",
    "bullet_lines",
    "ellipsis_lines",
    "lines",  # from here on without blank ones
    "punctuated_lines",
    "short_lines",
    "line_characters",
    "duplicate_lines",
    "duplicate_line_characters",
    "paragraphs",
    "duplicate_paragraphs",
    "duplicate_paragraph_characters",
    "sentences",
    "curly_brackets",
    "english_stop_words",
    "top_2gram_characters",
    "top_3gram_characters",
    "top_4gram_characters",
    "duplicate_5gram_characters",
    "duplicate_6gram_characters",
    "duplicate_7gram_characters",
    "duplicate_8gram_characters",
    "duplicate_9gram_characters",
    "duplicate_10gram_characters",
)
"""The columns of what `count_texts` returns."""
_CHARACTERS, _TOKENS, _WORDS, _WORD_CHARACTERS, _ALPHA, _HASHES, _ELLIPSES, _NEWLINES = range(8)
_BULLET_LINES, _ELLIPSIS_LINES, _LINES, _PUNCTUATED, _SHORT, _LINE_CHARACTERS, _DUPLICATE_LINES = range(8, 15)
_DUPLICATE_LINE_CHARACTERS, _PARAGRAPHS, _DUPLICATE_PARAGRAPHS, _DUPLICATE_PARAGRAPH_CHARACTERS = range(15, 19)
_SENTENCES, _CURLY_BRACKETS, _ENGLISH_STOP_WORDS, _NGRAMS = range(19, 23)
_GENERATIONS = 2 + len(COUNTS) - _NGRAMS  # of the hash table, for one text

_BREAK = SPACE | CJK
_NEWLINE, _HASH_SIGN, _DOT, _CURLY, _ELLIPSIS = (ord(c) for c in "\n#.{…")
_END_OF_ELLIPSIS = -1  # in place of a number of dots
_FULL_STOP, _ASCII_SIGN, _WIDE_SIGN = 1, 2, 3  # what may have ended a sentence

_SEED = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_LAST_GENERATION = 2**31 - 100


def _packed(word: str) -> int:
    return int.from_bytes(word.encode("ascii"))


_ENGLISH = np.array([_packed(word) for word in ENGLISH_STOP_WORDS], np.int64)


# Below, each part of the scan is a small machine: its state, which carries its counts, and one character give the next
# state. They take no arrays: an argument that is an array costs more per character than all the rest.


@numba.njit(cache=True, nogil=True)
def _mixed(state, code):
    """Hash one code point more. Each step is a bijection of the state, so that only differing texts can collide."""
    state = (state ^ np.uint64(code)) * _PRIME
    return state ^ (state >> _SHIFT)


@numba.njit(cache=True, nogil=True)
def _add_token(token, words, out):
    """Enter a token: its hash, characters and the classes of its characters."""
    hash_, length, classes = token
    sums, ends = words
    at = out[_TOKENS]
    sums[at + 1] = next_sum(sums[at], hash_)
    ends[at + 1] = ends[at] + length
    out[_TOKENS] += 1
    if classes & LETTER_OR_DIGIT:
        out[_WORDS] += 1
        out[_WORD_CHARACTERS] += length
    if classes & LETTER:
        out[_ALPHA] += 1


@numba.njit(cache=True, nogil=True)
def _end_token(token, code, class_, words, out):
    """Enter the token before a space or an ideograph, if there is one, and the ideograph. Returns an empty one."""
    if token[1]:
        _add_token(token, words, out)
    if class_ & CJK:
        _add_token((_mixed(_SEED, code), 1, class_), words, out)
    return _SEED, 0, 0


@numba.njit(cache=True, nogil=True)
def _bit(value, values):
    """The bit of a value's place among others; none if it is not there."""
    for place in range(len(values)):
        if values[place] == value:
            return 1 << place
    return 0


@numba.njit(cache=True, nogil=True)
def _sign_step(state, code):
    """Signs. The state: dots since the last ellipsis, whether a `…` was the first of two; ellipses, `#`, `{`."""
    dots, half, ellipses, hashes, curly = state
    if code == _DOT:
        return (0 if dots == 2 else dots + 1), 0, ellipses + (dots == 2), hashes, curly
    if code == _ELLIPSIS:
        return 0, 1 - half, ellipses + 1 - half, hashes, curly
    return 0, 0, ellipses, hashes + (code == _HASH_SIGN), curly + (code == _CURLY)


@numba.njit(cache=True, nogil=True)
def _sentence_step(state, code, class_):
    """Sentences. The state: what may have ended one, whether white space followed, whether one is open; how many."""
    ending, gap, is_open, number = state
    if code == _NEWLINE:
        return 0, 0, 0, number + is_open
    if class_ & SPACE:
        return ending, 1, is_open, number
    goes_on = (class_ & (CLOSER | ENDS_SENTENCE)) != 0
    if ending:
        wide = ending == _WIDE_SIGN and not goes_on
        number += wide or (gap != 0 and not (ending == _FULL_STOP and class_ & LOWER))
        if gap or not goes_on:
            ending = 0
    if class_ & ENDS_SENTENCE:
        ending = max(ending, _FULL_STOP if code == _DOT else _ASCII_SIGN if code < 128 else _WIDE_SIGN)
    return ending, 0, 1, number


@numba.njit(cache=True, nogil=True)
def _line_step(state, code, class_):
    """Lines. The state: hash, length, last dots and class of the current one, whether it is blank; bullets so far."""
    hash_, length, dots, _, blank, bullets = state
    if blank and not class_ & SPACE:
        blank = 0
        bullets += class_ & BULLET != 0
    dots = _END_OF_ELLIPSIS if code == _ELLIPSIS else max(dots, 0) + 1 if code == _DOT else 0
    return _mixed(hash_, code), length + 1, dots, class_, blank, bullets


@numba.njit(cache=True, nogil=True)
def _end_line(line, paragraph, lines, out):
    """Enter a line that is not blank. Returns the paragraph (hash, length) with it."""
    hash_, length, dots, last_class, _, _ = line
    hashes, lengths = lines
    hashes[out[_LINES]], lengths[out[_LINES]] = hash_, length
    out[_LINES] += 1
    out[_LINE_CHARACTERS] += length
    out[_PUNCTUATED] += last_class & TERMINAL != 0
    out[_ELLIPSIS_LINES] += dots >= 3 or dots == _END_OF_ELLIPSIS
    out[_SHORT] += length <= SHORT_LINE
    return _mixed(paragraph[0], hash_), paragraph[1] + length + (paragraph[1] > 0)


@numba.njit(cache=True, nogil=True)
def _end_paragraph(paragraph, paragraphs, out):
    """Enter a paragraph, if there is one. Returns an empty one."""
    hashes, lengths = paragraphs
    if paragraph[1]:
        hashes[out[_PARAGRAPHS]], lengths[out[_PARAGRAPHS]] = paragraph
        out[_PARAGRAPHS] += 1
    return _SEED, 0


@numba.njit(cache=True, nogil=True)
def _scan(data, span, tables, words, lines, paragraphs, out):
    """Count one text in one pass over its bytes, and list the hashes and lengths of its tokens, lines, paragraphs."""
    classes, english = tables
    token, signs, sentence = (_SEED, 0, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0)
    # The run is one of ASCII letters and digits: its length and last eight bytes.
    run, line, paragraph = (0, 0), (_SEED, 0, 0, 0, 1, 0), (_SEED, 0)
    characters, english_seen = 0, 0
    at, end = span
    while at <= end:
        code, is_last = _NEWLINE, at == end
        if is_last:  # as if a line feed followed
            at += 1
        else:
            decoded, at = decode(data, at)
            code = np.int64(decoded)
            characters += 1
        class_ = np.int64(classes[code])
        signs = _sign_step(signs, code)
        sentence = _sentence_step(sentence, code, class_)
        if class_ & ASCII_WORD:
            run = (run[0] + 1, (run[1] << 8) | (code | 0x20))
        elif run[0]:
            english_seen |= _bit(run[1], english)
            run = (0, 0)
        if class_ & _BREAK:
            token = _end_token(token, code, class_, words, out)
        else:
            token = (_mixed(token[0], code), token[1] + 1, token[2] | class_)
        if code != _NEWLINE:
            line = _line_step(line, code, class_)
            continue
        if line[1]:
            paragraph = _end_line(line, paragraph, lines, out)
        if is_last or not line[1]:
            paragraph = _end_paragraph(paragraph, paragraphs, out)
        out[_NEWLINES] += not is_last
        line = (_SEED, 0, 0, 0, 1, line[5])
    out[_CHARACTERS], out[_SENTENCES], out[_BULLET_LINES] = characters, sentence[3], line[5]
    out[_ELLIPSES], out[_HASHES], out[_CURLY_BRACKETS] = signs[2:]
    out[_ENGLISH_STOP_WORDS] = _num_bits(english_seen)


@numba.njit(cache=True, nogil=True)
def _num_bits(mask):
    number = 0
    while mask:
        mask &= mask - 1
        number += 1
    return number


@numba.njit(cache=True, nogil=True)
def _count(data, offsets, tables, counts):
    """Count every text."""
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    room = longest // 2 + 2  # a word takes a byte and a separator; pages that nobody touches cost no memory
    words = (np.zeros(room + 1, np.uint64), np.zeros(room + 1, np.int64))
    lines = (np.empty(room, np.uint64), np.empty(room, np.int64))
    paragraphs = (np.empty(room, np.uint64), np.empty(room, np.int64))
    table = new_table(1024)
    generation = 1
    for text in range(len(offsets) - 1):
        out = counts[text]
        _scan(data, (offsets[text], offsets[text + 1]), tables, words, lines, paragraphs, out)
        items = max(out[_TOKENS], out[_LINES])
        if items + items // 2 > len(table[0]) or generation > _LAST_GENERATION:
            table = new_table(items)
            generation = 1
        out[_DUPLICATE_LINES], out[_DUPLICATE_LINE_CHARACTERS] = count_duplicates(
            lines[0], lines[1], out[_LINES], table, generation
        )
        out[_DUPLICATE_PARAGRAPHS], out[_DUPLICATE_PARAGRAPH_CHARACTERS] = count_duplicates(
            paragraphs[0], paragraphs[1], out[_PARAGRAPHS], table, generation + 1
        )
        ngram_repetition(words[0], words[1], out[_TOKENS], table, generation + 2, out[_NGRAMS:])
        generation += _GENERATIONS


def count_texts(texts: Texts) -> dict[str, NDArray[np.int64]]:
    """Count what the rules look at.

    Args:
        texts: N normalised texts.

    Returns:
        By the names of `COUNTS`, N numbers each.
    """
    data, offsets = utf8_buffers(texts)
    counts = np.zeros((len(offsets) - 1, len(COUNTS)), np.int64)
    _count(data, offsets, (character_classes(), _ENGLISH), counts)
    return dict(zip(COUNTS, np.ascontiguousarray(counts.T), strict=True))
