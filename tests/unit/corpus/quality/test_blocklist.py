import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.corpus.quality.blocklist import count_blocked

TERMS = ("ass", "free casino", "赌博", "école", "c++", "ａｖ", "カジノ")


def count(text, terms=TERMS):
    return count_blocked(pl.Series([text]), terms).item()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Class, assess and bass.", 0),  # whole words only
        ("An ASS, an ass: Ass!", 3),
        ("ass's ass_ (ass)", 3),
        ("Free Casino here; freecasino, free casinos", 1),
        ("ÉCOLE, écoles", 1),
        ("C++ and c++11", 2),
        ("在线赌博网站，赌博！", 2),  # anywhere: Chinese has no spaces
        ("网上ass网站", 1),  # Han beside a word is a border of it
        ("オンラインカジノで遊ぶ", 1),
        ("ＡＶ女优", 1),
        ("", 0),
    ],
)
def test_terms_in_letters_are_whole_words_and_han_matches_anywhere(text, expected):
    assert count(text) == expected


def test_terms_that_overlap_count_each():
    assert count("网络赌博网", ("赌博", "赌博网", "网络赌博")) == 3


def test_nulls_and_empty_lists_have_no_hits():
    assert count_blocked(pl.Series([None, "赌博"], dtype=pl.String), ["赌博"]).to_list() == [0, 1]
    assert count_blocked(pl.Series(["赌博"]), []).to_list() == [0]
    assert count_blocked(pl.Series(["赌博"]), ["", "  "]).to_list() == [0]


@given(st.text(st.sampled_from("ab ,赌博é"), max_size=30))
def test_hits_are_those_of_a_search_position_by_position(text):
    def is_letter(character):
        return character.isalnum() and character not in "赌博"

    expected = 0
    for term in ("ab", "赌博", "é"):
        for at in range(len(text)):
            if text[at : at + len(term)] == term:
                before, after = text[at - 1 : at] if at else "", text[at + len(term) : at + len(term) + 1]
                inside = (is_letter(term[0]) and before and is_letter(before)) or (
                    is_letter(term[-1]) and after and is_letter(after)
                )
                expected += not inside
    assert count(text, ("ab", "赌博", "é")) == expected


def test_a_list_of_many_terms_costs_little_more_than_a_short_one():
    terms = [f"term{number}" for number in range(50_000)]
    assert count("term7 term49999 term50000 " * 1000, terms) == 2000
