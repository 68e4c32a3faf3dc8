"""Find personal data in columns of texts."""

import bisect
import functools
import operator
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polars as pl

from lm_pipeline.corpus.personal_data.chinese_id import CHINESE_ID
from lm_pipeline.corpus.personal_data.credit_card import CREDIT_CARD
from lm_pipeline.corpus.personal_data.email_address import EMAIL
from lm_pipeline.corpus.personal_data.iban import IBAN
from lm_pipeline.corpus.personal_data.ip_address import IP_ADDRESS
from lm_pipeline.corpus.personal_data.kind import BESIDE, Kind, Pattern
from lm_pipeline.corpus.personal_data.passport import PASSPORT
from lm_pipeline.corpus.personal_data.phone import PHONE
from lm_pipeline.corpus.personal_data.secret import SECRET
from lm_pipeline.corpus.personal_data.url_with_token import URL_WITH_TOKEN
from lm_pipeline.corpus.text.normalisation import FULL_WIDTH_FORMS

KINDS = (URL_WITH_TOKEN, SECRET, EMAIL, IBAN, CHINESE_ID, CREDIT_CARD, IP_ADDRESS, PASSPORT, PHONE)
"""Every kind. Where two find the same characters, the earlier one has them: it is the more specific."""

_TO_ASCII = FULL_WIDTH_FORMS | {"＠": "@", "．": "."}
_NARROW = str.maketrans(_TO_ASCII)
_FULL_WIDTH = "０１２３４５６７８９＠"
"""What all personal data in full width has some of."""

# Noncharacters, which normalisation takes out of texts: so no text has them.
_START, _END = "\ufdd0", "\ufdd1"


class Span(NamedTuple):
    """Personal data in a text: characters `start` to before `end`."""

    start: int
    end: int
    kind: Kind


def find(texts: pl.Series, kinds: Sequence[Kind] = KINDS) -> dict[int, list[Span]]:
    """Find personal data.

    Args:
        texts: normalised texts.
        kinds: what to look for, the more specific first.

    Returns:
        For the index of every text that has some, its spans in reading order; they do not overlap.

    >>> find(pl.Series(["nothing", "写信给 li@example.cn，或拨打13800138000。"]))[1]  # doctest: +ELLIPSIS
    [Span(start=4, end=17, kind=Kind(name='email'...)), Span(start=21, end=32, kind=Kind(name='phone'...))]
    """
    found: dict[int, list[Span]] = {}
    texts = _narrowed(texts)

    @functools.cache
    def hinted(hint: str) -> pl.Series:
        return texts.str.contains(hint).fill_null(value=False).arg_true()

    for kind in kinds:
        for pattern in kind.patterns:
            hits = hinted(pattern.hint or kind.hint)
            if not len(hits):
                continue
            hit_texts = texts.gather(hits)
            marked = hit_texts.str.replace_all(pattern.regex, f"${{before}}{_START}${{value}}{_END}")
            for at in marked.str.contains(_START, literal=True).arg_true():
                spans = found.setdefault(hits[at], [])
                for start, end in _verified(marked[at], hit_texts[at], pattern):
                    _add(spans, Span(start, end, kind))
    return {index: spans for index, spans in found.items() if spans}


def narrowed(value: str) -> str:
    """Full-width letters, digits and signs of addresses as ASCII: a character for a character, so places stay.

    >>> narrowed("ｌｉ＠foo．com")
    'li@foo.com'
    """
    return value.translate(_NARROW)


def _narrowed(texts: pl.Series) -> pl.Series:
    # One after the other: twice as fast as a class of characters.
    has_one = functools.reduce(operator.or_, (texts.str.contains(sign, literal=True) for sign in _FULL_WIDTH))
    hits = has_one.fill_null(value=False).arg_true()
    return texts.clone().scatter(hits, texts.gather(hits).str.replace_many(_TO_ASCII)) if len(hits) else texts


def _verified(marked: str, text: str, pattern: Pattern) -> Iterator[tuple[int, int]]:
    """Where the candidates of a marked text are that the pattern's verification accepts."""
    before, *pieces = marked.split(_START)
    at = len(before)
    for piece in pieces:
        value, _, rest = piece.partition(_END)
        end = at + len(value)
        length = pattern.verify(value, text[max(0, at - BESIDE) : at], text[end : end + BESIDE])
        if length:
            yield at, at + length
        at = end + len(rest)


def _add(spans: list[Span], span: Span) -> None:
    """Insert a span unless it overlaps one that is there. Spans stay in reading order."""
    place = bisect.bisect_left(spans, span[:2], key=lambda other: other[:2])
    if place > 0 and spans[place - 1].end > span.start:
        return
    if place < len(spans) and spans[place].start < span.end:
        return
    spans.insert(place, span)
