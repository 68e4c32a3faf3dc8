"""Data that comes and goes: what a dataset keeps does not depend on the way that led there, and costs what is new."""

import multiprocessing
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import Columns
from lm_pipeline.corpus.division.splits import split_documents
from lm_pipeline.corpus.document_tables import DOCUMENTS
from lm_pipeline.corpus.documents import in_order
from lm_pipeline.corpus.similarity import shingle_store
from lm_pipeline.corpus.similarity.duplicates import Part, find_duplicates
from lm_pipeline.corpus.similarity.minhash import write_signatures
from lm_pipeline.specs.dataset import Decontamination, Duplicates, Split
from tests.unit.corpus.parts import write_documents

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


def named(batch: str, row: int) -> str:
    """A document's id."""
    return xxhash.xxh3_128_hexdigest(f"{batch}-{row}".encode())


def write_batch(folder: Path, batch: Batch) -> Part:
    place = folder / batch.name
    if not place.is_dir():
        place.mkdir(parents=True)
        num = len(batch.rows)
        columns = {
            "document_id": [named(batch.name, row) for row in range(num)],
            "corpus": [batch.corpus] * num,
            "file": [batch.name] * num,
            "record": range(num),
            "date": [None] * num,
            "text": [text for text, _ in batch.rows],
            "target": [None] * num,
            "group": [group for _, group in batch.rows],
            "num_bytes": [len(text.encode()) for text, _ in batch.rows],
        }
        schema = dict.fromkeys(columns, pl.String) | {"record": pl.Int64, "num_bytes": pl.Int64}
        write_documents(place / "documents.parquet", pl.DataFrame(columns, schema=schema))
        pl.DataFrame({"kept": [True] * num}).write_parquet(place / "decisions.parquet")
        write_signatures(place / "documents.parquet", SPEC.near, place)
    return Part(*(place / f"{name}.parquet" for name in ("documents", "decisions", "signatures")))


def build(folder: Path, parts: list[list[Part]], out: Path, verdicts: Path | None, ledger: Path | None) -> pl.DataFrame:
    """Duplicates and splits of the parts that are there now."""
    out.mkdir()
    find_duplicates(dict(zip("ab", parts, strict=True)), SPEC, out, verdicts)
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
        for name in ("unique", "verdicts", "splits", "ledger", "contamination", "evaluation_documents"):
            incremental, rebuilt = (folder / f"{kind}-{step}" / f"{name}.parquet" for kind in ("step", "rebuild"))
            assert incremental.read_bytes() == rebuilt.read_bytes(), name
        verdicts, ledger = (folder / f"step-{step}" / f"{name}.parquet" for name in ("verdicts", "ledger"))
    shutil.rmtree(folder)


