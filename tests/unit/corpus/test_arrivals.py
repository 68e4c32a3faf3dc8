"""Data that comes and goes: what a dataset keeps does not depend on the way that led there, and costs what is new."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus import shingle_store
from lm_pipeline.corpus.document_tables import DOCUMENTS
from lm_pipeline.corpus.documents import in_order
from lm_pipeline.corpus.duplicates import Part, find_duplicates
from lm_pipeline.corpus.minhash import write_signatures
from lm_pipeline.corpus.splits import split_documents
from lm_pipeline.specs.dataset import Decontamination, Duplicates, Split

SPEC = Duplicates()
SPLIT = Split(validation_fraction=0.25, test_fraction=0.25)
WORDS = 120


@dataclass(frozen=True)
class Batch:
    """One arrival: its place among the files, its corpus, and its texts with their groups."""

    name: str
    corpus: str
    rows: tuple[tuple[str, str | None], ...]


def text_of(family: int, variant: int, language: str) -> str:
    """A text of a family: variants 0 to 7 form a chain whose neighbours are near duplicates and whose ends are not."""
    numbers = np.random.default_rng(family).integers(0, 3000, WORDS + 40)[5 * variant : 5 * variant + WORDS]
    words = [chr(0x4E00 + n) if language == "zh" else f"w{n}" for n in numbers]
    return ("" if language == "zh" else " ").join(words)


def write_batch(folder: Path, batch: Batch) -> Part:
    place = folder / batch.name
    if not place.is_dir():
        place.mkdir(parents=True)
        num = len(batch.rows)
        columns = {
            "document_id": [f"{batch.name}-{row}" for row in range(num)],
            "corpus": [batch.corpus] * num,
            "file": [batch.name] * num,
            "record": range(num),
            "date": [None] * num,
            "text": [text for text, _ in batch.rows],
            "group": [group for _, group in batch.rows],
            "num_bytes": [len(text.encode()) for text, _ in batch.rows],
        }
        schema = dict.fromkeys(columns, pl.String) | {"record": pl.Int64, "num_bytes": pl.Int64}
        pl.DataFrame(columns, schema=schema).write_parquet(place / "documents.parquet")
        pl.DataFrame({"kept": [True] * num}).write_parquet(place / "decisions.parquet")
        write_signatures(place / "documents.parquet", SPEC.near, place)
    return Part(*(place / f"{name}.parquet" for name in ("documents", "decisions", "signatures")))


def build(folder: Path, parts: list[list[Part]], out: Path, verdicts: Path | None, ledger: Path | None) -> pl.DataFrame:
    """Duplicates and splits of the parts that are there now."""
    out.mkdir()
    find_duplicates(parts, SPEC, out, verdicts)
    documents = pl.concat(in_order([[part.documents] for part in corpus], DOCUMENTS) for corpus in parts if corpus)
    split_documents(out / "unique.parquet", documents, ledger, SPLIT, Decontamination(), out)
    return pl.read_parquet(out / "splits.parquet")


Arrival = tuple[int, str, list[tuple[int, int, str, str | None]], set[int]]
ROW = st.tuples(st.integers(0, 5), st.integers(0, 7), st.sampled_from(["en", "zh"]), st.sampled_from([None, "p", "q"]))
ARRIVAL = st.tuples(
    st.integers(0, 999),  # where the batch sorts among the files
    st.sampled_from("ab"),
    st.lists(ROW, min_size=1, max_size=6),
    st.sets(st.integers(0, 9), max_size=2),  # earlier arrivals that are deleted
)


TEN = st.lists(ARRIVAL, min_size=10, max_size=10)


@settings(max_examples=3)
@given(TEN)
def test_ten_arrivals_with_merges_and_deletions_divide_nothing_and_equal_a_rebuild(
    tmp_path_factory: pytest.TempPathFactory, arrivals: list[Arrival]
) -> None:
    replay(tmp_path_factory, arrivals)


@pytest.mark.slow
@settings(max_examples=60)
@given(TEN)
def test_many_more_arrivals_divide_nothing_and_equal_a_rebuild(
    tmp_path_factory: pytest.TempPathFactory, arrivals: list[Arrival]
) -> None:
    replay(tmp_path_factory, arrivals)


def replay(tmp_path_factory: pytest.TempPathFactory, arrivals: list[Arrival]) -> None:
    """Let them come one after another; after each, compare with a rebuild from nothing but the ledger."""
    folder = tmp_path_factory.mktemp("arrivals")
    present: dict[int, Batch] = {}
    ever: dict[str, str] = {}
    verdicts = ledger = None
    for step, (place, corpus, rows, deleted) in enumerate(arrivals):
        for number in deleted:
            present.pop(number, None)
        texts = tuple((text_of(family, variant, language), group) for family, variant, language, group in rows)
        present[step] = Batch(f"{place:03}-{step}", corpus, texts)
        batches = sorted(present.values(), key=lambda batch: batch.name)
        parts = [[write_batch(folder, batch) for batch in batches if batch.corpus == name] for name in "ab"]
        splits = build(folder, parts, folder / f"step-{step}", verdicts, ledger)
        taken = splits.filter(pl.col("split").is_not_null())
        for key in ("text_hash", "cluster", "group"):
            sides = taken.drop_nulls(key).group_by(key).agg(pl.col("split").n_unique())
            assert (sides["split"] == 1).all(), key
        for text, split in taken.select("text_hash", "split").iter_rows():
            assert ever.setdefault(text, split) == split
        build(folder, parts, folder / f"rebuild-{step}", None, ledger)
        for name in ("unique", "verdicts", "splits", "ledger", "contamination"):
            incremental, rebuilt = (folder / f"{kind}-{step}" / f"{name}.parquet" for kind in ("step", "rebuild"))
            assert incremental.read_bytes() == rebuilt.read_bytes(), name
        verdicts, ledger = (folder / f"step-{step}" / f"{name}.parquet" for name in ("verdicts", "ledger"))
    shutil.rmtree(folder)


def synthetic(num: int, seed: int) -> list[tuple[str, None]]:
    """Texts of 600 words, every tenth of which nearly repeats another one."""
    generator = np.random.default_rng(seed)
    vocabulary = np.array([f"w{number}" for number in range(5000)])
    texts = []
    for row in range(num):
        words = vocabulary[generator.integers(0, 5000, 600)] if row % 10 or row == 0 else texts[row // 2].split(" ")
        texts.append(" ".join([*words[:-1], f"end{row}"]))
    return [(text, None) for text in texts]


def test_new_documents_are_compared_and_old_ones_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [Batch(f"{number}", "a", tuple(synthetic(400, number))) for number in range(3)]
    repeats = [(old[number].rows[7][0] + " more", None) for number in range(3)]
    new = Batch("9", "a", (*synthetic(9, 99), *repeats))
    read: list[str] = []
    texts_of = shingle_store.read_texts

    def listen(paths: Sequence[Path], identifiers: Sequence[str]) -> Iterator[pl.DataFrame]:
        read.extend(identifiers)
        return texts_of(paths, identifiers)

    monkeypatch.setattr(shingle_store, "read_texts", listen)
    parts = [write_batch(tmp_path, batch) for batch in old]
    (tmp_path / "before").mkdir()
    summary = find_duplicates([parts], SPEC, tmp_path / "before")
    assert summary["near"] > 100
    assert len(set(read)) > 150
    read.clear()
    (tmp_path / "after").mkdir()
    parts.append(write_batch(tmp_path, new))
    grown = find_duplicates([parts], SPEC, tmp_path / "after", tmp_path / "before" / "verdicts.parquet")
    assert grown["near"] == summary["near"] + 3
    # The three that repeat old ones, and the members of their clusters that they meet first.
    assert {identifier for identifier in read if identifier.startswith("9-")} == {"9-9", "9-10", "9-11"}
    assert len(set(read)) <= 12


@pytest.mark.slow
def test_one_percent_of_new_documents_costs_three_percent_of_a_full_run(tmp_path: Path) -> None:
    batches = [Batch(f"{number:03}", "a", tuple(synthetic(400, number))) for number in range(100)]
    (tmp_path / "warm").mkdir()
    find_duplicates([[write_batch(tmp_path, Batch("warm", "b", batches[0].rows))]], SPEC, tmp_path / "warm")

    def timed(names: list[Batch], out: Path, verdicts: Path | None) -> float:
        for batch in names:
            (tmp_path / batch.name).mkdir(exist_ok=True)
        out.mkdir()
        started = time.perf_counter()
        files = ("documents", "decisions", "signatures")
        parts = [Part(*(tmp_path / batch.name / f"{file}.parquet" for file in files)) for batch in names]
        for part in parts:
            if not part.signatures.exists():
                write_signatures(part.documents, SPEC.near, part.documents.parent)
        find_duplicates([parts], SPEC, out, verdicts)
        return time.perf_counter() - started

    for batch in batches:
        part = write_batch(tmp_path, batch)
        part.signatures.unlink()
    full = timed(batches, tmp_path / "full", None)
    (tmp_path / "099" / "signatures.parquet").unlink()
    before = timed(batches[:-1], tmp_path / "before", None)
    assert before > 0
    added = timed(batches, tmp_path / "after", tmp_path / "before" / "verdicts.parquet")
    assert (tmp_path / "after" / "unique.parquet").read_bytes() == (tmp_path / "full" / "unique.parquet").read_bytes()
    print(f"full {full:.2f} s, with one percent more {added:.3f} s: {added / full:.2%}")
    assert added <= 0.03 * full
