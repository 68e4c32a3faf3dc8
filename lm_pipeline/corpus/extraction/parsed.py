"""What every parser returns or raises."""

from typing import TypedDict

Removal = tuple[str, int, int]
"""What was taken out of a document: by which rule, how many lines, and their characters, line breaks included."""

READINGS = ("rt", "rp", "rtc")
"""Elements of ruby markup beside the base text: how it is read (漢字 as かんじ), and the parentheses around that.

Inline they would stand in the middle of a sentence: `虐待ぎゃくたい`. HTML, section 4.5.10; `rtc` is of older pages.
"""


class Document(TypedDict, total=False):
    """One document out of a page or file; as JSON on its way to the parent.

    `text` is always there; the others where the format brings them. `date` is ISO 8601 where the format says what it
    is. `index` tells pages and chapters of one file apart, from 0. `removals`: by rule, what is no part of `text`.
    """

    text: str
    title: str | None
    url: str | None
    date: str | None
    index: int
    removals: list[Removal]


class BadRecordError(Exception):
    """A record that cannot be parsed, with its quarantine reason (`docs/data-formats.md`)."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


def storable(text: str) -> str:
    """Text without what no document may have: NULs go, lone surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
