from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.quality.custom_rules import check_custom
from lm_pipeline.corpus.quality.filters import RULES, choose_profile, with_reasons, with_statistics
from lm_pipeline.corpus.text.normalisation import normalise
from lm_pipeline.errors import SpecError
from lm_pipeline.specs.cleaning import CHINESE, PROFILES, Cleaning, CustomRule, QualityRules
from tests.unit.corpus.quality.reference_statistics import reference_statistics

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


# The same for the other sets, where texts that repeat themselves break several at a time.
REPEATED_LINES = (
    "\n".join(["Again and again."] * 3 + ["Then it was new."]),
    "\n".join(["又来了。"] * 3 + ["新的一行。"]),
)
BROKEN_BY_RULE = {
    "dup_line_frac": REPEATED_LINES,
    "dup_para_frac": tuple(text.replace("\n", "\n\n") for text in REPEATED_LINES),
    "dup_line_char_frac": REPEATED_LINES,
    "dup_para_char_frac": tuple(text.replace("\n", "\n\n") for text in REPEATED_LINES),
    "top_2_gram": ("buy now " * 9 + "or leave", "买吧" * 9 + "不然走"),
    "top_3_gram": ("buy it now " * 9 + "or leave", "快买吧" * 9 + "不然走"),
    "top_4_gram": ("do buy it now " * 9 + "or leave", "快快买吧" * 9 + "不然走"),
    **{
        f"duplicated_{n}_n_grams": (
            " ".join(f"word{i}" for i in range(n)) + " and " + " ".join(f"word{i}" for i in range(n)),
            "天地玄黄宇宙洪荒日月"[:n] + "，" + "天地玄黄宇宙洪荒日月"[:n],
        )
        for n in range(5, 11)
    },
    "too_few_sentences": ("One. Two! Three? Four", "一。二！三？四"),
    "lorem_ipsum": (f"{ENGLISH_TEXT} Lorem ipsum dolor.", f"{CHINESE_TEXT}lorem ipsum"),
    "curly_bracket": ("if (x) { return 1; }", "如果{返回}"),
    "line_punct_ratio": ("\n".join(["no end"] * 9 + ["An end."]), "\n".join(["没有句号"] * 10 + ["有。"])),
    "short_line_ratio": (f"short\nshort\nshort\n{ENGLISH_TEXT}", f"短\n短\n短\n{CHINESE_TEXT}"),
    "char_dup_ratio": REPEATED_LINES,
    "list_ratio": ("one\ntwo\nthree\nfour", "一\n二\n三\n四"),
    "language_score": (ENGLISH_TEXT, CHINESE_TEXT),
}


JAPANESE_TEXT = (
    "私は昨日、友だちと一緒に駅のそばにあるレストランへ行って、おいしいカレーを食べました。とても楽しかったので、"
    "また来週も行きたいと思います。"
)
CANTONESE_TEXT = (
    "我哋琴日去咗睇戲，佢哋話啲嘢好好食，跟住就喺街邊買嘢飲，大家都好開心，唔知幾時先至可以再嚟一次，聽日又要返工嘞。"
)
KOREAN_TEXT = "강은 오래전부터 마을을 지나 흐르고 사람들은 매일 강가를 걸어 일하러 갑니다. " * 6

BOTH = ("english", "chinese")
"""The profiles that every rule has its texts for, in this order."""


def measured(texts, profile, confidence=0.5, language=None):
    frame = pl.DataFrame(
        {"text": texts, "profile": profile, "language": language or ("zh" if profile == "chinese" else "en")},
        schema={"text": pl.String, "profile": pl.String, "language": pl.String},
    )
    return with_statistics(frame).with_columns(language_confidence=pl.lit(confidence, dtype=pl.Float32))


def reasons_of(text, profile, cleaning=None, confidence=0.5, language=None):
    rows = measured([text.strip()], profile, confidence, language)
    return with_reasons(rows, cleaning or Cleaning())["reasons"].to_list()[0]


