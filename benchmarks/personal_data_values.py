"""Values of every kind of personal data, made with a seed from the standards' formulas, not by the code under test."""

import base64
import json
import random
import string


def luhn_number(rng: random.Random, prefix: str, length: int, off_by: int = 0) -> str:
    """A card number; with `off_by`, one whose check digit is wrong."""
    digits = prefix + "".join(rng.choice(string.digits) for _ in range(length - len(prefix) - 1))
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return digits + str(((10 - total % 10) + off_by) % 10)


def credit_card(rng: random.Random) -> str:
    """Visa, Mastercard, American Express, UnionPay, JCB or Discover, as people write it."""
    prefix, length = rng.choice(
        [
            ("4", 16),
            ("5" + rng.choice("12345"), 16),
            ("37", 15),
            ("62", 16),
            ("62", 19),
            ("35" + str(rng.randint(28, 89)), 16),
        ]
    )
    number = luhn_number(rng, prefix, length)
    separator = rng.choice(["", "", " ", "-"])
    if length == 15:
        return separator.join((number[:4], number[4:10], number[10:]))
    return separator.join(number[at : at + 4] for at in range(0, length, 4))


def chinese_id(rng: random.Random, off_by: int = 0) -> str:
    """A resident identity number; with `off_by`, one whose check character is wrong."""
    area = rng.choice(["110101", "310115", "440305", "510104", "330106", "650102", "420111", "150102", "810000"])
    born = f"{rng.randint(1940, 2015)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
    body = f"{area}{born}{rng.randint(0, 999):03}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    check = sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True)) % 11
    return body + "10X98765432"[(check + off_by) % 11]


def iban(rng: random.Random, off_by: int = 0) -> str:
    """An account number of one of six countries, in one piece or in groups of four."""
    country, form = rng.choice(
        [
            ("DE", "9" * 18),
            ("GB", "AAAA" + "9" * 14),
            ("FR", "9" * 10 + "A" * 11 + "99"),
            ("ES", "9" * 20),
            ("NL", "AAAA" + "9" * 10),
            ("CH", "9" * 17),
        ]
    )
    account = "".join(rng.choice(string.digits if place == "9" else string.ascii_uppercase) for place in form)
    remainder = 0
    for character in account + country + "00":
        for digit in str(int(character, 36)):
            remainder = (remainder * 10 + int(digit)) % 97
    number = f"{country}{(98 - remainder + off_by - 2) % 97 + 2:02}{account}"
    return number if rng.random() < 0.5 else " ".join(number[at : at + 4] for at in range(0, len(number), 4))


def chinese_phone(rng: random.Random) -> str:
    """A mobile number, a land line or a service number."""
    if rng.random() < 0.7:
        number = mobile_phone(rng)
        parts = (number[:3], number[3:7], number[7:])
        return rng.choice(["", "", "+86 ", "+86", "86-"]) + rng.choice(["", " ", "-"]).join(parts)
    code, length = rng.choice([("010", 8), ("021", 8), ("0755", 8), ("028", 8), ("0571", 8), ("0431", 8)])
    number = rng.choice("68") + _digits(rng, length - 1)
    return rng.choice([f"{code}-{number}", f"({code}){number}", f"（{code}）{number}", f"{code} {number}"])


def mobile_phone(rng: random.Random) -> str:
    """A Chinese mobile number in one piece."""
    return rng.choice(["138", "139", "150", "159", "177", "186", "188", "199", "131", "156"]) + _digits(rng, 8)


def american_phone(rng: random.Random) -> str:
    """A number with an area code that is in use; some with an extension."""
    return american_number(rng) + rng.choice(["", "", "", f" ext. {rng.randint(100, 999)}"])


