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


def detected_name(data: bytes) -> str:
    """A file name in an unknown character set, as text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "backslashreplace")
