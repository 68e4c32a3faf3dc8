"""The steps of cleaning together: what one declaration makes of one record."""

import pytest

from lm_pipeline.corpus.cleaning import clean_records
from lm_pipeline.corpus.quality.decisions import decide
from lm_pipeline.corpus.readers.records import Record
from lm_pipeline.specs.cleaning import Blocklist, Cleaning, PersonalData, UrlRules
from lm_pipeline.specs.corpus import CorpusSpec, PathSource

ENGLISH = (
    "The people of the town have walked along the river for years, and that is what they like to do with friends. "
)
CHINESE = "这条河流过小镇已经有很多年了，人们每天沿着河边走去上班，孩子们在水里玩耍。"


def clean(text, url=None, title=None, **cleaning):
    spec = CorpusSpec(source=PathSource(path="."), cleaning=Cleaning(**cleaning))
    rows = clean_records("notes", [("a.txt", Record(0, text, title=title, url=url))], spec)
    return rows.row(0, named=True), decide(rows, spec.cleaning)["reasons"].to_list()[0]


def test_encoding_and_width_are_mended_before_the_language_is_named():
    row, _ = clean("Ã¼ber ＡＢＣ１２３", title="cafÃ©")
    assert (row["text"], row["title"]) == ("über ABC123", "café")
    row, _ = clean("Ã¼ber ＡＢＣ", fix_encoding=False, width="keep")
    assert row["text"] == "Ã¼ber ＡＢＣ"


def test_chinese_is_converted_if_asked_and_the_column_says_what_was_found():
    row, _ = clean("這條河流過小鎮已經有很多年了", chinese_script="simplified")
    assert (row["text"], row["chinese_script"]) == ("这条河流过小镇已经有很多年了", "traditional")
    row, _ = clean("それは東京の国会図書館です", chinese_script="traditional")
    assert (row["text"], row["language"]) == ("それは東京の国会図書館です", "ja")


@pytest.mark.parametrize(
    ("text", "language", "profile"), [(ENGLISH * 5, "en", "english"), (CHINESE * 5, "zh", "chinese")]
)
def test_a_document_meets_the_rules_of_its_language_alone(text, language, profile):
    row, reasons = clean(text, rules=("gopher_quality",))
    assert (row["language"], row["profile"], reasons) == (language, profile, [])


@pytest.mark.parametrize(
    "text", [ENGLISH + "Mail ann@foo.org or ann@foo.com. ", CHINESE + "邮箱ann@foo.org与ann@foo.com。"]
)
def test_personal_data_is_counted_and_rejects_if_asked(text):
    row, reasons = clean(text, rules=())
    assert (row["num_email"], reasons) == (2, [])
    assert "ann@foo.org" in row["text"]
    row, reasons = clean(text, rules=(), personal_data=PersonalData(email="drop", phone="drop"))
    assert reasons == [{"rule": "personal_data", "value": 2.0, "threshold": 0.0}]
    row, reasons = clean(text, rules=(), personal_data=PersonalData(email="mask", phone="drop"))
    assert (row["text"].count("<EMAIL>"), row["num_characters"], reasons) == (2, len(row["text"]), [])


@pytest.mark.parametrize(
    ("text", "term"), [(ENGLISH + "Casino! casino?", "casino"), (CHINESE + "赌博，赌博。", "赌博")]
)
def test_blocked_terms_reject_with_their_number_and_the_limit(text, term):
    row, reasons = clean(text, rules=(), blocklist=Blocklist(terms=(term,), max_hits=1))
    assert row["num_blocklist_hits"] == 2
    assert reasons == [{"rule": "blocklist", "value": 2.0, "threshold": 1.0}]
    assert clean(text, rules=(), blocklist=Blocklist(terms=(term,), max_hits=2))[1] == []


def test_every_rule_about_addresses_gives_its_reason_and_none_touches_a_document_without_one():
    rules = UrlRules(blocked_domains=("bad.example",), blocked_words=("casino",), max_characters=30)
    _, reasons = clean(ENGLISH, "https://www.bad.example/casino-casino", rules=(), urls=rules)
    assert [tuple(reason.values()) for reason in reasons] == [
        ("blocked_domain", 1.0, 0.0),
        ("blocked_url_word", 2.0, 0.0),
        ("long_url", 37.0, 30.0),
    ]
    assert clean(ENGLISH, None, rules=(), urls=rules)[1] == []
    assert clean(CHINESE, "https://good.example/", rules=(), urls=rules)[1] == []


def test_addresses_are_judged_as_they_came_and_kept_without_their_credentials():
    url = "https://bad.example/?access_token=a8f5f167f44f4964"
    rules = {"urls": UrlRules(blocked_domains=("bad.example",)), "personal_data": PersonalData(url_with_token="mask")}
    row, reasons = clean(ENGLISH, url, rules=(), **rules)
    assert (row["url"], [reason["rule"] for reason in reasons]) == ("<URL_WITH_TOKEN>", ["blocked_domain"])
