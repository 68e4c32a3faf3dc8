"""International bank account numbers: a country's length and the check digits modulo 97 (ISO 13616)."""

from lm_pipeline.corpus.personal_data.checksums import mod_97
from lm_pipeline.corpus.personal_data.kind import Kind, Pattern, digits_of

LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
"""Characters of an account number by country (SWIFT's IBAN registry)."""


def _verify(value: str, before: str, after: str) -> int:
    value = value.upper()
    length = LENGTHS.get(value[:2])
    if length is None or (before[-1:].isascii() and before[-1:].isalnum()):
        return 0
    # The pattern runs on into words that follow; the country says where the number ends.
    places = [at for at, character in enumerate(value) if character not in " -"]
    if len(places) < length:
        return 0
    end = places[length - 1] + 1
    rest, number = value[end:] + after, _compact(value[:end])
    if (rest[:1].isascii() and rest[:1].isalnum()) or not mod_97(number) or len(digits_of(number)) < 8:
        return 0
    return end


def _compact(value: str) -> str:
    return value.replace(" ", "").replace("-", "").upper()


IBAN = Kind(
    name="iban",
    hint=r"[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]{4}[ -]?[A-Za-z0-9]{4}",
    patterns=(
        Pattern(r"(?P<value>[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,4})?)", _verify),
    ),
    canonical=_compact,
)
