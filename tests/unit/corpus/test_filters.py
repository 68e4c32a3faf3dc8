import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.filters import RULES, choose_profile, with_reasons, with_statistics
from lm_pipeline.specs.cleaning import CHINESE, PROFILES, Cleaning

ENGLISH_TEXT = (
    "The river that runs through the town is old, and people have walked along it to work with their children for as"
    " long as anyone can remember. In spring it floods the lower streets, so the houses there stand on stone feet, and"
    " boats are kept in the gardens beside the apple trees."
)
CHINESE_TEXT = (
    "这条河流过小镇已经有很多年了。人们每天沿着河边走去上班，孩子们在水里玩耍，老人坐在树下说话。"
    "春天的时候，河水会淹没低处的街道，所以那里的房子都建在石头上，花园里也放着小船。"
)
TRADITIONAL_TEXT = (
    "這條河流過小鎮已經有很多年了，人們每天沿著河邊走去上班，孩子們與老人在樹下說話，為了春天的水，也於石上建屋而居。"
)

# By rule: a text in each language that breaks this rule and no other.
BROKEN = {
    "gopher_short_doc": ("The cat and the dog have met.", "这是人的猫和狗。"),
    "gopher_long_doc": (f"{ENGLISH_TEXT}\n" * 2000, f"{CHINESE_TEXT}\n" * 1500),
    "gopher_below_avg_threshold": ("to be of it " * 20, CHINESE_TEXT),
    "gopher_above_avg_threshold": (
        "the internationalisation and professionalisation " * 20,
        "的internationalisation是" * 20,
    ),
    "gopher_too_many_hashes": (ENGLISH_TEXT.replace(" ", " #"), "这是我们的家#和人" * 10),
    "gopher_too_many_ellipsis": ("The cat and that dog… have met " * 10, "这是我们的家……和人" * 10),
    "gopher_too_many_bullets": ("- the cat and that dog have met again\n" * 10, "• 这是我们的家和人\n" * 10),
    "gopher_too_many_end_ellipsis": (
        "the cat and that dog have met again in the old town...\n" * 10,
        "这是我们的家和人，他在中间也有年月……\n" * 10,
    ),
    "gopher_below_alpha_threshold": ("and 12345 the 67890 " * 20, "的 12 是 34 " * 20),
    "gopher_too_few_stop_words": ("cats dogs birds like bread milk " * 10, "猫狗鸟鱼喜欢吃草" * 10),
}


def reasons_of(text, profile, cleaning=None):
    frame = pl.DataFrame({"text": [text.strip()], "profile": [profile]})
    return with_reasons(with_statistics(frame), cleaning or Cleaning())["reasons"].to_list()[0]


def breaking_thresholds(rule):
    """The defaults, but for the one rule that Chinese cannot break by them: no word is shorter than a character."""
    if rule == "gopher_below_avg_threshold":
        return Cleaning(chinese=CHINESE.model_copy(update={"min_mean_word_length": 1.5}))
    return Cleaning()


