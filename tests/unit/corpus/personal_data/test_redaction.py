import polars as pl
import pytest

from lm_pipeline.corpus.personal_data.redaction import COUNTS, pseudonym, redacted
from lm_pipeline.specs.cleaning import PersonalData

TEXT = "写信给 li@foo.cn 或 LI@foo.cn，拨打13800138000。"


def documents(text, target=None, title=None, url=None):
    schema = dict.fromkeys(("text", "target", "title", "url"), pl.String)
    return pl.DataFrame({"text": [text], "target": [target], "title": [title], "url": [url]}, schema=schema)


def redact(text, **actions):
    return redacted(documents(text), PersonalData(**actions)).row(0, named=True)


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ({}, TEXT),
        ({"email": "mask"}, "写信给 <EMAIL> 或 <EMAIL>，拨打13800138000。"),
        ({"phone": "mask"}, TEXT.replace("13800138000", "<PHONE>")),
        ({"email": "mask", "phone": "mask"}, "写信给 <EMAIL> 或 <EMAIL>，拨打<PHONE>。"),
        ({"email": "drop"}, TEXT),
    ],
)
def test_each_kind_has_its_action_and_is_counted_whatever_it_is(actions, expected):
    row = redact(TEXT, **actions)
    assert row["text"] == expected
    assert {name: row[name] for name in COUNTS if row[name]} == {"num_email": 2, "num_phone": 1}


def test_a_hash_is_the_same_for_every_spelling_of_a_value_and_for_no_other():
    text = redact(TEXT, email="hash")["text"]
    first, second = text[4:28], text[31:55]
    assert first == second == f"<EMAIL:{pseudonym('li@foo.cn', '')}>"
    assert pseudonym("li@foo.cn", "") != pseudonym("wei@foo.cn", "")
    assert redact("138 0013 8000", phone="hash") == redact("+86-13800138000", phone="hash")


def test_a_salt_changes_every_hash():
    assert redact(TEXT, email="hash")["text"] != redact(TEXT, email="hash", salt="ours")["text"]


def test_titles_and_targets_are_redacted_and_counted_too():
    given = documents("nothing", target="to a@foo.cn", title="13800138000", url="https://foo.cn/13800138000")
    (row,) = redacted(given, PersonalData(email="mask", phone="mask")).rows(named=True)
    assert (row["target"], row["title"]) == ("to <EMAIL>", "<PHONE>")
    assert row["url"] == "https://foo.cn/13800138000"  # a number in an address is a page's
    assert (row["num_email"], row["num_phone"]) == (1, 1)


def test_an_address_with_a_credential_is_redacted():
    url = "https://foo.cn/?access_token=a8f5f167f44f4964"
    (row,) = redacted(documents("", url=url), PersonalData(url_with_token="mask")).rows(named=True)
    assert row["url"] == "<URL_WITH_TOKEN>"
    assert row["num_url_with_token"] == 1


def test_a_redacted_text_has_nothing_left_to_redact():
    spec = PersonalData(**dict.fromkeys(set(PersonalData.model_fields) - {"salt"}, "hash"))
    once = redacted(documents(f"{TEXT} https://u:p4ss@foo.com GB82WEST12345698765432 密码：Tr0ub4dor"), spec)
    again = redacted(once.select("text", "target", "title", "url"), spec)
    assert again["text"].to_list() == once["text"].to_list()
    assert again.select(COUNTS.names()).sum_horizontal().item() == 0
