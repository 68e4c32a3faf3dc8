"""Mojibake: UTF-8 that was decoded as a single-byte character set (`cafÃ©` for `café`), mended line by line.

The mending is `ftfy`'s, with everything switched off that is not about encodings: widths, quotes, ligatures, entities
and line ends stay as they are. `ftfy` reads about a megabyte a second, so it only meets lines in which a regular
expression finds a pair of characters that a multi-byte sequence of UTF-8 turns into. The commonest damage, Windows-1252
that was read as Latin-1 (its dashes and quotes are C1 controls then), is mended without it.

UTF-8 that was read as GBK (`鐢ㄦ埛` for `用户`) is not mended: nearly every line of it has lost a byte for good.
"""

import functools
import re

import ftfy
import ftfy.bad_codecs  # registers the `sloppy-` encodings
import polars as pl

_SINGLE_BYTE = (
    "latin-1",
    "iso-8859-2",
    "macroman",
    "cp437",
    "sloppy-windows-1250",
    "sloppy-windows-1251",
    "sloppy-windows-1252",
    "sloppy-windows-1253",
    "sloppy-windows-1254",
    "sloppy-windows-1257",
)
"""The character sets that `ftfy` undoes; in the sloppy ones the unassigned bytes are C1 controls."""

ENCODING_ONLY = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
)
"""What `ftfy` is asked for."""


def mended(texts: pl.Series) -> pl.Series:
    r"""Mend a column of texts; nulls and texts without mojibake come back as they were.

    Args:
        texts: strings before normalisation, which would remove the control characters that mojibake is full of.

    >>> mended(pl.Series(["voilÃ\xa0 le cafÃ©", "naïve — “café”", "用户名，密码", None])).to_list()
    ['voilà le café', 'naïve — “café”', '用户名，密码', None]
    """
    hits = texts.str.contains(rf"{suspicious()}|{_CONTROL}").fill_null(value=False).arg_true()
    if not len(hits):
        return texts
    lines = texts.gather(hits).str.split("\n").rename("text").to_frame().with_row_index("of").explode("text")
    bad = lines["text"].str.contains(suspicious()).arg_true()
    good = [ftfy.fix_encoding(line, ENCODING_ONLY) for line in lines["text"].gather(bad)]
    mended_lines = lines["text"].scatter(bad, good).str.replace_many(_WINDOWS_1252)
    whole = lines.with_columns(mended_lines).group_by("of", maintain_order=True)
    return texts.clone().scatter(hits, whole.agg(pl.col("text").str.join("\n"))["text"])


_CONTROL = r"[\u{80}-\u{9F}]"
_WINDOWS_1252 = {chr(code): bytes([code]).decode("sloppy-windows-1252") for code in range(0x80, 0xA0)}


@functools.cache
def suspicious() -> str:
    """A regular expression that finds every line that `ftfy` is needed for, and few others."""
    pairs = "|".join(_lead_and_continuation(encoding) for encoding in _SINGLE_BYTE)
    # The no-break space that closes a sequence is often a space by now; one byte may be lost.
    return rf"{pairs}|[ÃÂ] |[À-ÿ]\u{{FFFD}}"


def _lead_and_continuation(encoding: str) -> str:
    """The pairs of characters that a lead byte and a continuation byte of UTF-8 are in this encoding."""
    leads, continuations = (_characters(encoding, *codes) for codes in ((0xC2, 0xF5), (0x80, 0xC0)))
    return f"[{re.escape(leads)}][{re.escape(continuations)}]"


def _characters(encoding: str, start: int, end: int) -> str:
    # Greek and Cyrillic letters, like typographic marks, follow each other in good text: of them, only those that
    # begin what Greek and Cyrillic themselves, Latin letters with accents and punctuation turn into.
    common = "‚„ΒΓβΞΟВГвРС"
    characters = dict.fromkeys(bytes(range(start, end)).decode(encoding, "ignore"))
    if start == 0x80:
        return "".join(characters)
    return "".join(c for c in characters if c in common or not re.match("[\u0370-\u04ff\u2000-\u206f]", c))
