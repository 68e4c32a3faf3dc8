"""What a kind of personal data is: how it looks, and how a candidate is verified.

Candidates are found by polars' regular expressions, which take linear time on any text and run over whole columns; a
Python function only ever sees a candidate and the characters beside it.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

BESIDE = 40
"""Characters before and after a candidate that a verification may look at."""

_ANOTHER_NUMBER = re.compile(r"[-,][0-9]{7,}|/(?:[0-9][ .()-]{0,2}){7,}")
"""What begins like it beside a number is a number of its own: a part of one is shorter."""

Verify = Callable[[str, str, str], int]
"""From a candidate and the characters before and after it to the number of its characters that are the thing; 0: none
are."""


class Pattern(NamedTuple):
    """One way in which personal data is written."""

    regex: str
    """A regular expression of candidates. The group `value` is the candidate; all that a match has before it is in the
    group `before`, and nothing is after it."""
    verify: Verify
    hint: str | None = None
    """As that of a kind, for a way of writing that the kind's does not match; best an alternation of literals, which
    are all searched for at once."""


class Kind(NamedTuple):
    """One kind of personal data."""

    name: str
    """The field of `PersonalData` that says what happens to it."""
    hint: str
    """A regular expression that is fast and matches every text with such data, but for patterns that have a hint of
    their own; most texts end here."""
    patterns: tuple[Pattern, ...]
    canonical: Callable[[str], str] = str.lower
    """One spelling for every way to write a value, so that its pseudonym is the same everywhere."""


def digits_of(value: str) -> str:
    """The ASCII digits of a value.

    >>> digits_of("+86 138-0013-8000")
    '8613800138000'
    """
    return "".join(character for character in value if character in "0123456789")


def stands_alone(before: str, after: str) -> bool:
    """Whether a number is whole: no letter or digit touches it, and no sign that continues a number does.

    >>> stands_alone("电话", "，"), stands_alone("3.", ""), stands_alone("", ".5"), stands_alone("at ", ". Call")
    (True, False, False, True)
    >>> stands_alone("", "/13900139000"), stands_alone("2023/", ""), stands_alone("", "_微信同号")
    (True, False, True)
    """
    return not (_continues(before[::-1]) or _continues(after))


def _continues(beside: str) -> bool:
    """Whether what is beside a number, read away from it, belongs to it."""
    if not beside:
        return False
    first = beside[0]
    if first.isascii() and first.isalnum():
        return True
    following = beside[1:2]
    if first == "_":
        return following.isascii() and following.isalnum()
    return first in ".,-/" and following.isascii() and following.isdigit() and not _ANOTHER_NUMBER.match(beside)