def only(rule, profile, **changes):
    """The thresholds of one rule, every other one switched off."""
    default = PROFILES[profile]
    off = dict.fromkeys(QualityRules.model_fields) | {rule.threshold: getattr(default, rule.threshold)} | changes
    return Cleaning(rules=(rule.rule_set,), **{profile: default.model_copy(update=off)})


def breaking_thresholds(rule):
    """The defaults, but for the one rule that Chinese cannot break by them: no word is shorter than a character."""
    if rule == "gopher_below_avg_threshold":
        return Cleaning(chinese=CHINESE.model_copy(update={"min_mean_word_length": 1.5}))
    return Cleaning()


QUALITY_RULES = [rule for rule in RULES if rule.name in BROKEN]
OTHER_RULES = [rule for rule in RULES if rule.name not in BROKEN]


def test_every_rule_has_its_text():
    assert [*BROKEN, *BROKEN_BY_RULE] == [rule.name for rule in RULES]
    assert {rule.rule_set for rule in QUALITY_RULES} == {"gopher_quality"}


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize("rule", OTHER_RULES, ids=lambda rule: rule.name)
def test_a_text_that_breaks_a_rule_is_rejected_where_its_set_is_on(rule, profile):
    text = BROKEN_BY_RULE[rule.name][BOTH.index(profile)]
    threshold = getattr(PROFILES[profile], rule.threshold)
    cleaning = only(rule, profile)
    if threshold is None:
        assert reasons_of(text, profile, cleaning) == []
        threshold = QualityRules().model_dump()[rule.threshold]
        cleaning = only(rule, profile, **{rule.threshold: threshold})
    (reason,) = reasons_of(text, profile, cleaning)
    assert reason["rule"] == rule.name
    assert reason["threshold"] == pytest.approx(threshold)
    assert reason["value"] < threshold if rule.fails == "below" else reason["value"] > threshold
    assert reasons_of(text, profile, only(rule, profile, **{rule.threshold: None})) == []
    assert reasons_of(text, profile, cleaning.model_copy(update={"rules": ()})) == []


def test_a_value_on_a_fractional_threshold_is_kept():
    text = "\n".join(["an end."] * 3 + ["no end"] * 22)
    (rule,) = [rule for rule in RULES if rule.name == "line_punct_ratio"]
    assert reasons_of(text, "english", only(rule, "english")) == []  # 3 of 25 are 0.12
    assert reasons_of(f"{text}\nno end", "english", only(rule, "english")) != []


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize("rule", QUALITY_RULES, ids=lambda rule: rule.name)
def test_a_text_that_breaks_one_rule_is_rejected_for_it_alone(rule, profile):
    text = BROKEN[rule.name][BOTH.index(profile)]
    cleaning = breaking_thresholds(rule.name)
    (reason,) = reasons_of(text, profile, cleaning)
    assert reason["rule"] == rule.name
    assert reason["threshold"] == pytest.approx(getattr(getattr(cleaning, profile), rule.threshold))
    assert (reason["value"] < reason["threshold"]) == (rule.fails == "below")
    assert reason["value"] != reason["threshold"]


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize("rule", QUALITY_RULES, ids=lambda rule: rule.name)
def test_null_switches_a_rule_off(rule, profile):
    text = BROKEN[rule.name][BOTH.index(profile)]
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
    languages = pl.DataFrame({"language": ["zh", "ja", "yue", "en", "ru", "th", "und"]})
    chosen = languages.select(choose_profile(pl.col("language"), Cleaning())).to_series().to_list()
    assert chosen == ["chinese", "japanese", "chinese", "english", "other", "none", "other"]


@pytest.mark.parametrize(
    ("text", "profile", "language"),
    [
        (JAPANESE_TEXT, "japanese", "ja"),
        (JAPANESE_TEXT, "chinese", "ja"),
        (CANTONESE_TEXT, "chinese", "yue"),
        (KOREAN_TEXT, "other", "ko"),
        (KOREAN_TEXT, "none", "ko"),
    ],
)
def test_a_document_meets_the_stop_words_of_its_own_language(text, profile, language):
    assert measured([text], "chinese", language="zh")["num_stop_words"].item() < 2  # of Mandarin
    assert reasons_of(text, profile, language=language) == []


