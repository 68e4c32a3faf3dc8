"""Sentences with personal data whose places are known, generated with a seed: Chinese and English.

Numbers are built from the standards' formulas here, not by the code under test. A third of the sentences holds what
only looks like personal data: numbers with a wrong check digit, orders, dates, versions, private networks, hashes.
"""

import base64
import itertools
import json
import random
import re
import string
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lm_pipeline.corpus.normalisation import normalise


class Example(NamedTuple):
    """A text and its spans."""

    text: str
    spans: list[tuple[int, int, str]]
    """First character, the one after the last, kind."""


Makers = Sequence[Callable[[random.Random], str]]
"""Functions that make values of a kind."""
Sentences = dict[str, tuple[Makers, Sequence[str]]]
"""By kind: makers of values, and sentences with a place for one."""


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
        number = rng.choice(["138", "139", "150", "159", "177", "186", "188", "199", "131", "156"]) + _digits(rng, 8)
        parts = (number[:3], number[3:7], number[7:])
        return rng.choice(["", "", "+86 ", "+86", "86-"]) + rng.choice(["", " ", "-"]).join(parts)
    code, length = rng.choice([("010", 8), ("021", 8), ("0755", 8), ("028", 8), ("0571", 8), ("0431", 8)])
    number = rng.choice("68") + _digits(rng, length - 1)
    return rng.choice([f"{code}-{number}", f"({code}){number}", f"（{code}）{number}", f"{code} {number}"])


