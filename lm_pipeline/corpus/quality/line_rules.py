"""C4's line rules: what is taken out of a document before it is measured, counted by rule.

Source: Raffel et al. 2020, section 2.2, in the order in which `datatrove` asks. A line is looked at without the white
space around it and stays so; the first rule that it breaks takes it out, blank lines are too short. Words are those of
`corpus/quality/filters.py`, so a Chinese line has as many as it has characters.
"""

import functools
from collections.abc import Sequence

import numba
import numpy as np
import polars as pl
import pyarrow as pa

from lm_pipeline.corpus.quality.list_columns import lists_by_row
from lm_pipeline.corpus.text.character_classes import CJK, SPACE, TERMINAL, character_classes
from lm_pipeline.corpus.text.code_points import decode
from lm_pipeline.corpus.text.utf8 import utf8_buffers
from lm_pipeline.specs.cleaning import LineRules

CITATION = (
    r"\[(?:\d*|edit|citation needed"
    r"|[注註] ?\d+|编辑(?: ?\| ?编辑源代码)?|編輯(?: ?\| ?編輯原始碼)?|来源请求|來源請求|編集|要出典|편집|출처 필요)\]"
)
"""C4's, and Wikipedia's in Chinese, Japanese and Korean."""
POLICY_PHRASES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
    *("隐私政策", "隐私条款", "使用条款", "隱私政策", "隱私權政策", "使用條款"),
)
"""Case is ignored."""
_JAVASCRIPT = ("javascript",)

RULES = ("too_long_word", "no_terminal_punc", "too_few_words", "javascript", "policy")
"""Rules that take a line out, in the order in which they are asked."""
CITATIONS = "citation"
"""What takes a piece out of a line."""

_TOO_LONG_WORD, _NO_TERMINAL, _TOO_FEW_WORDS, _FIRST_PHRASE_RULE, _NONE = 0, 1, 2, 3, -1
_NEWLINE, _DOT, _ELLIPSIS = ord("\n"), ord("."), ord("…")
_OFF = 2**62


def without_lines(texts: pl.Series, rules: LineRules) -> tuple[pl.Series, pl.Series]:
    """Take out lines.

    Args:
        texts: N normalised texts.
        rules: what goes.

    Returns:
        The texts; and N lists of `REMOVAL`: by rule, in the order of `RULES` and `CITATIONS`, how many lines (or
        citations) went and with how many characters, the line break of a line included. What each text lost is their
        sum, and the white space around its lines.
    """
    cited, citations = texts, None
    if rules.citations:
        cited = texts.str.replace_all(CITATION, "")
        num = texts.str.count_matches(CITATION)
        citations = np.column_stack([num.to_numpy(), (texts.str.len_chars() - cited.str.len_chars()).to_numpy()])
    groups = [_JAVASCRIPT if rules.javascript else (), POLICY_PHRASES if rules.policy else ()]
    suspicious = np.column_stack([_contains_any(cited, phrases) for phrases in groups])
    data, offsets = utf8_buffers(cited)
    limits = (
        rules.max_word_characters if rules.max_word_characters is not None else _OFF,
        int(rules.terminal_punctuation),
        rules.min_words or 0,
    )
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    ends = np.zeros(len(offsets), np.int64)
    removed = np.zeros((len(texts), len(RULES), 2), np.int64)
    _filter_lines(data, offsets, character_classes(), limits, (_phrases(), suspicious), (out, ends), removed)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]])]
    kept = pl.from_arrow(pa.Array.from_buffers(pa.large_string(), len(texts), buffers))
    assert isinstance(kept, pl.Series)
    if citations is not None:
        removed = np.concatenate([removed, citations[:, None, :].astype(np.int64)], axis=1)
    return kept.alias(texts.name).str.strip_chars("\n"), _removals(removed)


def _contains_any(texts: pl.Series, phrases: Sequence[str]) -> np.ndarray:
    if not phrases:
        return np.zeros(len(texts), np.bool_)
    found = pl.select(pl.lit(texts).str.contains_any(list(phrases), ascii_case_insensitive=True)).to_series()
    return found.to_numpy()


@functools.cache
def _phrases() -> tuple[tuple[np.ndarray, ...], ...]:
    """UTF-8 of the phrases of each rule that looks for phrases: bytes, and where each begins."""
    tables = []
    for phrases in (_JAVASCRIPT, POLICY_PHRASES):
        encoded = [phrase.encode() for phrase in phrases]
        offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
        tables.append((np.frombuffer(b"".join(encoded), np.uint8), offsets))
    return tuple(tables)