@pytest.mark.parametrize(
    ("text", "language"),
    [("猫犬鳥魚" * 15, "ja"), ("食飯飲茶" * 15, "yue"), ("吃饭喝茶" * 15, "wuu"), ("吃饭喝茶" * 15, "zh")],
)
def test_a_list_without_stop_words_is_rejected_in_every_language_that_has_some(text, language):
    profile = "japanese" if language == "ja" else "chinese"
    assert [reason["rule"] for reason in reasons_of(text, profile, language=language)] == ["gopher_too_few_stop_words"]


@pytest.mark.parametrize(
    ("profile", "language", "number"), [("chinese", "en", 2), ("japanese", "en", 1), ("english", "zh", 1)]
)
def test_without_stop_words_of_its_own_a_document_meets_those_of_its_profile(profile, language, number):
    assert measured(["The 的是の"], profile, language=language)["num_stop_words"].item() == number


@pytest.mark.parametrize("name", ["fra", "rus", "deu_1901", "kor", "hin", "tur", "vie", "arb", "swh", "jpn"])
def test_a_text_in_another_language_meets_no_rule_of_english(name, shared_data):
    text = (shared_data / f"small/langid/{name}.txt").read_text("utf-8")
    profile, language = ("japanese", "ja") if name == "jpn" else ("other", "xx")
    rules = Cleaning(rules=("gopher_quality", "fineweb"))
    assert reasons_of(normalise(text), profile, rules, confidence=0.9, language=language) == []
    assert reasons_of("12 34 # #\n" * 50, "other")


def test_rows_keep_their_order_and_their_own_reasons():
    texts = ["", ENGLISH_TEXT, "The cat and the dog have met.", ENGLISH_TEXT]
    rejected = with_reasons(measured(texts, "english"), Cleaning())["reasons"].list.len().to_list()
    assert rejected == [4, 0, 1, 0]


@pytest.mark.parametrize(("text", "profile"), [("long " * 50, "english"), ("长" * 50, "chinese")])
def test_a_text_above_max_characters_is_too_long(text, profile):
    (reason,) = reasons_of(text, profile, Cleaning(rules=(), max_characters=40))
    assert reason == {"rule": "too_long", "value": float(len(text.strip())), "threshold": 40.0}
    assert reasons_of(text, profile, Cleaning(rules=(), max_characters=len(text.strip()))) == []


def test_other_languages_than_those_asked_for_are_rejected():
    cleaning = Cleaning(rules=(), languages=("en",))
    assert reasons_of(ENGLISH_TEXT, "english", cleaning) == []
    assert reasons_of(CHINESE_TEXT, "chinese", cleaning) == [{"rule": "language", "value": 0.5, "threshold": None}]


@pytest.mark.parametrize(("text", "profile"), [(ENGLISH_TEXT, "english"), (CHINESE_TEXT, "chinese")])
def test_a_rule_of_ones_own_is_a_condition_over_the_statistics(text, profile):
    wordy = CustomRule(name="wordy", reject_if="num_words > 50 AND hash_ratio < 0.1 AND language <> 'xx'")
    never = CustomRule(name="never", reject_if="num_words < 0 OR profile = 'none'")
    assert reasons_of(text, profile, Cleaning(rules=(), custom=(never, wordy))) == [
        {"rule": "wordy", "value": None, "threshold": None}
    ]


def test_a_condition_that_is_null_rejects_nothing():
    rule = CustomRule(name="short_words", reject_if="mean_word_length < 3")
    cleaning = Cleaning(rules=(), custom=(rule,))
    assert reasons_of("...", "none", cleaning) == []
    assert [reason["rule"] for reason in reasons_of("ab 里", "none", cleaning)] == ["short_words"]
    assert check_custom(rule) is None