def american_number(rng: random.Random) -> str:
    """The same without an extension."""
    area = rng.choice(["212", "415", "650", "312", "206", "617", "305", "713", "404", "503"])
    exchange, line = f"{rng.randint(2, 9)}{rng.choice('2345678')}{rng.choice('023456789')}", _digits(rng, 4)
    form = rng.choice(["({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "+1 {} {} {}", "+1-{}-{}-{}", "1-{}-{}-{}", "({}){}-{}"])
    return form.format(area, exchange, line)


def international_phone(rng: random.Random) -> str:
    """A number with the code of its country."""
    form = rng.choice(
        [
            "+44 20 7946 0###",
            "+44 7911 12####",
            "+33 1 42 68 5# ##",
            "+49 30 9018####",
            "+49 (0)30 9018####",
            "+81 3-3581-####",
            "+82 2-312-####",
            "+61 2 9374 ####",
            "+91 98765 4####",
            "+65 6123 4###",
            "+852 2123 4###",
            "+886 2 2345 6###",
            "0044 20 7946 0###",
        ]
    )
    return "".join(rng.choice(string.digits) if character == "#" else character for character in form)


def local_phone(rng: random.Random) -> str:
    """A number without the code of a city or a country, which only a word beside it can tell."""
    length, form = rng.choice([(8, "{}{}"), (7, "{}{}"), (8, "{} {}"), (8, "{}-{}"), (7, "{}-{}")])
    number = rng.choice("345678") + _digits(rng, length - 1)
    return form.format(number[:-4], number[-4:])


def email(rng: random.Random) -> str:
    """An address at a provider, a company or a university."""
    name = rng.choice(
        ["li.wei", "zhang_san", "wang-fang", "chen88", "j.smith", "anna+news", "o'brien", "12345678", "x"]
    )
    domain = rng.choice(["qq.com", "163.com", "gmail.com", "mail.tsinghua.edu.cn", "corp.example.co.uk", "foo-bar.io"])
    return f"{name}@{domain}"


def ip_address(rng: random.Random) -> str:
    """A public IPv4 or IPv6 address."""
    if rng.random() < 0.25:
        groups = [f"{rng.randint(1, 0xFFFF):x}" for _ in range(4)]
        return f"2a00:1450:{groups[0]}:{groups[1]}::{groups[2]}"
    first = rng.choice([8, 23, 58, 98, 114, 139, 203, 220])
    return f"{first}.{rng.randint(16, 250)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


def passport(rng: random.Random) -> str:
    """A Chinese, American, British or German form of number."""
    return rng.choice(
        [
            f"E{_digits(rng, 8)}",
            f"EA{_digits(rng, 7)}",
            f"G{_digits(rng, 8)}",
            _digits(rng, 9),
            f"C{rng.randint(1, 9)}X{_digits(rng, 6)}",
        ]
    )


def url_with_token(rng: random.Random) -> str:
    """An address with a session, a token, a signature or a password."""
    token = _token(rng, 32)
    return rng.choice(
        [
            f"https://api.foo.cn/v1/users?access_token={token}",
            f"https://bucket.s3.amazonaws.com/a.pdf?X-Amz-Expires=300&X-Amz-Signature={rng.getrandbits(256):064x}",
            f"http://shop.foo.com/cart;jsessionid={rng.getrandbits(128):032X}",
            f"https://admin:{_token(rng, 10)}@db.foo.com:5432/main",
            f"https://foo.com/reset?user=12&token={token}",
            f"https://foo.com/callback#access_token={token}&state=1",
            f"https://maps.foo.com/js?key={token}&v=3",
        ]
    )


def secret(rng: random.Random) -> str:
    """A key in a form that its issuer gave it."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()).decode().rstrip("=")
    payload = base64.urlsafe_b64encode(json.dumps({"sub": str(rng.random())}).encode()).decode().rstrip("=")
    base32 = string.ascii_uppercase + "234567"
    return rng.choice(
        [
            "AKIA" + "".join(rng.choice(base32) for _ in range(16)),
            "ghp_" + _token(rng, 36),
            f"xoxb-{_digits(rng, 12)}-{_token(rng, 24)}",
            "sk_live_" + _token(rng, 24),
            "AIza" + _token(rng, 35),
            f"{header}.{payload}.{_token(rng, 43)}",
            "sk-" + _token(rng, 48),
            "hf_" + _token(rng, 34),
            "LTAI5t" + _token(rng, 18),
            "glpat-" + _token(rng, 20),
            "-----BEGIN RSA PRIVATE KEY-----\n"
            + "\n".join(_token(rng, 64) for _ in range(3))
            + "\n-----END RSA PRIVATE KEY-----",
        ]
    )


def assigned_secret(rng: random.Random) -> str:
    """A key without a form of its own, or a password."""
    return rng.choice(
        [_token(rng, 32), f"{rng.getrandbits(160):040x}", _token(rng, 9) + rng.choice("!@#$") + _digits(rng, 2)]
    )


def _digits(rng: random.Random, length: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(length))


def _token(rng: random.Random, length: int) -> str:
    """Letters and digits of which some are digits for sure, as of any real token of that length."""
    characters = [rng.choice(string.ascii_letters + string.digits) for _ in range(length)]
    for place in range(2, length, 5):
        characters[place] = rng.choice(string.digits)
    return "".join(characters)
