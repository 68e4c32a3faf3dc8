"""Blocklist: how often a document has one of the terms that it must not have.

A term matches whatever its case. Where it begins or ends with a letter or digit of a script that separates words, the
match must begin or end a word there: `ass` is not in `class`. Han, Kana, Thai and their like write no spaces, so a
term matches anywhere in them. All terms are searched at once (Aho and Corasick 1975): a list of a hundred thousand
costs what one of ten does.
"""

import functools
import unicodedata
from collections.abc import Sequence

import ahocorasick
import polars as pl

from lm_pipeline.corpus.text.normalisation import Width, normalised

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x31FF),  # radicals, Kana, Bopomofo
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x1AFF0, 0x3FFFD),
)


def count_blocked(texts: pl.Series, terms: Sequence[str], width: Width = "keep") -> pl.Series:
    """Count the terms in every text.

    Args:
        texts: normalised texts.
        terms: the terms, in any case; brought to the texts' normal form here.
        width: as the texts were normalised.

    Returns:
        Occurrences (i64, named `num_blocklist_hits`). Terms that overlap count each.

    >>> count_blocked(pl.Series(["Casino, casinos and CASINO!", "在线赌博网"]), ["casino", "赌博"]).to_list()
    [2, 1]
    """
    counts = pl.zeros(len(texts), pl.Int64, eager=True).alias("num_blocklist_hits")
    wanted, automaton = _prepared(tuple(terms), width)
    if not wanted:
        return counts
    lowered = texts.str.to_lowercase()
    hits = lowered.str.contains_any(wanted).fill_null(value=False).arg_true()
    if not len(hits):
        return counts
    return counts.scatter(hits, [_count(text, automaton) for text in lowered.gather(hits)])


@functools.lru_cache(maxsize=4)
def _prepared(terms: tuple[str, ...], width: Width) -> tuple[list[str], ahocorasick.Automaton]:
    """The different terms in the texts' form, and the machine that finds them."""
    form = normalised(pl.col("term"), width).str.strip_chars().str.to_lowercase()
    forms = pl.DataFrame({"term": terms}, schema={"term": pl.String}).select(form)["term"].unique().sort()
    wanted = [term for term in forms if term]
    automaton = ahocorasick.Automaton()
    for term in wanted:
        automaton.add_word(term, len(term))
    automaton.make_automaton()
    return wanted, automaton


def _count(text: str, automaton: ahocorasick.Automaton) -> int:
    count = 0
    for last, length in automaton.iter(text):
        begin, end = last - length + 1, last + 1
        count += _is_edge(text[begin - 1 : begin], text[begin]) and _is_edge(text[end : end + 1], text[last])
    return count


def _is_edge(outside: str, inside: str) -> bool:
    """Whether a word may end between the two."""
    return not (outside and _is_of_a_word(outside) and _is_of_a_word(inside))


def _is_of_a_word(character: str) -> bool:
    code = ord(character)
    if any(first <= code <= last for first, last in _UNSPACED):
        return False
    return unicodedata.category(character)[0] in "LMN"
