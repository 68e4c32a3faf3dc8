import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.text.normalisation import COMPOSABLE, normalise, normalised

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
MESSY = st.lists(
    st.sampled_from(
        [*"a é，。　 \t\r\n\f\v\0", "\r\n", "e\u0301", "\u0301", "\ufeff", "\u200b", "\u2028", "\x85", "\xad"]
    ),
    max_size=40,
).map("".join)


@settings(deadline=None)
@given(UNICODE | MESSY)
def test_normalisation_is_idempotent(text):
    once = normalise(text)
    assert normalise(once) == once


@settings(deadline=None)
@given(UNICODE | MESSY)
def test_the_result_is_nfc_without_controls_and_trailing_space(text):
    result = normalise(text)
    assert unicodedata.is_normalized("NFC", result)
    assert not [c for c in result if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert "\n\n\n\n" not in result
    assert not result.startswith("\n")
    assert all(line == line.rstrip() for line in result.split("\n"))


@settings(deadline=None)
@given(st.lists(UNICODE | MESSY, max_size=5))
def test_a_batch_is_normalised_like_its_texts(texts):
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    assert frame.select(normalised(pl.col("text")))["text"].to_list() == [normalise(text) for text in texts]


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("a\r\nb\rc\x0bd\x0ce\x85f\u2028g\u2029h", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("a\0b\x07\x1b\x7f\x9fc\td", "abc\td"),
        ("\ufeff在\u200b中\u2060国\u200e", "在中国"),
        ("cafe\u0301", "café"),
        ("a  \nb\t\n　\nc　", "a\nb\n\nc"),
        ("\n\n  a\n\n\n\n\n\nb\n\n", "  a\n\n\nb"),
        (" \n \n", ""),
        ("co\u00adoperate", "cooperate"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),  # Persian is spelt with ZWNJ
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_each_step_does_what_it_says(given_text, expected):
    assert normalise(given_text) == expected


def test_chinese_text_and_full_width_punctuation_are_left_alone():
    text = "　　第一条　为了保障人权，尊重和保护人权……（以下简称“本法”）；\n　　第二条　Ａ１％！？《》【】、：——"
    assert normalise(text) == text


def test_indentation_of_code_and_docstrings_survives():
    text = 'def f(x):\n    """Say.\n\n        >>> f(1)\n    """\n\treturn x'
    assert normalise(text) == text


def test_a_long_run_of_spaces_costs_linear_time():
    assert len(normalise("a" + " " * 2_000_000 + "b" + "\n" * 2_000_000)) == 2_000_002


def test_every_character_that_composition_changes_is_looked_for():
    planes = (*range(0xD800), *range(0xE000, 0x30000))  # none of the others has such characters
    characters = pl.Series([chr(code) for code in planes])
    found = dict(zip(characters, characters.str.contains(COMPOSABLE), strict=True))
    pairs = (unicodedata.decomposition(c).split() for c in characters)
    seconds = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    missed = [
        c
        for c, hit in found.items()
        if not hit and (c in seconds or unicodedata.combining(c) or not unicodedata.is_normalized("NFC", c))
    ]
    assert missed == []


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("ＡＢＣ　ｘｙｚ　０１２３４５６７８９", "ABC　xyz　0123456789"),
        ("第１２条　ＧＤＰ增长５％，（约２．５万亿元）！", "第12条　GDP增长5％，（约2．5万亿元）！"),
        ("plain ASCII 123", "plain ASCII 123"),
    ],
)
def test_full_width_letters_and_digits_become_ascii_and_punctuation_stays(given_text, expected):
    assert normalise(given_text, "ascii") == expected
    assert normalise(given_text, "keep") == given_text


def test_chinese_prose_without_full_width_letters_is_the_same_in_both_widths(shared_data):
    for path in sorted((shared_data / "small/lm/zh").glob("*.txt")):
        text = normalise(path.read_text("utf-8"))
        assert normalise(text, "ascii") == text
