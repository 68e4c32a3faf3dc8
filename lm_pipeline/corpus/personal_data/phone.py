"""Telephone numbers: Chinese, American, international.

A number counts if `phonenumbers` (Google's libphonenumber) takes it for one of the country whose way of writing it
has, or if a word beside it says that it is one and it has as many digits as numbers have; otherwise any long number
would.
"""

import functools
import re

from lm_pipeline.corpus.personal_data.beside_a_word import gap, is_count
from lm_pipeline.corpus.personal_data.kind import Kind, Pattern, digits_of, stands_alone

_NUMERALS = str.maketrans("〇零一幺二两三四五六七八九壹贰叁肆伍陆柒捌玖", "001122" + "3456789" + "123456789")
_NUMERAL = "[0-9〇零一幺二两三四五六七八九壹贰叁肆伍陆柒捌玖]"
_SPELT_HINT = "|".join(first + second for first in "一幺壹" for second in "三四五六七八九叁肆伍陆柒捌玖")
_EXTENSION_MARK = r" ?(?:(?i:x|ext\.?)|[转轉]|分[机機]) ?"
_EXTENSION = rf"(?:{_EXTENSION_MARK}[0-9]{{1,6}})?"
_AFTER_AN_EXTENSION = re.compile(rf"[0-9]{{4}}{_EXTENSION_MARK}[0-9]{{1,6}}(?:/[0-9]{{1,6}})*[,/]$")
_MORE_EXTENSIONS = re.compile(r"(?:/[0-9]{1,6})+(?![-.0-9])")

_ENGLISH_WORD = (
    "(?:tele|cell|hand|home|work|mobile)?phone(?:number|no|s ?[:=])?|mobile|cell|(?:tele)?fax|whatsapp|tel|text me|"
    "(?:call|dial)(?:l?ed|l?ing)?|reach(?:ed)?(?: (?:me|us|him|her|them))? (?:at|on)"
)
_ENGLISH_CALL = r"(?i:call|phone|reach)(?: \p{Lu}\pL*\.?){1,3} (?:at|on)"
_CHINESE_WORD = "电话|電話|手机|手機|传真|傳真|致电|致電|拨打|撥打|热线|熱線|座机|联系方式|聯繫方式|微信"


def _is_whole(value: str, before: str, after: str) -> bool:
    """Whether a number stands alone, or beside the extensions of another one, or of its own."""
    more = _MORE_EXTENSIONS.match(after) if _without_extension(value) != value else None
    return stands_alone("" if _AFTER_AN_EXTENSION.search(before) else before, after[more.end() :] if more else after)


def _verify_way(value: str, before: str, after: str) -> int:
    """Written in a country's way: it must be a number there."""
    return len(value) if _is_whole(value, before, after) and parsed(value) is not None else 0


def _verify_said(value: str, before: str, after: str) -> int:
    """Said to be one or several numbers: they must have as many digits as such have, and must not count anything."""
    lengths = [len(digits_of(number)) for number in _without_extension(value).split("/")]
    right = (7 <= sum(lengths) <= 15 or all(7 <= length <= 15 for length in lengths)) and not _is_a_date(value)
    return len(value) if right and _is_whole(value, before, after) and not is_count(before, after) else 0


def _verify_same_area(value: str, before: str, after: str) -> int:
    """Behind a land line's number, without the code that both have."""
    code = re.findall("[0-9]+", before)[-2]
    return len(value) if stands_alone("", after) and parsed(f"{code}-{value}") is not None else 0


def _verify_spelt(value: str, before: str, after: str) -> int:
    """Digit by digit, in figures or in Chinese numerals: it must be a mobile number, and no row of a table."""
    digits = digits_of(value.translate(_NUMERALS))
    beside = (before.rstrip()[-1:] + after.lstrip()[:1]).translate(_NUMERALS)
    is_mobile = digits[1] in "3456789" and parsed(f"+86{digits}") is not None
    return len(value) if is_mobile and stands_alone(before, after) and not digits_of(beside) else 0


