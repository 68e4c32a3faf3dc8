"""Normalisation: the one form in which text is stored, compared and trained on.

What changes, in this order:

1. Line ends (CR LF, CR, vertical tab, form feed, NEL, U+2028, U+2029) become a line feed.
2. What has no shape goes: control characters but tab and line feed (NUL among them), U+FEFF (byte order mark),
   zero-width space, word joiner, soft hyphen, directional marks and embeddings, interlinear annotation,
   noncharacters. ZWJ and ZWNJ stay: emoji, Persian and the scripts of India are spelt with them.
3. Unicode normalisation form C (UAX #15). Unlike form KC it leaves full-width punctuation, ligatures and superscripts
   alone.
4. White space at the end of a line goes, blank lines before and after the text go, more than two blank lines become
   two.

White space at the start of a line stays (code, docstrings, the two ideographic spaces that open a Chinese paragraph).
Normalisation is idempotent, and written as a polars expression so that a batch costs one pass of compiled code per
step.
"""

import polars as pl

_LINE_ENDS = r"\r\n?|[\x0B\x0C\u{85}\u{2028}\u{2029}]"
_SHAPELESS = (
    r"[\x00-\x08\x0E-\x1F\x7F-\u{9F}"  # C0 and C1 controls but tab and the line ends
    r"\u{AD}\u{61C}\u{200B}\u{200E}\u{200F}\u{202A}-\u{202E}\u{2060}\u{2066}-\u{2069}\u{FEFF}\u{FFF9}-\u{FFFB}"
    r"\u{FDD0}-\u{FDEF}\u{FFFE}\u{FFFF}\u{1FFFE}\u{1FFFF}\u{10FFFE}\u{10FFFF}]"
)
_MAX_BLANK_LINES = 2


def normalised(text: pl.Expr) -> pl.Expr:
    """The normal form of a string column."""
    unified = text.str.replace_all(_LINE_ENDS, "\n").str.replace_all(_SHAPELESS, "").str.normalize("NFC")
    # Without (?m) the last pattern's anchors mean the whole text, so these three steps cannot be one.
    trimmed = unified.str.replace_all(r"(?m)[^\S\n]+$", "")
    collapsed = trimmed.str.replace_all(rf"\n{{{_MAX_BLANK_LINES + 2},}}", "\n" * (_MAX_BLANK_LINES + 1))
    return collapsed.str.strip_chars("\n")


def normalise(text: str) -> str:
    r"""The normal form of one text. Batches use `normalised`.

    >>> normalise("\ufeffdef f():  \r\n    return 1\r\n\r\n\r\n\r\n\r\n# ，\n")
    'def f():\n    return 1\n\n\n# ，'
    """
    return pl.select(normalised(pl.lit(text))).item()
