import itertools
import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.personal_data_sets import CHINESE, ENGLISH, generated
from lm_pipeline.corpus.normalisation import normalise
from lm_pipeline.corpus.personal_data.find import KINDS, find
from lm_pipeline.specs.cleaning import PersonalData

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

# By kind: values in a text that is otherwise clean, in English and in Chinese, then what only looks like it.
CASES = {
    "email": (
        [
            "write to ann.lee+news@mail.example.co.uk today",
            "邮箱zhang_san@163.com，回复快",
            "<o'brien@foo.io>",
            "write to lee (at) foo [dot] co [dot] uk.",
            "Mail ann.lee at foo dot com today",
            "邮箱：zhang[AT]foo.cn，回复快",
            "邮箱zhang123 @ qq.com",
            "邮箱zhang#vip.qq.com。",
            "邮箱ｌｉ＠ｆｏｏ．ｃｎ。",
        ],
        [
            "ann.lee+news@mail.example.co.uk",
            "zhang_san@163.com",
            "o'brien@foo.io",
            "lee (at) foo [dot] co [dot] uk",
            "ann.lee at foo dot com",
            "zhang[AT]foo.cn",
            "zhang123 @ qq.com",
            "zhang#vip.qq.com",
            "ｌｉ＠ｆｏｏ．ｃｎ",
        ],
        [
            "git clone git@github.com:a/b.git",
            "icon@2x.png",
            "@handle",
            "a@b",
            "x@1.2.3",
            "a..b@foo.com",
            "发到@微博",
            "look at amazon dot com",
            "meet me @ foo.com",
            "the value (at) the end (dot)",
            "see page.html#section.c",
            "foo.com/a#qq.com",
            "numbers[at](10.5)",
        ],
    ),
    "phone": (
        [
            "Call (650) 253-0000 now",
            "ring +44 20 7946 0018.",
            "fax: 69 987 88 37",
            "手机13800138000给我",
            "拨打010-62751234转100",
            "电话：（021）62341234",
            "+86 138-0013-8000",
            "致电 0086 755 8312 3456",
            "手机一三八零零一三八零零零",
            "mine is 1 3 8 0 0 1 3 8 0 0 0",
            "手机１３８００１３８０００给我",
        ],
        [
            "(650) 253-0000",
            "+44 20 7946 0018",
            "69 987 88 37",
            "13800138000",
            "010-62751234转100",
            "（021）62341234",
            "+86 138-0013-8000",
            "0086 755 8312 3456",
            "一三八零零一三八零零零",
            "1 3 8 0 0 1 3 8 0 0 0",
            "１３８００１３８０００",
        ],
        [
            "一二三四五六七八九零一",
            "一三八零零一三八零零零一",
            "0 1 3 8 0 0 1 3 8 0 0 0",
            "1 3 8 0 0 1 3 8 0 0 0 7",
            "order 12345678901",
            "on 2013-04-05",
            "called on 2013-04-05",
            "订单号20230405123456",
            "1990-2005年",
            "价格1,234,567.89",
            "3.14159265358979",
        ],
    ),
    "ip_address": (
        ["host 58.74.121.78 is down", "来自2a00:1450:4001:81b::200e的请求", "IP地址：114.114.114.114。"],
        ["58.74.121.78", "2a00:1450:4001:81b::200e", "114.114.114.114"],
        [
            "192.168.0.1",
            "127.0.0.1",
            "version 10.20.30.40",
            "第12.20.30.40条",
            "1.2.3.4",
            "999.1.1.1",
            "std::vector::iterator",
            "12:30:45",
            "fe80::1",
            "1.2.3.4.5.60.70",
        ],
    ),
    "chinese_id": (
        ["ID 11010519491231002X here", "身份证号：110105 19491231 002X。", "身份证号码130503670401001"],
        ["11010519491231002X", "110105 19491231 002X", "130503670401001"],
        [
            "110105194912310021",
            "号码130503670401001",
            "110105194913310028",
            "00110519491231002X",
            "911010519491231002X",
        ],
    ),
    "credit_card": (
        ["card 4111 1111 1111 1111 expires", "卡号6222021234567890128", "amex 3782-822463-10005", "5555555555554444"],
        ["4111 1111 1111 1111", "6222021234567890128", "3782-822463-10005", "5555555555554444"],
        ["4111 1111 1111 1112", "4444444444444444", "9111111111111111", "0.4111111111111111", "x4111111111111111"],
    ),
    "iban": (
        ["IBAN GB82 WEST 1234 5698 7654 32 THANKS", "账号DE89370400440532013000。", "GB82-WEST-1234-5698-7654-32"],
        ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "GB82-WEST-1234-5698-7654-32"],
        ["GB83 WEST 1234 5698 7654 32", "ZZ89370400440532013000", "XDE89370400440532013000", "DE8937040044053201300"],
    ),
    "passport": (
        ["Passport No. 340020013 expires", "护照号码：E12345678，有效", "my passport number is EA1234567"],
        ["340020013", "E12345678", "EA1234567"],
        ["E12345678", "passport fee 120", "护照费用120元，共12345份", "passport A1234567890"],
    ),
    "url_with_token": (
        [
            "see https://api.foo.cn/u?access_token=a8f5f167f44f4964e6c998de.",
            "链接https://foo.com/r;jsessionid=0AAB6C8DE415E2E5F307CF33，请查收",
            "postgres://admin:s3cr3t@db.foo.com/main",
            "https://foo.com/cb#access_token=2YotnFZFEjr1zCsicMWpAA&state=x",
        ],
        [
            "https://api.foo.cn/u?access_token=a8f5f167f44f4964e6c998de",
            "https://foo.com/r;jsessionid=0AAB6C8DE415E2E5F307CF33",
            "postgres://admin:s3cr3t@db.foo.com/main",
            "https://foo.com/cb#access_token=2YotnFZFEjr1zCsicMWpAA&state=x",
        ],
        [
            "https://foo.com/?id=12345678",
            "https://foo.com/?token=YOUR_TOKEN_1",
            "https://foo.com/?key=chapters",
            "http://[::1",
            "https://me@foo.com/",
        ],
    ),
    "secret": (
        [
            "key AKIAIOSFODNN7ABCDEF2 leaked",
            "密钥是ghp_16C7e42F292c6912E7710c838347Ae178B4a，请更换",
            f"Bearer {JWT}",
            f"配置：\n{PEM}\n完",
            'api_key = "a8F5f167f44f4964e6c998de"',
            "密码：Tr0ub4dor",
            "password: hunter22",
            "xoxb-123456789012-abcdefABCDEF",
        ],
        [
            "AKIAIOSFODNN7ABCDEF2",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            JWT,
            PEM,
            "a8F5f167f44f4964e6c998de",
            "Tr0ub4dor",
            "hunter22",
            "xoxb-123456789012-abcdefABCDEF",
        ],
        [
            "AKIAIOSFODNN7EXAMPLE",
            "the token is a word",
            'api_key = os.environ["KEY_1234567890"]',
            "secret: ${SECRET}",
            "密码至少8位",
            "eyJub3QiOiJqd3QifQ.eyJhIjoxfQQQ.abcdefghijk",
            "password: required",
            "-----BEGIN PRIVATE KEY-----",
            "the secret of 1234567890 men",
        ],
    ),
}