def _without_extension(value: str) -> str:
    return re.split(_EXTENSION_MARK, value, maxsplit=1)[0]


def _is_a_date(value: str) -> bool:
    parts = value.replace("/", "-").replace(".", "-").split("-")
    return [len(part) for part in parts] in ([4, 2, 2], [2, 2, 4])


@functools.lru_cache(maxsize=4096)
def parsed(value: str) -> str | None:
    """A number in E.164 form, or None where it is none.

    Written with a country's code it must have the length of a number of that country; written in the Chinese or the
    American way it must also be in a range that is handed out.

    >>> parsed("138 0013 8000"), parsed("(650) 253-0000"), parsed("+49 30 901820"), parsed("1234")
    ('+8613800138000', '+16502530000', '+4930901820', None)
    """
    import phonenumbers

    number = _without_extension(value).strip().replace("（", "(").replace("）", ")")
    for prefix in ("011", "00"):
        if number.startswith(prefix):
            number = "+" + number.removeprefix(prefix).lstrip(" -.")
    international = "+" in number
    for country in (None,) if international else ("CN", "US"):
        try:
            found = phonenumbers.parse(number, country)
        except phonenumbers.NumberParseException:
            continue
        possible = phonenumbers.is_possible_number_with_reason(found) == phonenumbers.ValidationResult.IS_POSSIBLE
        if phonenumbers.is_valid_number(found) or (international and possible):
            return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164)
    return None


PHONE = Kind(
    name="phone",
    hint=r"[0-9](?:[ ().\-/）]{0,3}[0-9]){6}",
    patterns=(
        # Chinese: mobile, land line, service number.
        Pattern(r"(?P<value>(?:(?:\+|00)86[ -]?|86[ -])?1[3-9][0-9](?:[ .-]?[0-9]{4}){2})", _verify_way),
        Pattern(
            r"(?P<value>(?:(?:\+|00)86[ -]?)?(?:[(（]0[0-9]{2,3}[)）] ?|0[0-9]{2,3}[ -])[2-8][0-9]{3}[ -]?[0-9]{3,4}"
            rf"{_EXTENSION})",
            _verify_way,
        ),
        Pattern(
            r"(?P<before>(?:^|[^0-9])0[0-9]{2,3}[ -][2-8][0-9]{6,7}/)(?P<value>[2-8][0-9]{6,7})", _verify_same_area
        ),
        Pattern(r"(?P<value>[48]00[ -]?[0-9]{3,4}[ -]?[0-9]{3,4})", _verify_way),
        # A mobile number digit by digit, as one writes it to hide it.
        Pattern(rf"(?P<value>[一幺壹]{_NUMERAL}{{10}})", _verify_spelt, _SPELT_HINT),
        Pattern(r"(?P<value>1(?:(?: [0-9]){10}|(?:-[0-9]){10}|(?:\.[0-9]){10}))", _verify_spelt),
        # American.
        Pattern(
            r"(?P<value>(?:(?:\+|00)?1[ .-]?)?(?:\([2-9][0-9]{2}\)[ -]?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"
            rf"{_EXTENSION})",
            _verify_way,
        ),
        # With the code of a country.
        Pattern(rf"(?P<value>(?:\(?\+|00[1-9]|011[ -])(?:[ ().\-/]{{0,3}}[0-9]){{6,14}}{_EXTENSION})", _verify_way),
        # Beside a word that says what it is.
        Pattern(
            rf"(?P<before>(?:(?:^|[^A-Za-z])(?:(?i:{_ENGLISH_WORD})|{_ENGLISH_CALL})|{_CHINESE_WORD}){gap()})"
            r"(?P<value>[2-8][0-9]{6,7}(?:/[2-8][0-9]{6,7}){1,3}|"
            rf"[+(]{{0,2}}[0-9](?:[ ().\-/]{{0,3}}[0-9]){{6,14}}{_EXTENSION})",
            _verify_said,
        ),
    ),
    canonical=lambda value: (
        parsed(value) or parsed(digits_of(value.translate(_NUMERALS))) or digits_of(value.translate(_NUMERALS))
    ),
)
