"""Passport-like numbers. They have no check digit on paper, so a word beside them must say what they are.

A number of digits alone could count passports as well: it must follow the word more closely.
"""

from lm_pipeline.corpus.personal_data.beside_a_word import gap, is_count
from lm_pipeline.corpus.personal_data.kind import Kind, Pattern

_WORD = "(?i:passport)|护照|護照|通行证|通行證"
_GAP = gap("编号|編號|[证證]件", "(?i:id)")


def _verify(value: str, before: str, after: str) -> int:
    touched = any(side.isascii() and (side.isalnum() or side == "_") for side in (before[-1:], after[:1]) if side)
    return 0 if touched else len(value)


def _verify_digits(value: str, before: str, after: str) -> int:
    return 0 if is_count(before, after) else _verify(value, before, after)


PASSPORT = Kind(
    name="passport",
    hint=_WORD,
    patterns=(
        Pattern(
            rf"(?P<before>(?:{_WORD})[^0-9\n]{{0,30}}?)"
            r"(?P<value>[A-Z]{1,2}[0-9]{6,8}|[A-Z][0-9][A-Z0-9][0-9]{6})",
            _verify,
        ),
        Pattern(rf"(?P<before>(?:{_WORD}){_GAP}\(?)(?P<value>[0-9]{{8,9}})", _verify_digits),
    ),
    canonical=str.upper,
)
