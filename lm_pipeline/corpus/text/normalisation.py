"""Normalisation: the one form in which text is stored, compared and trained on.

What changes, in this order:

1. Line ends (CR LF, CR, vertical tab, form feed, NEL, U+2028, U+2029) become a line feed.
2. What has no shape goes: control characters but tab and line feed (NUL among them), U+FEFF (byte order mark),
   zero-width space, word joiner, soft hyphen, directional marks and embeddings, interlinear annotation,
   noncharacters. ZWJ and ZWNJ stay: emoji, Persian and the scripts of India are spelt with them.
3. Unicode normalisation form C (UAX #15). Unlike form KC it leaves full-width punctuation, ligatures and superscripts
   alone.
4. With `width="ascii"`, full-width Latin letters and digits become ASCII (`ＡＢＣ１２３` to `ABC123`); full-width
   punctuation (`，！？（）：`) belongs to Chinese and stays.
5. White space at the end of a line goes, blank lines before and after the text go, more than two blank lines become
   two.

White space at the start of a line stays (code, docstrings, the two ideographic spaces that open a Chinese paragraph).
Normalisation is idempotent, and written as a polars expression so that a batch costs one pass of compiled code per
step. Composition, the slowest, only meets the texts in which there is something to compose.
"""

from typing import Literal

import polars as pl

Width = Literal["keep", "ascii"]

_LINE_ENDS = r"\r\n?|[\x0B\x0C\u{85}\u{2028}\u{2029}]"
_SHAPELESS = (
    r"[\x00-\x08\x0E-\x1F\x7F-\u{9F}"  # C0 and C1 controls but tab and the line ends
    r"\u{AD}\u{61C}\u{200B}\u{200E}\u{200F}\u{202A}-\u{202E}\u{2060}\u{2066}-\u{2069}\u{FEFF}\u{FFF9}-\u{FFFB}"
    r"\u{FDD0}-\u{FDEF}\u{FFFE}\u{FFFF}\u{1FFFE}\u{1FFFF}\u{10FFFE}\u{10FFFF}]"
)
_MAX_BLANK_LINES = 2

COMPOSABLE = (
    r"[\p{M}\u{1160}-\u{11FF}"  # marks, and the vowels and final consonants of Hangul, combine with what is before them
    r"\u{374}\u{37A}-\u{37E}\u{384}-\u{387}\u{958}-\u{95F}\u{9DC}-\u{9DF}\u{A33}\u{A36}\u{A59}-\u{A5E}\u{B5C}\u{B5D}"
    r"\u{F43}-\u{FBF}\u{1F00}-\u{1FFF}\u{2000}\u{2001}\u{2126}-\u{212B}\u{2329}\u{232A}\u{2ADC}"
    r"\u{F900}-\u{FAFF}\u{FB1D}-\u{FB4E}\u{1D15E}-\u{1D1C0}\u{2F800}-\u{2FA1F}]"
)
"""Characters that a text must have for form C to change it; a few more, so that the ranges stay few."""

_FULL_WIDTH = [*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B)]  # 0-9, A-Z, a-z
FULL_WIDTH_FORMS = {chr(code): chr(code - 0xFEE0) for code in _FULL_WIDTH}
"""Full-width digits and Latin letters, and their ASCII forms."""


def normalised(text: pl.Expr, width: Width = "keep") -> pl.Expr:
    """The normal form of a string column."""
    unified = text.str.replace_all(_LINE_ENDS, "\n").str.replace_all(_SHAPELESS, "")
    composed = unified.map_batches(_composed, return_dtype=pl.String, is_elementwise=True)
    if width == "ascii":
        composed = composed.map_batches(_narrowed, return_dtype=pl.String, is_elementwise=True)
    # Without (?m) the last pattern's anchors mean the whole text, so these three steps cannot be one.
    trimmed = composed.str.replace_all(r"(?m)[^\S\n]+$", "")
    collapsed = trimmed.str.replace_all(rf"\n{{{_MAX_BLANK_LINES + 2},}}", "\n" * (_MAX_BLANK_LINES + 1))
    return collapsed.str.strip_chars("\n")


def _composed(texts: pl.Series) -> pl.Series:
    hits = texts.str.contains(COMPOSABLE).fill_null(value=False).arg_true()
    return texts.clone().scatter(hits, texts.gather(hits).str.normalize("NFC")) if len(hits) else texts


def _narrowed(texts: pl.Series) -> pl.Series:
    hits = texts.str.contains("[０-９Ａ-Ｚａ-ｚ]").fill_null(value=False).arg_true()
    if not len(hits):
        return texts
    return texts.clone().scatter(hits, texts.gather(hits).str.replace_many(FULL_WIDTH_FORMS))


def normalise(text: str, width: Width = "keep") -> str:
    r"""The normal form of one text. Batches use `normalised`.

    >>> normalise("\ufeffdef f():  \r\n    return 1\r\n\r\n\r\n\r\n\r\n# ，\n")
    'def f():\n    return 1\n\n\n# ，'
    >>> normalise("（ＧＢ１８０３０），！", width="ascii")
    '（GB18030），！'
    """
    return pl.select(normalised(pl.lit(text), width)).item()
