"""Payment card numbers: a network's prefix and length, and Luhn's check digit."""

from lm_pipeline.corpus.personal_data.checksums import luhn
from lm_pipeline.corpus.personal_data.kind import Kind, Pattern, digits_of, stands_alone


def _is_of_a_network(digits: str) -> bool:
    """Whether prefix and length are of a card network (ISO/IEC 7812 as the networks publish their ranges)."""
    first_2, first_3, first_4, length = int(digits[:2]), int(digits[:3]), int(digits[:4]), len(digits)
    return (
        (digits[0] == "4" and length in {13, 16, 19})  # Visa
        or ((51 <= first_2 <= 55 or 2221 <= first_4 <= 2720) and length == 16)  # Mastercard
        or (first_2 in {34, 37} and length == 15)  # American Express
        or (first_2 == 62 and 16 <= length <= 19)  # UnionPay
        or ((first_2 == 65 or 644 <= first_3 <= 649 or first_4 == 6011) and length in {16, 19})  # Discover
        or (3528 <= first_4 <= 3589 and 16 <= length <= 19)  # JCB
        or ((first_2 in {36, 38, 39} or 300 <= first_3 <= 305) and length in {14, 16, 19})  # Diners Club
        or (2200 <= first_4 <= 2204 and 16 <= length <= 19)  # Mir
        or ((first_4 in {5018, 5020, 5038, 6304} or 6759 <= first_4 <= 6763) and 12 <= length <= 19)  # Maestro
    )


def _verify(value: str, before: str, after: str) -> int:
    digits = digits_of(value)
    right = _is_of_a_network(digits) and luhn(digits) and len(set(digits)) > 1 and stands_alone(before, after)
    return len(value) if right else 0


CREDIT_CARD = Kind(
    name="credit_card",
    hint=r"[2-6][0-9]{3}[ .-]{0,2}[0-9]{2}(?:[ .-]{0,2}[0-9]{2}){3}",
    patterns=(
        Pattern(r"(?P<value>[2-6][0-9]{11,18})", _verify),
        Pattern(r"(?P<value>62[0-9]{2}(?:[ .-]{1,2}[0-9]{4}){3}[ .-]{1,2}[0-9]{3}|62[0-9]{4}[ -][0-9]{13})", _verify),
        Pattern(r"(?P<value>[2-6][0-9]{3}(?:[ .-]{1,2}[0-9]{4}){3})", _verify),
        Pattern(r"(?P<value>3[0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5})", _verify),
    ),
    canonical=digits_of,
)
