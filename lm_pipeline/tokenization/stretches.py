"""Cutting text into stretches of bounded length, where it changes nothing or as little as possible."""

from collections.abc import Iterator

from lm_pipeline.errors import InputError


def stretches(text: str, limit: int) -> Iterator[str]:
    r"""Cut a text into stretches of at most `limit` characters: before spaces, else after a newline, else at the limit.

    >>> list(stretches("one two  three\nfour", 8))
    ['one two', '  three\n', 'four']
    """
    start = 0
    while len(text) - start > limit:
        end = start + limit
        space = text.rfind(" ", start + 1, end + 1)
        cut = start + len(text[start : space + 1].rstrip(" ")) if space > start else start
        if cut == start:
            newline = text.rfind("\n", start, end)
            cut = newline + 1 if newline >= start else end
        yield text[start:cut]
        start = cut
    if start < len(text):
        yield text[start:]


def to_utf8(text: str) -> bytes:
    """The bytes of a text.

    Raises:
        InputError: the text has a lone surrogate, which UTF-8 cannot hold.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"The text has a lone surrogate {text[error.start]!a} at character {error.start}, which UTF-8 cannot hold."
            " Read the text with an encoding that fits it, or remove that character."
        ) from None
