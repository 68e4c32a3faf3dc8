import opencc
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.corpus.text.scripts import BLOCKS, CLASSES, HAN, count_scripts, han_by_writer


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=5))
def test_every_letter_is_counted_once(texts):
    counts = count_scripts(texts)
    letters = pl.Series(texts, dtype=pl.String).str.count_matches(r"[\p{L}\p{M}]").to_list()
    others = pl.Series(texts, dtype=pl.String).str.count_matches(r"[^\p{L}\p{M}]").to_list()
    for row, at_least, rest in zip(counts.drop("words").rows(), letters, others, strict=True):
        # Numerals and signs of a script's block count with it; Unicode versions differ by new letters.
        assert at_least - 2 <= sum(row) <= at_least + rest


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_has_characters_and_shares_none(name):
    codes = {code for first, last in BLOCKS[name] for code in range(first, last + 1)}
    others = {
        code for other in BLOCKS if other != name for first, last in BLOCKS[other] for code in range(first, last + 1)
    }
    assert not codes & others
    characters = "".join(chr(code) for code in sorted(codes) if chr(code).isalpha())
    assert count_scripts([characters])[name].item() == len(characters) > 10


def test_han_characters_are_counted_by_who_writes_them():
    (row,) = count_scripts(["中国學校の駅，佢係乜嘢？"]).select(*HAN, "kana", "words").rows()
    assert row == (4, 1, 2, 0, 2, 1, 0)  # 駅 is in Hong Kong's set too
    (row,) = count_scripts(["図書団体"]).select(*HAN).rows()
    assert row == (1, 0, 1, 2, 0)


def test_the_character_sets_agree_with_opencc_about_who_writes_what():
    classes = han_by_writer()
    for name, conversion, least in (("simplified", "s2t", 0.99), ("traditional", "t2s", 0.9)):
        converter = opencc.OpenCC(conversion)
        converted = sum(converter.convert(character) != character for character in classes[name])
        assert converted >= least * len(classes[name]) > 1000


def test_classes_of_han_characters_are_disjoint():
    sets = list(han_by_writer().values())
    assert len(set().union(*sets)) == sum(map(len, sets))
    assert [*han_by_writer()] == [*HAN[1:]]


def test_empty_columns_and_nulls_are_counted_as_nothing():
    assert count_scripts([]).shape == (0, len(CLASSES))
    assert count_scripts(pl.Series([None, ""], dtype=pl.String)).sum_horizontal().to_list() == [0, 0]
