"""Passport-like numbers. They have no check digit on paper, so a word beside them must say what they are."""

from lm_pipeline.corpus.personal_data.kind import Kind, Pattern


def _verify(value: str, before: str, after: str) -> int:
    touched = any(side.isascii() and (side.isalnum() or side == "_") for side in (before[-1:], after[:1]) if side)
    return 0 if touched else len(value)


PASSPORT = Kind(
    name="passport",
    hint=r"(?i)passport|护照|護照|通行证|通行證",
    patterns=(
        Pattern(
            r"(?P<before>(?:(?i:passport)|护照|護照|通行证|通行證)[^0-9\n]{0,30}?)"
            r"(?P<value>[A-Z]{1,2}[0-9]{6,8}|[A-Z][0-9][A-Z0-9][0-9]{6}|[0-9]{8,9})",
            _verify,
        ),
    ),
    canonical=str.upper,
)