def test_every_rule_has_its_text():
    assert list(BROKEN) == [rule.name for rule in RULES]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_text_that_breaks_one_rule_is_rejected_for_it_alone(rule, profile):
    text = BROKEN[rule.name][list(PROFILES).index(profile)]
    cleaning = breaking_thresholds(rule.name)
    (reason,) = reasons_of(text, profile, cleaning)
    assert reason["rule"] == rule.name
    assert reason["threshold"] == getattr(getattr(cleaning, profile), rule.threshold)
    assert (reason["value"] < reason["threshold"]) == (rule.fails == "below")
    assert reason["value"] != reason["threshold"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_null_switches_a_rule_off(rule, profile):
    text = BROKEN[rule.name][list(PROFILES).index(profile)]
    cleaning = breaking_thresholds(rule.name)
    relaxed = getattr(cleaning, profile).model_copy(update={rule.threshold: None})
    assert reasons_of(text, profile, cleaning.model_copy(update={profile: relaxed})) == []


@pytest.mark.parametrize(
    ("text", "profile"), [(ENGLISH_TEXT, "english"), (CHINESE_TEXT, "chinese"), (TRADITIONAL_TEXT, "chinese")]
)
def test_ordinary_prose_is_kept(text, profile):
    assert reasons_of(text, profile) == []


def test_a_value_on_the_threshold_is_kept():
    words = "the and dogs " * 17
    assert reasons_of(words[: words.rindex(" dogs")], "english") == []  # 50 words
    assert [r["rule"] for r in reasons_of(" ".join(words.split()[:49]), "english")] == ["gopher_short_doc"]


def test_all_reasons_are_recorded_in_the_order_of_the_rules():
    rules = [reason["rule"] for reason in reasons_of("#...", "english", Cleaning(min_characters=10))]
    assert rules == [
        "too_short",
        "gopher_short_doc",
        "gopher_too_many_hashes",
        "gopher_too_many_ellipsis",
        "gopher_too_many_end_ellipsis",
        "gopher_below_alpha_threshold",
        "gopher_too_few_stop_words",
    ]


@pytest.mark.parametrize("text", ["短", "short"])
def test_a_text_below_min_characters_is_too_short(text):
    assert reasons_of(text, "none", Cleaning(min_characters=6)) == [
        {"rule": "too_short", "value": float(len(text)), "threshold": 6.0}
    ]


def test_profile_none_rejects_only_what_is_empty():
    assert reasons_of("#", "none") == []
    assert [reason["rule"] for reason in reasons_of("", "none")] == ["empty", "too_short"]


def test_the_english_profile_rejects_chinese_prose_so_the_profile_follows_the_language():
    assert reasons_of(CHINESE_TEXT, "english")
    languages = pl.DataFrame({"language": ["zh", "ja", "yue", "en", "ru", "und"]})
    chosen = languages.select(choose_profile(pl.col("language"), Cleaning())).to_series().to_list()
    assert chosen == ["chinese"] * 3 + ["english"] * 3


def test_rows_keep_their_order_and_their_own_reasons():
    texts = ["", ENGLISH_TEXT, "The cat and the dog have met.", ENGLISH_TEXT]
    frame = pl.DataFrame({"text": texts, "profile": "english"})
    rejected = with_reasons(with_statistics(frame), Cleaning())["reasons"].list.len().to_list()
    assert rejected == [4, 0, 1, 0]


def naive_statistics(text):
    """The definitions of the module's docstring, character by character."""
    tokens = []
    for run in text.split():
        current = ""
        for character in run:
            if unicodedata.name(character, "").startswith(("CJK UNIFIED", "HIRAGANA LETTER", "KATAKANA LETTER")):
                tokens += [current, character]
                current = ""
            else:
                current += character
        tokens.append(current)
    tokens = [token for token in tokens if token]
    words = [token for token in tokens if any(unicodedata.category(c)[0] in "LNM" for c in token)]
    lines = text.split("\n")
    return {
        "num_characters": len(text),
        "num_words": len(words),
        "mean_word_length": sum(map(len, words)) / len(words) if words else None,
        "hash_ratio": text.count("#") / len(tokens) if tokens else None,
        "bullet_lines": sum(line.lstrip().startswith(("-", "•")) for line in lines) / len(lines),
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines) / len(lines),
        "alpha_words": sum(any(c.isalpha() for c in token) for token in tokens) / len(tokens) if tokens else None,
    }


@settings(deadline=None)  # machines in CI are slow at times
@given(st.lists(st.text(st.sampled_from("aé1中文あア，。.#…-• \n　\t\u0301")), min_size=1, max_size=4))
def test_the_columns_agree_with_a_count_by_hand(texts):
    frame = pl.DataFrame({"text": texts, "profile": "english"}, schema={"text": pl.String, "profile": pl.String})
    for row in with_statistics(frame).iter_rows(named=True):
        expected = naive_statistics(row["text"])
        assert {name: row[name] for name in expected} == pytest.approx(expected)
