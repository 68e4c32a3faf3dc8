"""Texts are found by their rows: in small row groups and large ones, in parts in any order."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.corpus.columns import Columns, write_columns
from lm_pipeline.corpus.document_tables import TableWriter
from lm_pipeline.corpus.similarity.shingle_store import map_texts
from tests.unit.corpus.parts import named, write_documents

TEXT = st.sampled_from(["", "法律", "Straße", "The law.", "一部很长的法律。" * 4000, "A long page of words. " * 9000])
SCHEMA = pl.Schema({"file": pl.String, "record": pl.Int64, "text": pl.String})


def rows_of(texts: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"file": "f", "record": range(len(texts)), "text": texts}, schema=SCHEMA)


def write_parts(folder: Path, parts: list[pl.DataFrame]) -> tuple[Columns, list[Path]]:
    """Each in a file of its own, all rows kept."""
    paths = []
    for number, rows in enumerate(parts):
        (folder / f"{number}").mkdir()
        paths.append(folder / f"{number}" / "documents.parquet")
        with TableWriter(paths[-1], SCHEMA) as file:
            for piece in rows.iter_slices(60):
                file.write(piece)
    return write_columns([[[path] for path in paths]], {"part": np.uint32, "row": np.uint32}, folder), paths


@given(st.lists(st.lists(TEXT, max_size=150), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_any_texts_are_read_by_their_rows(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str]], random: np.random.Generator
) -> None:
    columns, paths = write_parts(tmp_path_factory.mktemp("parts"), [rows_of(texts) for texts in parts])
    everything = [text for texts in parts for text in texts]
    place = {(p, r): text for p, texts in enumerate(parts) for r, text in enumerate(texts)}
    wanted = np.array([row for row in range(len(everything)) if random.random() < 0.2], np.int64)
    random.shuffle(wanted)
    found = {
        row: text
        for rows, texts in map_texts(columns, paths, wanted, list)
        for row, text in zip(rows.tolist(), texts, strict=True)
    }
    assert found == {row: place[int(columns["part"][row]), int(columns["row"][row])] for row in wanted.tolist()}


@pytest.mark.parametrize("sentence", ["A sentence of a review, as there are many. ", "这是一段评论，这样的有很多。"])
def test_one_text_of_a_part_costs_one_small_row_group(tmp_path: Path, sentence: str) -> None:
    texts = [f"{number} {sentence * 100}" for number in range(4000)]
    columns, paths = write_parts(tmp_path, [rows_of(texts)])
    metadata = pq.read_metadata(paths[0])
    assert max(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)) < 400
    ((rows, found),) = map_texts(columns, paths, np.array([3210]), list)
    assert (rows.tolist(), found) == ([3210], [texts[3210]])


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