def _removals(removed: np.ndarray) -> pl.Series:
    """Numbers (N, rules, 2) as lists of what is not zero."""
    texts, rules = np.nonzero(removed.any(axis=2))
    names = pl.Series([*RULES, CITATIONS], dtype=pl.String)
    flat = pl.DataFrame(
        {"rule": names.gather(rules), "count": removed[texts, rules, 0], "characters": removed[texts, rules, 1]}
    )
    return lists_by_row("removals", texts, flat, len(removed))


@numba.njit(cache=True, nogil=True)
def _lower(byte):
    return byte | 0x20 if 65 <= byte <= 90 else byte


@numba.njit(cache=True, nogil=True)
def _has_phrase(data, begin, end, phrases):
    """Whether one of the phrases, which are in lower case, is in the bytes."""
    letters, offsets = phrases
    for phrase in range(len(offsets) - 1):
        length = offsets[phrase + 1] - offsets[phrase]
        for start in range(begin, end - length + 1):
            same = 0
            while same < length and _lower(data[start + same]) == letters[offsets[phrase] + same]:
                same += 1
            if same == length:
                return True
    return False


@numba.njit(cache=True, nogil=True)
def _look(data, begin, end, classes):
    """Look at one line.

    Returns:
        Its characters; where it begins and ends without the white space around it; its words; the characters of the
        longest; whether it ends in terminal punctuation and in no ellipsis.
    """
    characters, words, longest, word, dots, last_class, last_code = 0, 0, 0, 0, 0, 0, 0
    first, stop = end, begin
    at = begin
    while at < end:
        start = at
        decoded, at = decode(data, at)
        code = np.int64(decoded)
        class_ = np.int64(classes[code])
        characters += 1
        if class_ & SPACE:
            word = 0
            continue
        words += word == 0 or class_ & CJK != 0
        word = 0 if class_ & CJK else word + 1
        longest = max(longest, word)
        dots = dots + 1 if code == _DOT else 0
        first, stop, last_class, last_code = min(first, start), at, class_, code
    ends_well = (last_class & TERMINAL) != 0 and dots < 3 and last_code != _ELLIPSIS
    return characters, first, stop, words, longest, ends_well


@numba.njit(cache=True, nogil=True)
def _broken_rule(line, limits):
    """The first of the rules about form that a line breaks."""
    _, _, _, words, longest, ends_well = line
    max_word_characters, terminal_punctuation, min_words = limits
    if longest > max_word_characters:
        return _TOO_LONG_WORD
    if terminal_punctuation and not ends_well:
        return _NO_TERMINAL
    if words < min_words:
        return _TOO_FEW_WORDS
    return _NONE


@numba.njit(cache=True, nogil=True)
def _phrase_rule(data, begin, end, tables, suspicious):
    """The first of the rules about phrases that a line breaks. Only suspicious texts have any of its phrases."""
    for rule in range(len(suspicious)):
        if suspicious[rule] and _has_phrase(data, begin, end, tables[rule]):
            return _FIRST_PHRASE_RULE + rule
    return _NONE


@numba.njit(cache=True, nogil=True)
def _filter_lines(data, offsets, classes, limits, phrases, kept, removed):
    """Copy the lines that stay, and count those that go in `removed` (texts, rules, lines and characters)."""
    tables, suspicious = phrases
    out, ends = kept
    written = 0
    for text in range(len(offsets) - 1):
        begin, begins_at = offsets[text], written
        while begin < offsets[text + 1]:
            end = begin
            while end < offsets[text + 1] and data[end] != _NEWLINE:
                end += 1
            line = _look(data, begin, end, classes)
            rule = _broken_rule(line, limits)
            if rule == _NONE:
                rule = _phrase_rule(data, begin, end, tables, suspicious[text])
            if rule != _NONE:
                removed[text, rule, 0] += 1
                removed[text, rule, 1] += line[0] + (end < offsets[text + 1])
            else:
                if written > begins_at:
                    out[written] = _NEWLINE
                    written += 1
                length = line[2] - line[1]
                if length > 0:
                    out[written : written + length] = data[line[1] : line[2]]
                    written += length
            begin = end + 1
        ends[text + 1] = written