def american_phone(rng: random.Random) -> str:
    """A number with an area code that is in use."""
    area = rng.choice(["212", "415", "650", "312", "206", "617", "305", "713", "404", "503"])
    exchange, line = f"{rng.randint(2, 9)}{rng.choice('2345678')}{rng.choice('023456789')}", _digits(rng, 4)
    form = rng.choice(["({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "+1 {} {} {}", "+1-{}-{}-{}", "1-{}-{}-{}", "({}){}-{}"])
    return form.format(area, exchange, line) + rng.choice(["", "", "", f" ext. {rng.randint(100, 999)}"])


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


CHINESE: Sentences = {
    "email": ([email], ["请把简历发到{}，谢谢。", "联系邮箱：{}", "我的邮箱是{}有事写信", "作者（{}）保留所有权利。"]),
    "phone": (
        [chinese_phone, chinese_phone, international_phone],
        [
            "有事请拨打{}。",
            "手机号{}，全天在线",
            "联系电话：{}（王女士）",
            "收件人李雷，{}，北京市朝阳区",
            "订餐热线{}欢迎来电",
            "他留下了号码{}就走了",
        ],
    ),
    "ip_address": ([ip_address], ["服务器的IP地址是{}。", "攻击来自{}，已封禁", "登录IP：{}", "把域名解析到{}即可"]),
    "chinese_id": (
        [chinese_id],
        ["身份证号{}。", "证件号码：{}", "张三（{}）系本案被告人", "姓名：李四 身份证：{} 性别：女"],
    ),
    "credit_card": ([credit_card], ["请汇款到{}。", "银行卡号：{}", "卡号{}，户名王五", "信用卡{}已冻结"]),
    "iban": ([iban], ["收款账号（IBAN）：{}。", "请付款至{}", "国际账号{}，开户行在海外"]),
    "passport": ([passport], ["护照号码：{}。", "护照号{}，有效期十年", "中国护照（{}）遗失声明"]),
    "url_with_token": ([url_with_token], ["点击 {} 重置密码", "接口地址：{}", "下载链接 {} ，一小时内有效"]),
    "secret": ([secret], ["我的密钥是 {} 请勿外传", "配置文件里写着 {}", "密钥：{}"]),
    "secret (assigned)": ([assigned_secret], ["密码：{}", "密钥为{}", 'api_key = "{}"', "export SECRET_TOKEN={}"]),
}
ENGLISH: Sentences = {
    "ip_address": ([ip_address], ["Blocked {} after 5 failures.", "The server at {} is down", "ping {} timed out"]),
    "passport": ([passport], ["Passport number: {}.", "my passport no. is {}", "passport {} expires in May"]),
    "url_with_token": ([url_with_token], ["Click {} to reset.", "curl '{}'", "See <{}> for more"]),
    "secret": ([secret], ["Here is my key: {} please rotate it", "token {} leaked", "export KEY={}"]),
    "secret (assigned)": (
        [assigned_secret],
        ["password: {}", 'api_key = "{}"', "client_secret={}", "The password is {}"],
    ),
    "phone": ([american_phone, international_phone], ["Ring me on {}.", "Office: {}", "{} (mobile)"]),
    "email": ([email], ["Write to {}.", "From: {}", "<{}>"]),
}
ODD: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "email": (["li.wei (at) foo.com", "li.wei#qq.com", "李伟@例子.中国", "li.wei @ foo.com"], ["邮箱{}。"]),
    "phone": (
        ["138.0013.8000", "１３８００１３８０００", "一三八零零一三八零零零", "1 3 8 0 0 1 3 8 0 0 0",
         "62341234", "4152345678", "(96) 627-277"],
        ["找他{}。", "联系电话{}", "Call {} now", "It was {} again"],
    ),
    "ip_address": (["8.8.8.8", "58[.]74[.]121[.]78", "58.74.121.78"], ["连接{}失败", "{}:8080", "{}/24", "v{}"]),
    "chinese_id": (["11010519491231002x", "110105-19491231-002X", "1101 0519 4912 3100 2X"], ["身份证{}"]),
    "credit_card": (["4111.1111.1111.1111", "４１１１１１１１１１１１１１１１", "4111  1111  1111  1111"], ["卡号{}"]),
    "iban": (["gb82west12345698765432", "GB82-WEST-1234-5698-7654-32"], ["IBAN {}"]),
    "passport": (["E12345678"], ["证件{}", "passport number of hers, as she says: E1, no, {}"]),
    "secret": (["correct horse battery staple", "tr0ub4dor"], ["密码：{}", "my login is joe / {}"]),
    "url_with_token": (
        ["foo.com/r?token=a8f5f167f44f4964e6c998de", "https://foo.com/r/a8f5f167f44f4964e6c998de"], ["打开{}"]
    ),
}  # fmt: skip
"""Ways of writing that are rarer than those above, or meant to escape a search."""
NEGATIVES = (
    "订单号2023{0:011}已发货，运单{1:012}。",
    "会议定于2023-04-05 12:30召开，第3.2.1节第10.20.30.40条。",
    "书号978-7-111-{0:05}-6，定价59.80元，版本2.13.0.1。",
    "网关192.168.1.1，子网掩码255.255.255.0，回环127.0.0.1。",
    "QQ群{0:09}，共有1,234,567,890人次浏览。",
    "身份证号{bad_id}校验位有误。",
    "卡号{bad_card}不存在。",
    "圆周率3.14159265358979323846，自然常数2.718281828459045。",
    "型号GB 18030-2022，文号（2019）最高法民终123456789号。",
    "ISBN 978-0-13-{0:06}-2, pages 1990-2005, $1,234,567.89, 12:30:45.",
    "commit {sha}, build 20230405.123456, uuid {uuid}",
    "version 10.4.3.12 of the firmware; section 4.1.2.3; std::vector<int>::iterator; 10.0.0.8 and fe80::1",
    'The token is a word, the password is required, api_key = os.environ["API_KEY"], secret: ${{SECRET}}',
    "icon@2x.png and foo@bar, @handle, git@github.com:a/b.git, pkg@1.2.3",
    "IBAN {bad_iban} has a typing mistake.",
    "See https://foo.com/page?id=12345678&lang=zh#section-2 and https://foo.com/keys/key.html",
    "tokens: 1234567 1234568 1234569; loss 0.123456789; 1e-05; 0x7ffee4b5c6d0; 2013123456789",
    "护照办理须知：携带户口本，费用120元，工作日9:00-17:00。",
    "输入密码：至少8位；忘记密码请点这里。",
)


def written_oddly() -> list[Example]:
    """Every value of `ODD` in every sentence of its kind, in the form that texts have after normalisation."""
    examples = []
    for kind, (values, templates) in ODD.items():
        for template, value in itertools.product(templates, values):
            before, after = template.split("{}")
            span = (len(before), len(before) + len(value), kind)
            examples.append(Example(normalise(before + value + after, "ascii"), [span]))
    return examples


def generated(kinds: Sentences, number: int, seed: int) -> list[Example]:
    """So many sentences of every kind, and half as many that have none."""
    rng = random.Random(f"{seed}")
    examples = []
    for name, (makers, templates) in kinds.items():
        for at in range(number):
            before, after = templates[at % len(templates)].split("{}")
            value = makers[at % len(makers)](rng)
            span = (len(before), len(before) + len(value), name.partition(" ")[0])
            examples.append(Example(before + value + after, [span]))
    without = number * len(kinds) // 2
    return examples + [Example(_negative(NEGATIVES[at % len(NEGATIVES)], rng), []) for at in range(without)]


def _negative(template: str, rng: random.Random) -> str:
    return template.format(
        rng.randrange(10**5), rng.randrange(10**9), bad_id=chinese_id(rng, off_by=rng.randint(1, 10)),
        bad_card=luhn_number(rng, "4", 16, off_by=rng.randint(1, 9)), bad_iban=iban(rng, off_by=rng.randint(1, 90)),
        sha=f"{rng.getrandbits(160):040x}", uuid=str(uuid.UUID(int=rng.getrandbits(128))),
    )  # fmt: skip


_FILLERS = {"credit_card_number": ("credit_card", credit_card), "iban": ("iban", iban), "email": ("email", email),
            "phone_number": ("phone", american_phone), "ip_address": ("ip_address", ip_address)}  # fmt: skip
_WORDS = {"year": "1987", "age": "42", "zipcode": "77058", "postcode": "SW1A 1AA", "building_number": "23", "ssn": "",
          "date_time": "1998-06-28 14:48:14", "date_of_birth": "12/27/1986", "url": "http://www.DialForum.co.uk/",
          "us_driver_license": ""}  # fmt: skip


def filled(templates: Sequence[str], seed: int) -> Iterator[Example]:
    """Templates in which `{{credit_card_number}}` and the like stand for values, every line once."""
    rng = random.Random(f"{seed}")
    for template in templates:
        pieces = re.split(r"\{\{([a-z_]+)\}\}", template.replace("\\n", "\n"))
        text, spans = "", []
        for at, piece in enumerate(pieces):
            if at % 2 and piece in _FILLERS:
                kind, make = _FILLERS[piece]
                value = make(rng)
                spans.append((len(text), len(text) + len(value), kind))
                text += value
            else:
                text += _WORDS.get(piece, "Miller") if at % 2 else piece
        yield Example(text, spans)
