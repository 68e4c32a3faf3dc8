import gzip
import json

import ftfy
import polars as pl
import pytest

from lm_pipeline.corpus.text.mojibake import ENCODING_ONLY, mended
from lm_pipeline.corpus.text.normalisation import normalise


def mend(text):
    return mended(pl.Series([text]))[0]


@pytest.mark.parametrize(
    "name", ["small/mojibake/synthetic", "small/mojibake/negative", "large/mojibake/language-names"]
)
def test_real_mojibake_is_mended_and_what_looks_like_it_is_not(shared_data, name):
    cases = json.loads((shared_data / f"{name}.json").read_text("utf-8"))
    assert len(cases) >= 20
    expected = {case["original"]: case.get("fixed-encoding", case["fixed"]) for case in cases}
    found = dict(zip(expected, mended(pl.Series(list(expected))), strict=True))
    assert found == expected


@pytest.mark.parametrize("encoding", ["latin-1", "sloppy-windows-1252", "macroman", "cp437", "sloppy-windows-1251"])
@pytest.mark.parametrize(
    "text",
    [
        "The café — “naïve” façade",
        "人人生而自由，在尊严和权利上一律平等。",
        "Все люди рождаются свободными и равными.",
        "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι",
    ],
)
def test_whatever_ftfy_mends_is_found(encoding, text):
    broken = text.encode().decode(encoding)
    assert mend(broken) == ftfy.fix_encoding(broken, ENCODING_ONLY)
    if "1251" not in encoding and encoding != "macroman":  # ftfy leaves some of those alone
        assert mend(broken) == text


def test_windows_1252_that_was_read_as_latin_1_is_mended_as_ftfy_would(shared_data):
    with gzip.open(shared_data / "large/imdb/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(3000), strict=False)]
    broken = [text for text in texts if pl.Series([text]).str.contains("[\x80-\x9f]").item()]
    assert len(broken) > 30
    assert mended(pl.Series(broken)).to_list() == [ftfy.fix_encoding(text, ENCODING_ONLY) for text in broken]
    assert mend("\x93这\x94 \x85\x97 \x80") == "“这” …— €"


def test_a_broken_line_leaves_the_good_lines_alone():
    assert mend("第一条\n\nthe cafÃ©\r\n“naïve”\n") == "第一条\n\nthe café\r\n“naïve”\n"


def test_nothing_but_the_encoding_is_mended():
    text = "ＡＢＣ ‘curly’ &amp; ﬁne \x1b[0m e\u0301 cafÃ©"
    assert mend(text) == text.replace("Ã©", "é")


def test_nulls_stay_and_a_column_without_mojibake_is_returned_as_it_is():
    texts = pl.Series(["a", None, "中文"])
    assert mended(texts) is texts
    assert mended(pl.Series(["a", None, "Ã©"])).to_list() == ["a", None, "é"]
    assert mended(pl.Series([None], dtype=pl.String)).to_list() == [None]


def test_good_text_is_never_changed(shared_data):
    small = [shared_data / "small/lm/en", shared_data / "small/lm/zh", shared_data / "small/langid"]
    texts = [path.read_text("utf-8") for folder in small for path in sorted(folder.glob("*.txt"))]
    texts += [path.read_text("utf-8") for path in sorted((shared_data / "large/zh-novels").glob("*.txt"))]
    with gzip.open(shared_data / "large/imdb/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts += [json.loads(line)["text"] for line, _ in zip(lines, range(1000), strict=False)]
    assert len(texts) > 1000
    texts = [normalise(text) for text in texts]
    assert [(a, b) for a, b in zip(texts, mended(pl.Series(texts)), strict=True) if a != b] == []
