"""Texts are found by their rows: in small pages and large ones, in several row groups, in parts in any order."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.corpus.columns import write_columns
from lm_pipeline.corpus.document_tables import TableWriter
from lm_pipeline.corpus.shingle_store import map_texts
from lm_pipeline.corpus.text_pages import text_pages
from lm_pipeline.errors import InputError
from tests.unit.corpus.parts import named, write_documents

TEXT = st.sampled_from(["", "法律", "Straße", "The law.", "一部很长的法律。" * 4000, "A long page of words. " * 9000])
SCHEMA = pl.Schema({"file": pl.String, "record": pl.Int64, "text": pl.String})


def rows_of(texts: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"file": "f", "record": range(len(texts)), "text": texts}, schema=SCHEMA)


@given(st.lists(st.lists(TEXT, max_size=150), max_size=3), st.randoms(use_true_random=False))
def test_any_texts_are_read_by_their_rows(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[str]], random: np.random.Generator
) -> None:
    path = tmp_path_factory.mktemp("pages") / "documents.parquet"
    with TableWriter(path, SCHEMA) as file:
        for texts in groups:
            file.write(rows_of(texts))
    everything = [text for texts in groups for text in texts]
    wanted = [row for row in range(len(everything)) if random.random() < 0.2]
    pages = text_pages(path, np.array(wanted, np.int64))
    assert [text for page in pages for text in page.texts()] == [everything[row] for row in wanted]


@pytest.mark.parametrize("sentence", ["A sentence of a review, as there are many. ", "这是一段评论，这样的有很多。"])
def test_one_text_of_a_part_costs_one_page(tmp_path: Path, sentence: str) -> None:
    generator = np.random.default_rng(0)
    texts = [sentence * 20 + " ".join(map(str, generator.integers(0, 10**9, 300))) for _ in range(4000)]
    write_documents(tmp_path / "documents.parquet", rows_of(texts))
    (page,) = text_pages(tmp_path / "documents.parquet", np.array([3210]))
    assert page.texts() == [texts[3210]]
    assert 20 * len(page.packed) < (tmp_path / "documents.parquet").stat().st_size


def test_a_file_of_another_writer_is_refused(tmp_path: Path) -> None:
    rows_of(["The law.", "法律", "法律"] * 100).write_parquet(tmp_path / "documents.parquet")
    with pytest.raises(InputError, match="its pages of texts cannot be found"):
        text_pages(tmp_path / "documents.parquet", np.array([7]))


def test_a_null_is_no_text(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "documents.parquet", SCHEMA) as file:
        file.write(pl.DataFrame({"file": "f", "record": [0, 1], "text": ["法律", None]}, schema=SCHEMA))
    (page,) = text_pages(tmp_path / "documents.parquet", np.array([0]))
    with pytest.raises(InputError, match="cannot be read"):
        page.texts()


@pytest.mark.parametrize("word", ["law", "法律"])
def test_texts_are_those_of_the_rows_in_whatever_order_parts_are_read(tmp_path: Path, word: str) -> None:
    # Two parts with two pieces of a file each, which are read in turn, and of which some rows are left out.
    records = ([*range(80, 120), *range(40)], [*range(120, 160), *range(40, 80)])
    documents, described = [], []
    for number, own in enumerate(records):
        part = tmp_path / f"{number}"
        part.mkdir()
        ids = [named(word, record) for record in own]
        texts = [f"{word} {record}" for record in own]
        halves = {"id_high": [int(i[:16], 16) for i in ids], "id_low": [int(i[16:], 16) for i in ids]}
        rows = {"file": "f", "record": own, "text": texts, "kept": [record % 3 > 0 for record in own], **halves}
        schema = SCHEMA | {"kept": pl.Boolean, "id_high": pl.UInt64, "id_low": pl.UInt64}
        write_documents(part / "documents.parquet", pl.DataFrame(rows, schema=schema))
        documents.append(part / "documents.parquet")
        described.append([part / "documents.parquet"])
    types = {"id_high": np.uint64, "id_low": np.uint64, "part": np.uint32, "row": np.uint32}
    columns = write_columns([described], types, tmp_path, only="kept")
    assert columns.hex("id", slice(None)).to_list() == [named(word, record) for record in range(160) if record % 3]
    wanted = np.arange(columns.num_rows)[::-2]
    found = {
        identifier: text
        for rows, texts in map_texts(columns, documents, wanted, list)
        for identifier, text in zip(columns.hex("id", rows), texts, strict=True)
    }
    kept = [record for record in range(160) if record % 3]
    assert found == {named(word, kept[row]): f"{word} {kept[row]}" for row in wanted}
