"""Sentences with personal data whose places are known, generated with a seed: Chinese and English.

A third of the sentences holds what only looks like personal data: numbers with a wrong check digit, orders, dates,
versions, private networks, hashes, and counts beside a word that telephone numbers stand beside as well.
"""

import itertools
import random
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from personal_data_values import (
    american_number,
    american_phone,
    assigned_secret,
    chinese_id,
    chinese_phone,
    credit_card,
    email,
    iban,
    international_phone,
    ip_address,
    local_phone,
    luhn_number,
    mobile_phone,
    passport,
    secret,
    url_with_token,
)

from lm_pipeline.corpus.text.normalisation import normalise


class Example(NamedTuple):
    """A text and its spans."""

    text: str
    spans: list[tuple[int, int, str]]
    """First character, the one after the last, kind."""


Makers = Sequence[Callable[[random.Random], str]]
"""Functions that make values of a kind."""
Sentences = dict[str, tuple[Makers, Sequence[str]]]
"""By kind: makers of values, and sentences with places for them."""


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
    "phone (beside a word)": (
        [local_phone],
        [
            "电话：{}",
            "联系电话是{}，请惠存",
            "电话号码为{}。",
            "请致电{}咨询",
            "座机{}，手机另询",
            "办公电话 {} 转总机",
            "手机号码:{}",
            "拨打热线电话{}。",
            "传真号：{}",
            "电话：王女士 {}",
            "联系方式（座机）：{}",
            "电话/传真：{}",
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
    "phone (pairs)": ([mobile_phone], ["手机：{}/{}", "{}-{}", "电话{},{}"]),
    "chinese_id (pairs)": ([chinese_id], ["身份证：{}/{}", "{}/{}系夫妻"]),
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
    "phone (beside a word)": (
        [local_phone],
        [
            "Phone: {}",
            "my phone number is {}.",
            "Call us at {}",
            "You can reach me on {} after six",
            "Tel. No. {}",
            "fax {}",
            "Mobile # {}",
            "Please call the office at {}.",
            "WhatsApp me: {}",
            "Telephone/fax: {}",
            "Ms. Li can be reached at {}",
            "TEL={}",
        ],
    ),
    "email": ([email], ["Write to {}.", "From: {}", "<{}>"]),
    "email (pairs)": ([email], ["{}/{}"]),
    "phone (pairs)": ([american_number], ["Tel: {}/{}"]),
    "credit_card (pairs)": ([credit_card], ["Cards: {}/{}"]),
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
    "手机出货量达到{2}部，手机用户超过{3}。",
    "微信月活跃用户超过{3}，手机：{2}部，热线接听{2}次。",
    "电话用户{2}户，拨打量{3}，手机销售{2}台，座机{2}部。",
    "护照签发量达到{2}本，护照办理{2}人次，通行证：{2}本。",
    "The firm aims to reach {2} users; phone shipments reached {3}.",
    "The cell culture had {2} and the cell count was {3}; mobile subscribers: {2}.",
    "Phones sold {2}, telephones {3}; we call {2} customers and faxed {3} pages; smartphone: {2}.",
    "Passports issued {2}; a passport costs {3} yuan; the passport office has {2} files.",
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
            text, *pieces = templates[at % len(templates)].split("{}")
            spans = []
            for piece in pieces:
                value = makers[at % len(makers)](rng)
                spans.append((len(text), len(text) + len(value), name.partition(" ")[0]))
                text += value + piece
            examples.append(Example(text, spans))
    without = number * len(kinds) // 2
    return examples + [Example(_negative(NEGATIVES[at % len(NEGATIVES)], rng), []) for at in range(without)]


def _negative(template: str, rng: random.Random) -> str:
    return template.format(
        rng.randrange(10**5), rng.randrange(10**9), rng.randrange(10**7, 10**8), rng.randrange(10**8, 10**9),
        bad_id=chinese_id(rng, off_by=rng.randint(1, 10)),
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
