"""Resident identity numbers of the People's Republic of China (GB 11643-1999), and the older ones of 15 digits."""

import datetime as dt

from lm_pipeline.corpus.personal_data.checksums import mod_11_2
from lm_pipeline.corpus.personal_data.kind import Kind, Pattern, stands_alone

_PROVINCES = frozenset({*range(11, 16), 21, 22, 23, *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71,
                        81, 82, 83, 91})  # fmt: skip
"""First two digits: GB/T 2260; 81 to 83 for residents from Hong Kong, Macao and Taiwan, 91 for foreigners."""


def _verify(value: str, before: str, after: str) -> int:
    number = value.replace(" ", "").replace("-", "")
    if int(number[:2]) not in _PROVINCES or not stands_alone(before, after):
        return 0
    born = number[6:14] if len(number) == 18 else "19" + number[6:12]
    try:
        dt.date(int(born[:4]), int(born[4:6]), int(born[6:]))
    except ValueError:
        return 0
    return len(value) if len(number) == 15 or mod_11_2(number) else 0


_MONTH_AND_DAY = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"

CHINESE_ID = Kind(
    name="chinese_id",
    hint=r"[1-9](?:[ -]?[0-9]){14}",
    patterns=(
        Pattern(
            rf"(?P<value>[1-9][0-9]{{5}}[ -]?(?:18|19|20)[0-9]{{2}}{_MONTH_AND_DAY}[ -]?[0-9]{{3}}[0-9Xx])", _verify
        ),
        Pattern(r"(?P<value>[1-9](?:[ -]?[0-9]){16}[ -]?[0-9Xx])", _verify),  # in groups of any length
        # Without a check digit, only beside a word that says so.
        Pattern(
            rf"(?P<before>(?:身份证|身份證|证件号|證件號|(?i:id card|identity card))[^0-9\n]{{0,16}})"
            rf"(?P<value>[1-9][0-9]{{7}}{_MONTH_AND_DAY}[0-9]{{3}})",
            _verify,
        ),
    ),
    canonical=lambda value: value.replace(" ", "").replace("-", "").upper(),
)