def memory_of(folder: Path, corpora: dict[str, list[Part]]) -> int:
    """Anonymous memory (bytes) that a search needs at its peak, in a process of its own. Mapped files are not counted:
    the kernel takes their pages back when it needs them."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_search_and_watch, args=(folder, corpora, sender))
    process.start()
    peak = receiver.recv()
    process.join()
    assert process.exitcode == 0
    return peak


def _search_and_watch(folder: Path, corpora: dict[str, list[Part]], sender: Connection) -> None:
    warm = folder / "warm"
    warm.mkdir(parents=True)
    find_duplicates({"a": [next(iter(corpora.values()))[0]]}, SPEC, warm)  # compiles the kernels, fills the pools
    peak, stop = [0], threading.Event()

    def anonymous() -> int:
        status = Path("/proc/self/status").read_text("utf-8")
        return int(status.split("RssAnon:")[1].split()[0]) * 1024

    def watch() -> None:
        while not stop.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    before = anonymous()
    watcher = threading.Thread(target=watch)
    watcher.start()
    find_duplicates(corpora, SPEC, folder)
    stop.set()
    watcher.join()
    sender.send(peak[0] - before)


def test_memory_grows_by_some_bytes_a_document_not_by_its_text(tmp_path: Path) -> None:
    sizes = {"small": 8, "large": 20}
    rows = tuple(synthetic(1500, 5))
    texts = [tuple((f"{text} part{number}", None) for text, _ in rows) for number in range(max(sizes.values()))]
    parts = [write_batch(tmp_path, Batch(f"{number}", "a", batch)) for number, batch in enumerate(texts)]
    peaks = {name: memory_of(tmp_path / f"run-{name}", {"a": parts[:size]}) for name, size in sizes.items()}
    num_more = 1500 * (sizes["large"] - sizes["small"])
    # All are candidates here: their shingles alone are 8 bytes a word, 4,800 a document.
    per_document = (peaks["large"] - peaks["small"]) / num_more
    print(f"{peaks}, {per_document:.0f} bytes a document")
    assert per_document < 2400  # 630 to 1,430 measured: what the allocator holds back varies by megabytes


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
    map_texts = shingle_store.map_texts

    def listen(
        columns: Columns, documents: Sequence[Path], rows: NDArray[np.int64], work: Callable[[list[str]], Any]
    ) -> Iterator[Any]:
        read.extend(columns.hex("id", rows))
        return map_texts(columns, documents, rows, work)

    monkeypatch.setattr(shingle_store, "map_texts", listen)
    parts = [write_batch(tmp_path, batch) for batch in old]
    (tmp_path / "before").mkdir()
    summary = find_duplicates({"a": parts}, SPEC, tmp_path / "before")
    assert summary["near"] > 100
    assert len(set(read)) > 150
    read.clear()
    (tmp_path / "after").mkdir()
    parts.append(write_batch(tmp_path, new))
    grown = find_duplicates({"a": parts}, SPEC, tmp_path / "after", tmp_path / "before" / "verdicts.parquet")
    assert grown["near"] == summary["near"] + 3
    # The three that repeat old ones, and the members of their clusters that they meet first.
    assert {row for row in range(12) if named("9", row) in read} == {9, 10, 11}
    assert len(set(read)) <= 12


@pytest.mark.slow
def test_one_percent_of_new_documents_costs_a_few_percent_of_a_full_search(tmp_path: Path) -> None:
    sizes = [4000] * 20 + [800]
    batches = [Batch(f"{number:03}", "a", tuple(synthetic(size, number))) for number, size in enumerate(sizes)]
    (tmp_path / "warm-up").mkdir()  # compiles the kernels
    warm = write_batch(tmp_path, Batch("warm", "b", batches[-1].rows))
    find_duplicates({"b": [warm]}, SPEC, tmp_path / "warm-up")

    def timed(names: list[Batch], out: Path, verdicts: Path | None) -> float:
        out.mkdir()
        started = time.process_time()
        files = ("documents", "decisions", "signatures")
        parts = [Part(*(tmp_path / batch.name / f"{file}.parquet" for file in files)) for batch in names]
        for part in parts:
            if not part.signatures.exists():
                write_signatures(part.documents, SPEC.near, part.documents.parent)
        find_duplicates({"a": parts}, SPEC, out, verdicts)
        return time.process_time() - started

    for batch in batches:
        write_batch(tmp_path, batch).signatures.unlink()
    full = timed(batches, tmp_path / "full", None)
    (tmp_path / batches[-1].name / "signatures.parquet").unlink()
    timed(batches[:-1], tmp_path / "before", None)
    added = timed(batches, tmp_path / "after", tmp_path / "before" / "verdicts.parquet")
    assert (tmp_path / "after" / "unique.parquet").read_bytes() == (tmp_path / "full" / "unique.parquet").read_bytes()
    print(f"full {full:.2f} s, with one percent more {added:.3f} s: {added / full:.2%}")
    assert added <= 0.08 * full  # benchmarks/minhash.py measures it at a larger scale
