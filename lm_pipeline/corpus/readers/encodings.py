"""Character sets of text files: byte-order marks, and UTF-16 and UTF-32 to UTF-8."""

import codecs
from collections.abc import Iterable, Iterator

from lm_pipeline.corpus.readers.compression import DamagedStreamError

UTF8_BOM = codecs.BOM_UTF8
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
"""Character sets whose line ends are no single bytes; they are made UTF-8 before lines are cut."""


def by_mark(head: bytes) -> str | None:
    """The character set that a byte-order mark declares, if there is one."""
    return next((charset for mark, charset in _MARKS.items() if head.startswith(mark)), None)


def transcoded(chunks: Iterable[bytes], charset: str) -> Iterator[bytes]:
    """UTF-16 or UTF-32 to UTF-8, the byte-order mark dropped.

    A lone surrogate becomes bytes that are no UTF-8, so that it costs the line that it stands in.

    Raises:
        DamagedStreamError: after the last good chunk, where a character is cut off or is none.
    """
    decoder = codecs.getincrementaldecoder(charset)("surrogatepass")
    first = True
    try:
        for chunk in chunks:
            text = decoder.decode(chunk)
            yield (text.removeprefix("\ufeff") if first else text).encode("utf-8", "surrogatepass")
            first = first and not text
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DamagedStreamError("undecodable", f"{error.reason}; expected {charset}") from error


def by_nuls(head: bytes) -> str | None:
    """UTF-16 without a mark, where so much of it is ASCII that every other byte is NUL."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if odd > 0.4 * len(head) / 2 and even < 0.02 * len(head):
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * len(head) / 2 and odd < 0.02 * len(head) else None
