import json
import lzma
import subprocess
import sys

import opencc
import polars as pl
import pytest

from lm_pipeline.corpus.text.chinese_script import chinese_script, converted
from lm_pipeline.corpus.text.scripts import count_scripts

SIMPLIFIED = "这条河流过小镇已经有很多年了，孩子们在水里玩耍。"
TRADITIONAL = "這條河流過小鎮已經有很多年了，孩子們在水裏玩耍。"


def script(text, language="zh"):
    return count_scripts([text]).with_columns(language=pl.lit(language)).select(chinese_script()).item()


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        (SIMPLIFIED, "zh", "simplified"),
        (TRADITIONAL, "zh", "traditional"),
        (TRADITIONAL, "yue", "traditional"),
        (SIMPLIFIED + TRADITIONAL, "zh", "mixed"),
        (SIMPLIFIED * 20 + "“國”", "zh", "simplified"),
        ("人人有手", "zh", None),  # both write it so
        (TRADITIONAL, "ja", None),
        ("English", "en", None),
    ],
)
def test_the_script_is_told(text, language, expected):
    assert script(text, language) == expected


def test_real_books_are_told(shared_data):
    assert script((shared_data / "small/langid/cmn_hans.txt").read_text("utf-8")) == "simplified"
    assert script((shared_data / "small/langid/cmn_hant.txt").read_text("utf-8")) == "traditional"
    novel = (shared_data / "large/zh-novels/水浒传.txt").read_text("utf-8")
    pages = [novel[at : at + 500] for at in range(0, len(novel), 500)]
    found = count_scripts(pages).with_columns(language=pl.lit("zh")).select(script=chinese_script())["script"]
    assert (found == "simplified").mean() > 0.999


def test_poems_in_either_script_are_told_as_opencc_would(shared_data):
    with lzma.open(shared_data / "large/zh-poetry/poems.jsonl.xz", "rt", encoding="utf-8") as lines:
        poems = ["".join(json.loads(line)["lines"]) for line, _ in zip(lines, range(2000), strict=False)]
    found = count_scripts(poems).with_columns(language=pl.lit("zh")).select(script=chinese_script())["script"]
    assert found.is_null().mean() < 0.01
    assert (found == "mixed").mean() < 0.02
    simplify, traditionalise = (opencc.OpenCC(name).convert for name in ("t2s", "s2t"))
    for poem, script in zip(poems, found, strict=True):
        to_simplified, to_traditional = (
            sum(a != b for a, b in zip(poem, convert(poem), strict=False)) for convert in (simplify, traditionalise)
        )
        assert script != "traditional" or to_simplified >= to_traditional, poem
        assert script != "simplified" or to_traditional >= to_simplified, poem


def test_only_the_other_script_is_converted():
    texts = pl.Series([SIMPLIFIED, TRADITIONAL, TRADITIONAL, "東", None])
    scripts = pl.Series(["simplified", "traditional", None, "mixed", "traditional"])
    assert converted(texts, scripts, "simplified").to_list() == [SIMPLIFIED, SIMPLIFIED, TRADITIONAL, "东", None]
    assert converted(texts, scripts, "traditional").to_list() == [TRADITIONAL, TRADITIONAL, TRADITIONAL, "東", None]
    assert texts[0] == SIMPLIFIED


def test_conversion_knows_phrases():
    assert converted(pl.Series(["头发发展"]), pl.Series(["simplified"]), "traditional")[0] == "頭髮發展"


def test_without_opencc_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['opencc'] = None\n"
        "import polars as pl\n"
        "from lm_pipeline.corpus.text.chinese_script import converted\n"
        "converted(pl.Series(['国']), pl.Series(['simplified']), 'traditional')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError" in result.stderr
    assert "lm-pipeline[opencc]" in result.stderr
    assert "chinese_script: keep" in result.stderr
