import itertools
import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from personal_data_sets import CHINESE, ENGLISH, generated

from lm_pipeline.corpus.personal_data.find import KINDS, find
from lm_pipeline.corpus.text.normalisation import normalise
from lm_pipeline.specs.cleaning import PersonalData
from tests.unit.corpus.personal_data.examples import CASES


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


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("phone", "手机：13800138000/13900139000", ["13800138000", "13900139000"]),
        ("phone", "13800138000-13900139000,13700137000", ["13800138000", "13900139000", "13700137000"]),
        ("phone", "电话：010-62781234/62785678", ["010-62781234", "62785678"]),
        ("phone", "电话：010-62781234/13800138000", ["010-62781234", "13800138000"]),
        ("phone", "电话：62781234/62785678", ["62781234/62785678"]),
        ("phone", "Tel: 650-253-0000/212-736-5000", ["650-253-0000", "212-736-5000"]),
        ("phone", "手机13800138000_微信同号", ["13800138000"]),
        ("phone", "650-253-0000 ext. 123/212-736-5000", ["650-253-0000 ext. 123", "212-736-5000"]),
        ("phone", "(650) 253-0000 Ext. 123/(212) 736-5000 x4", ["(650) 253-0000 Ext. 123", "(212) 736-5000 x4"]),
        ("phone", "电话：010-62781234转100/010-62785678", ["010-62781234转100", "010-62785678"]),
        ("phone", "010-62781234轉100,13800138000", ["010-62781234轉100", "13800138000"]),
        ("phone", "010-62781234转100/200、650-253-0000 ext. 1/2/3", ["010-62781234转100", "650-253-0000 ext. 1"]),
        ("phone", "650-253-0000 ext. 12/34/212-736-5000", ["650-253-0000 ext. 12", "212-736-5000"]),
        ("chinese_id", "身份证:110105194912310021/11010519491231002X", ["11010519491231002X"]),
        ("chinese_id", "11010519491231002X/11010519491231002X", ["11010519491231002X"] * 2),
        ("credit_card", "4111111111111111/4012888888881881", ["4111111111111111", "4012888888881881"]),
        ("ip_address", "8.8.8.8/32 123.125.114.144/220.181.38.148", ["123.125.114.144", "220.181.38.148"]),
        ("email", "li@foo.com/wei@bar.com/x@foo.cn", ["li@foo.com", "wei@bar.com", "x@foo.cn"]),
    ],
)
def test_values_with_a_sign_between_them_are_several(kind, text, expected):
    assert values(text, kind) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2023/13800138000",
        "13800138000/3",
        "13800138000-2023",
        "1,380,013,8000",
        "a_13800138000",
        "13800138000_a",
        "5x100/13800138000",
    ],
)
def test_a_part_of_a_number_is_none(text):
    assert values(text, "phone") == []


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
