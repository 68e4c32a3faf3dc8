"""The check digits of numbers that have one."""


def luhn(digits: str) -> bool:
    """Whether the last digit is right for a payment card (ISO/IEC 7812-1, annex B).

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(int(digit) for digit in digits[::-2]) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def mod_97(iban: str) -> bool:
    """Whether the check digits are right for an account number without spaces (ISO 13616, ISO/IEC 7064 mod 97-10).

    >>> mod_97("GB82WEST12345698765432"), mod_97("GB82WEST12345698765433")
    (True, False)
    """
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def mod_11_2(number: str) -> bool:
    """Whether the last character is right for a resident identity number of 18 (GB 11643, ISO/IEC 7064 mod 11-2).

    >>> mod_11_2("11010519491231002X"), mod_11_2("110105194912310021")
    (True, False)
    """
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17].upper()
