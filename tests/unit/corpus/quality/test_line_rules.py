import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.quality.line_rules import CITATIONS, POLICY_PHRASES, RULES, without_lines
from lm_pipeline.corpus.text.normalisation import normalise
from lm_pipeline.specs.cleaning import LineRules
from tests.unit.corpus.quality.reference_statistics import TERMINAL, tokens_of

ALL = LineRules(terminal_punctuation=True)
GOOD = {"english": "This line ends as it should.", "chinese": "这一行写完了。"}
# By rule: a line in each language that this rule takes out and no earlier one.
BAD = {
    "too_long_word": ("a " + "x" * 1001 + " is too long.", "字：" + "x" * 1001 + "。"),
    "no_terminal_punc": ("This line does not end...", "这一行没有写完……"),
    "too_few_words": ("Two words.", "二字"),
    "javascript": ("Please enable JavaScript in your browser.", "请启用javascript功能。"),
    "policy": ("This site USES COOKIES to annoy you.", "请阅读我们的隐私政策。"),
}


def filtered(text, rules=ALL):
    texts, removals = without_lines(pl.Series([text]), rules)
    return texts[0], removals.to_list()[0]


def test_every_rule_has_its_line():
    assert list(BAD) == list(RULES)


@pytest.mark.parametrize("language", GOOD)
@pytest.mark.parametrize("rule", RULES)
def test_a_line_that_breaks_a_rule_goes_and_is_counted(rule, language):
    bad = BAD[rule][list(GOOD).index(language)]
    # A Chinese word that is too short for a line ends in nothing, so the rule before it is off.
    rules = ALL.model_copy(update={"terminal_punctuation": rule != "too_few_words" or language == "english"})
    text, removals = filtered(f"{GOOD[language]}\n{bad}\n{GOOD[language]}", rules)
    assert text == f"{GOOD[language]}\n{GOOD[language]}"
    assert removals == [{"rule": rule, "count": 1, "characters": len(bad) + 1}]


def test_rules_that_are_off_take_nothing_out():
    off = LineRules(min_words=None, max_word_characters=None, javascript=False, policy=False, citations=False)
    text = "\n".join(line for lines in BAD.values() for line in lines) + "\n\nSee [1]."
    assert filtered(text, off) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        "It is so.[12] It is not.[citation needed]",
        "是这样。[3]不是这样。[edit]",
        "是这样。[注 3]不是这样。[来源请求]",
        "歷史[編輯 | 編輯原始碼]是這樣。[來源請求]",
        "歴史[編集]はこうです。[要出典]",
        "이 도시의 역사[편집]는 아주 오래 되었다.[출처 필요]",
    ],
)
def test_citations_go_and_their_characters_are_counted(text):
    bare = re.sub(r"\[[^]]*]", "", text)
    assert filtered(text) == (bare, [{"rule": CITATIONS, "count": 2, "characters": len(text) - len(bare)}])


def test_blank_lines_have_too_few_words():
    text, removals = filtered(f"{GOOD['english']}\n\n{GOOD['chinese']}", LineRules())
    assert text == f"{GOOD['english']}\n{GOOD['chinese']}"
    assert removals == [{"rule": "too_few_words", "count": 1, "characters": 1}]


def test_a_text_of_which_nothing_stays_is_empty():
    texts, removals = without_lines(pl.Series(["no\nend", "", GOOD["english"]]), ALL)
    assert texts.to_list() == ["", "", GOOD["english"]]
    assert removals.list.len().to_list() == [1, 0, 0]


def reference(text, rules):
    """C4's lines as `datatrove` has them, with the words of this package, in plain Python."""
    if rules.citations:
        text = re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", text)
    kept, removed = [], {}
    lines = text.split("\n") if text else []
    for number, line in enumerate(lines):
        stripped, words = line.strip(), tokens_of(line)
        ends_well = stripped.endswith(tuple(TERMINAL)) and not stripped.endswith(("...", "…"))
        broken = [
            any(len(word) > rules.max_word_characters for word in words),
            rules.terminal_punctuation and not ends_well,
            len(words) < rules.min_words,
            "javascript" in line.lower(),
            any(phrase in line.lower() for phrase in POLICY_PHRASES),
        ]
        if any(broken):
            rule = RULES[broken.index(True)]
            characters = len(line) + (number < len(lines) - 1)
            count, total = removed.get(rule, (0, 0))
            removed[rule] = (count + 1, total + characters)
        else:
            kept.append(stripped)
    return "\n".join(kept), removed


PIECES = st.sampled_from(
    ["the", "cat.", "猫", "。", "...", "…", "\n", "\n\n", " ", "　", "JavaScript", "xxxxxxxxx", "[1]", '"']
)


@settings(deadline=None)
@given(st.lists(st.lists(PIECES, max_size=25).map(" ".join), min_size=1, max_size=4), st.booleans())
def test_the_lines_are_those_of_the_reference(texts, terminal_punctuation):
    rules = LineRules(terminal_punctuation=terminal_punctuation, max_word_characters=9)
    normal = [normalise(text) for text in texts]
    kept, removals = without_lines(pl.Series(normal, dtype=pl.String), rules)
    expected = [reference(text, rules) for text in normal]
    assert kept.to_list() == [text for text, _ in expected]
    counted = [
        {item["rule"]: (item["count"], item["characters"]) for item in items if item["rule"] != CITATIONS}
        for items in removals.to_list()
    ]
    assert counted == [removed for _, removed in expected]