def values(text, kind):
    return [text[span.start : span.end] for span in find(pl.Series([text])).get(0, []) if span.kind.name == kind]


def test_every_kind_of_the_spec_is_looked_for_and_has_its_cases():
    named = set(PersonalData.model_fields) - {"salt"}
    assert {kind.name for kind in KINDS} == named == set(CASES)


@pytest.mark.parametrize("kind", CASES)
def test_a_kind_is_found_in_english_and_in_chinese(kind):
    texts, expected, _ = CASES[kind]
    assert [values(text, kind) for text in texts] == [[value] for value in expected]


@pytest.mark.parametrize("kind", CASES)
def test_what_only_looks_like_it_is_not_found(kind):
    _, _, looks_like_it = CASES[kind]
    assert [(text, values(text, kind)) for text in looks_like_it if values(text, kind)] == []


def test_two_values_side_by_side_are_two():
    assert values("13800138000 13900139000", "phone") == ["13800138000", "13900139000"]
    assert values("a@foo.com,b@foo.com", "email") == ["a@foo.com", "b@foo.com"]


def test_spans_of_several_kinds_do_not_overlap_and_the_specific_one_wins():
    text = "https://u:p4ss@foo.com/x 然后 li@foo.com 和 6222021234567890128 及 13800138000"
    spans = find(pl.Series([text]))[0]
    assert [span.kind.name for span in spans] == ["url_with_token", "email", "credit_card", "phone"]
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_marking_candidates_changes_nothing_but_the_marks(kind):
    texts = pl.Series([example.text for sets in (CHINESE, ENGLISH) for example in generated(sets, 20, seed=3)])
    for pattern in kind.patterns:
        marked = texts.str.replace_all(pattern.regex, "${before}\ufdd0${value}\ufdd1")
        assert marked.str.replace_all("[\ufdd0\ufdd1]", "").to_list() == texts.to_list()


@given(st.lists(st.text(st.sampled_from("0123456789 -.()@:/aAéx中文，\n"), max_size=80), max_size=4))
def test_any_text_is_searched_and_spans_lie_in_it(texts):
    for index, spans in find(pl.Series([normalise(text) for text in texts], dtype=pl.String)).items():
        assert all(0 <= span.start < span.end <= len(texts[index]) for span in spans)


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "1 ",
        "a@",
        "a.",
        "1.1.1.1.",
        "passport ",
        "https://a?token=",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----\n",
        "GB82 WEST ",
        "密码：a1",
        "a:b:",
        "+1",
        "a (at) ",
        "a at b dot ",
        "a[at]b(dot)",
        "一三",
        "1 3 8 ",
        "a#qq.",
    ],
)
def test_hostile_text_costs_linear_time(unit):
    def seconds(length):
        text = pl.Series([unit * (length // len(unit))])
        started = time.process_time()
        find(text)
        return time.process_time() - started

    seconds(1000)
    assert seconds(400_000) < 10 * max(seconds(100_000), 0.05)


def test_most_of_it_is_found_and_little_else(shared_data):
    for sets, seed in ((CHINESE, 4), (ENGLISH, 5)):
        examples = generated(sets, 30, seed)
        found = find(pl.Series([example.text for example in examples]))
        known = sum(len(example.spans) for example in examples)
        right = wrong = 0
        for index, example in enumerate(examples):
            spans = {(span.start, span.end, span.kind.name) for span in found.get(index, [])}
            right += len(spans & set(example.spans))
            wrong += len(spans - set(example.spans))
        assert right >= 0.98 * known
        assert wrong <= 0.02 * known


def test_novels_in_both_languages_have_no_personal_data(shared_data):
    for name in ("small/lm/en/alice-in-wonderland.txt", "small/lm/zh/journey-to-the-west-ch1-20.txt"):
        assert find(pl.Series([normalise((shared_data / name).read_text("utf-8"))])) == {}