@pytest.mark.parametrize(
    "condition",
    [
        "num_words IN (1, 2) AND (num_lines > 2 OR NOT (num_lines BETWEEN (3) AND (4)))",
        "CASE WHEN (num_words > 1) THEN TRUE ELSE FALSE END",
        "COALESCE(round(hash_ratio, 1), GREATEST(num_words, 2)) > 2 AND language <> 'AVG(x)'",
        "num_words > 5 -- SUM(x)",
        "CAST(num_words AS DECIMAL(10, 2)) > 5",
    ],
)
def test_functions_of_one_document_are_allowed(condition):
    assert check_custom(CustomRule(name="mine", reject_if=condition)) is None


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("num_wrods > 5", "there is no column 'num_wrods'. Did you mean 'num_words'?"),
        ("num_words >", "unable to parse"),
        ("num_words + 1", "it gives Int64, not true or false"),
        ("text LIKE '%a%'", "text"),
        ("num_words > AVG(num_words)", "AVG is no function of one document"),
        ("num_words > AVG /*of all*/ (num_words)", "AVG is no function of one document"),
        ("SUM/**/(num_words) > 5", "SUM is no function of one document"),
        ("COUNT (*) > 3", "COUNT is no function of one document"),
        ("num_words > lag(num_words) OVER (ORDER BY num_words)", "LAG, OVER is no function of one document"),
    ],
)
def test_what_is_no_condition_over_the_statistics_is_refused(condition, problem):
    cleaning = Cleaning(custom=(CustomRule(name="mine", reject_if=condition),))
    with pytest.raises(SpecError, match=r"cleaning\.custom 'mine'") as error:
        reasons_of(ENGLISH_TEXT, "english", cleaning)
    assert problem in str(error.value)
    assert str(error.value).count("num_stop_words") == ("of one document" not in problem)
    assert problem in str(check_custom(cleaning.custom[0]))


def assert_as_the_reference_counts(texts, profile):
    for row in measured(texts, profile).iter_rows(named=True):
        expected = reference_statistics(row["text"], profile)
        assert set(row) == {*expected, "text", "profile", "language", "language_confidence"}
        assert {name: row[name] for name in expected} == pytest.approx(expected)


CHARACTERS = st.text(st.sampled_from('aebTh1中的あア，。.!"#…-•{ \n　\t\u0301'), max_size=60)
WORDS = st.lists(
    st.sampled_from(["the", "Cat", "sat.", "。", "猫的", "\n", "\n\n", "- x", "…", "of,"]), max_size=60
).map(" ".join)


@settings(deadline=None)  # machines in CI are slow at times
@given(st.lists(CHARACTERS | WORDS, min_size=1, max_size=4), st.sampled_from(["english", "chinese"]))
def test_the_statistics_are_those_of_the_reference(texts, profile):
    assert_as_the_reference_counts([normalise(text) for text in texts], profile)


@pytest.mark.parametrize(
    ("path", "profile"),
    [
        ("small/lm/en/alice-in-wonderland.txt", "english"),
        ("small/lm/zh/journey-to-the-west-ch1-20.txt", "chinese"),
    ],
)
def test_the_statistics_of_books_are_those_of_the_reference(path, profile, shared_data):
    text = (shared_data / path).read_text("utf-8")
    pieces = [normalise(text[at : at + size]) for at, size in [(0, 20), (900, 300), (3000, 4000), (20000, 9000)]]
    assert_as_the_reference_counts([*pieces, f"{pieces[1]}\n\n{pieces[1]}"], profile)


def test_a_text_in_a_batch_is_counted_as_if_it_were_alone():
    texts = ["", ENGLISH_TEXT * 40, "a b", CHINESE_TEXT * 40, "", "a b"]
    alone = pl.concat(measured([text], "english") for text in texts)
    assert measured(texts, "english").equals(alone)


def test_threads_that_count_at_once_do_not_disturb_each_other():
    batches = [[ENGLISH_TEXT * n, CHINESE_TEXT * n] * 20 for n in range(1, 9)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda texts: measured(texts, "english"), batches))
    assert all(frame.equals(measured(texts, "english")) for frame, texts in zip(together, batches, strict=True))
