from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.division.cuts import RepeatedUnits, without_cuts
from lm_pipeline.corpus.similarity.duplicates import Part, find_duplicates
from lm_pipeline.corpus.similarity.minhash import write_signatures
from lm_pipeline.corpus.similarity.repeated_text import UnitFiles, find_repeated_text, write_units
from lm_pipeline.specs.dataset import Duplicates, RepeatedText
from tests.unit.corpus.parts import write_documents

MENU = "Home | About | Contact us | Imprint | All rights reserved 2024"
CHINESE_MENU = "首页 关于我们 联系方式 版权所有 不得转载"
LINES = RepeatedText(unit="line")


def named(corpus: str, row: int) -> str:
    """A document's id."""
    return xxhash.xxh3_128_hexdigest(f"{corpus}-{row}".encode())


def cut(
    folder: Path, corpora: dict[str, Sequence[str]], spec: RepeatedText
) -> tuple[list[str | None], pl.DataFrame, dict[str, Any]]:
    """Texts as they are afterwards (None for what is not kept), the cuts and the summary; checks the accounting."""
    parts: dict[str, list[Part]] = {}
    units = []
    for name, texts in corpora.items():
        part = folder / name
        part.mkdir(parents=True)
        num = len(texts)
        columns = {
            "document_id": [named(name, row) for row in range(num)],
            "corpus": [name] * num,
            "file": ["f"] * num,
            "record": range(num),
            "date": [None] * num,
            "text": list(texts),
            "target": [None] * num,
            "num_bytes": [len(text.encode()) for text in texts],
            "num_characters": [len(text) for text in texts],
        }
        schema = dict.fromkeys(columns, pl.String) | dict.fromkeys(("record", "num_bytes", "num_characters"), pl.Int64)
        write_documents(part / "documents.parquet", pl.DataFrame(columns, schema=schema))
        pl.DataFrame({"kept": [True] * num}, schema={"kept": pl.Boolean}).write_parquet(part / "decisions.parquet")
        write_signatures(part / "documents.parquet", None, part)
        write_units(part / "documents.parquet", spec, part)
        parts[name] = [Part(*(part / f"{file}.parquet" for file in ("documents", "decisions", "signatures")))]
        units.append([UnitFiles(*(part / f"{file}.parquet" for file in ("units", "counts", "decisions")))])
    found = find_duplicates(parts, Duplicates(near=None, repeated=spec), folder)
    summary = find_repeated_text(units, folder)
    unique = pl.read_parquet(folder / "unique.parquet")
    repeated = RepeatedUnits.read(folder / "repeated_units.parquet", folder / "unique.parquet")
    summary |= repeated.write(folder / "repeated.parquet", ~unique["kept"].to_numpy())
    cuts = pl.read_parquet(folder / "repeated.parquet")
    before = pl.concat([pl.read_parquet(part.documents) for [part] in parts.values()])
    after = without_cuts(before.lazy(), cuts.lazy()).collect()
    assert after["document_id"].equals(before["document_id"])
    assert before["text"].str.len_chars().sum() - after["text"].str.len_chars().sum() == summary["characters"]
    assert summary["characters"] == cuts["num_characters"].sum()
    assert after["num_characters"].to_list() == [len(text) for text in after["text"]]
    assert after["num_bytes"].to_list() == [len(text.encode()) for text in after["text"]]
    assert summary["repeated"] == (unique["kind"] == "repeated").sum()
    assert found["kept"] - summary["repeated"] == unique["kept"].sum()
    left = [text if kept else None for text, kept in zip(after["text"], unique["kept"], strict=True)]
    return left, cuts, summary


@pytest.mark.parametrize("menu", [MENU, CHINESE_MENU])
def test_a_repeated_line_stays_in_the_first_document_and_goes_from_all_later_ones(tmp_path: Path, menu: str) -> None:
    texts = [f"{menu}\nFirst.\n{menu}", f"Second.\n{menu}\nEnd.", f"{menu.upper()}!\nThird.", f"Fourth.\n\n{menu}"]
    left, cuts, summary = cut(tmp_path, {"a": texts[:2], "b": texts[2:]}, LINES)
    assert left == [texts[0], "Second.\nEnd.", "Third.", "Fourth."]
    assert cuts["document_id"].to_list() == [named("a", 1), named("b", 0), named("b", 1)]
    assert cuts["repeats"].to_list() == [named("a", 0)] * 3
    assert (summary["units"], summary["documents"], summary["lost"]) == (3, 3, 0)


def test_a_paragraph_is_compared_whole(tmp_path: Path) -> None:
    notice = "This page was made by hand.\nIt may be copied freely."
    texts = [f"One.\n\n{notice}", f"{notice}\n\nTwo.", f"Three.\n{notice}", f"Four.\n \n\n{notice}\n\nAfter."]
    left, _, _ = cut(tmp_path, {"a": texts}, RepeatedText())
    assert left == [texts[0], "Two.", texts[2], "Four.\n \n\nAfter."]


def test_short_units_stay(tmp_path: Path) -> None:
    texts = [
        "one two three four\nunique text of the first document",
        "one two three four\nthe second has its own words",
    ]
    assert cut(tmp_path / "five", {"a": texts}, LINES)[0] == texts
    assert cut(tmp_path / "four", {"a": texts}, LINES.model_copy(update={"min_words": 4}))[0] == [
        texts[0],
        "the second has its own words",
    ]


def test_a_document_of_which_nothing_is_left_is_counted_as_repeated(tmp_path: Path) -> None:
    texts = [f"{MENU}\nand more that is its own", f"{MENU}\n\n...", f"{MENU}\nx"]
    left, cuts, summary = cut(tmp_path, {"a": texts}, LINES)
    # Dots are no words, but an "x" is one.
    assert left == [texts[0], None, "x"]
    assert summary["repeated"] == 1
    assert cuts["document_id"].to_list() == [named("a", 2)]


def test_what_is_removed_as_a_duplicate_takes_no_text_from_others(tmp_path: Path) -> None:
    texts = [f"{MENU}\nfirst", f"{MENU}\nfirst", f"{MENU}\nsecond"]
    left, cuts, _ = cut(tmp_path, {"a": texts}, LINES)
    assert left == [texts[0], None, "second"]
    assert cuts["repeats"].to_list() == [named("a", 0)]


PIECE = st.sampled_from(
    [MENU, CHINESE_MENU, "", "  ", "a b", "\u3000", "the same five words here", "法律法律法律", "x\r"]
)


@settings(max_examples=25)
@given(
    st.lists(st.lists(PIECE, max_size=7).map("\n".join), min_size=1, max_size=8), st.sampled_from(["line", "paragraph"])
)
def test_no_text_of_enough_words_stands_in_two_documents_afterwards(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], unit: Any
) -> None:
    spec = RepeatedText(unit=unit)
    left, _, _ = cut(tmp_path_factory.mktemp("cut"), {"a": texts}, spec)
    kept = [text for text in left if text is not None]
    again, cuts, _ = cut(tmp_path_factory.mktemp("again"), {"a": kept}, LINES if unit == "line" else spec)
    if unit == "line":
        assert cuts.is_empty()
        assert [text for text in again if text is not None] == list(dict.fromkeys(kept))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = [f"{MENU}\ntext {row % 40} of this document\n{CHINESE_MENU}" for row in range(5000)]
    for name in ("one", "two"):
        cut(tmp_path / name, {"a": texts[:2500], "b": texts[2500:]}, LINES)
    for file in ("unique.parquet", "repeated_units.parquet", "repeated.parquet", "a/units.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
