import itertools
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.division.split_assignment import EXCLUSIONS
from lm_pipeline.corpus.division.split_ledger import SPLITS
from lm_pipeline.corpus.division.splits import split_documents, with_splits
from lm_pipeline.errors import InputError
from lm_pipeline.specs.dataset import Decontamination, Split

HALF = Split(validation_fraction=0.25, test_fraction=0.25)


@dataclass(frozen=True)
class Document:
    name: str
    text: str
    group: str | None = None
    corpus: str = "a"
    similar_to: tuple[str, ...] = ()  # texts that this one's text is a near duplicate of


def clusters_of(documents: list[Document]) -> list[int]:
    """By document: the first document of its cluster."""
    first = list(range(len(documents)))
    by_text: dict[str, list[int]] = {}
    for row, document in enumerate(documents):
        by_text.setdefault(document.text, []).append(row)
    links = [(row, other) for rows in by_text.values() for row, other in itertools.pairwise(rows)]
    links += [
        (row, by_text[text][0])
        for row, document in enumerate(documents)
        for text in document.similar_to
        if text in by_text
    ]
    for _ in documents:
        for a, b in links:
            first[a] = first[b] = min(first[a], first[b])
        if all(first[a] == first[b] for a, b in links):
            break
    return first


def decide(
    folder: Path,
    documents: list[Document],
    ledger: Path | None = None,
    spec: Split = HALF,
    decontamination: Decontamination | None = None,
    chooser: random.Random | None = None,
    exact: bool = True,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Split documents whose clusters are given; the kept member is the first, or whichever `chooser` likes."""
    folder.mkdir(exist_ok=True)
    first = clusters_of(documents)
    members: dict[int, list[int]] = {}
    for row, each in enumerate(first):
        members.setdefault(each, []).append(row)
    kept_of = {each: (chooser.choice if chooser else min)(rows) for each, rows in members.items()}
    cluster = [kept_of[each] for each in first]
    same_text = [document.text == documents[kept].text for document, kept in zip(documents, cluster, strict=True)]
    kept = [row == cluster[row] or (same_text[row] and not exact) for row in range(len(documents))]
    unique = pl.DataFrame(
        {
            "document_id": [document.name for document in documents],
            "corpus": [document.corpus for document in documents],
            "text_hash": [xxhash.xxh3_128_hexdigest(document.text.encode()) for document in documents],
            "cluster": cluster,
            "kept": kept,
            "kind": [None if k else "exact" if same else "near" for k, same in zip(kept, same_text, strict=True)],
        },
        schema_overrides={"kind": pl.String},
    )
    unique.write_parquet(folder / "unique.parquet")
    frame = unique.select("document_id", "corpus").with_columns(
        text=pl.Series([document.text for document in documents], dtype=pl.String),
        target=pl.lit(None, pl.String),
        group=pl.Series([document.group for document in documents], dtype=pl.String),
        num_bytes=pl.Series([len(document.text.encode()) for document in documents], dtype=pl.Int64),
    )
    summary = split_documents(folder / "unique.parquet", frame.lazy(), ledger, spec, decontamination, folder)
    splits = pl.read_parquet(folder / "splits.parquet")
    assert splits["document_id"].to_list() == unique["document_id"].to_list()
    assert (splits["split"].is_null() != splits["exclusion"].is_null()).all()
    assert summary["documents_in"] == sum(summary[name] for name in (*SPLITS, *EXCLUSIONS)) == len(documents)
    assert summary["exact"] + summary["near"] == len(unique) - sum(kept)
    return splits.with_columns(text=frame["text"], group=frame["group"]), summary


def singles(num: int, prefix: str = "d", corpus: str = "a") -> list[Document]:
    return [Document(f"{prefix}{row}", f"text {prefix}{row}", corpus=corpus) for row in range(num)]


def test_fractions_are_met_in_expectation_and_the_seed_decides(tmp_path: Path) -> None:
    documents = singles(2000)
    splits, summary = decide(tmp_path / "one", documents, spec=Split())
    assert 60 < summary["validation"] < 140
    assert 60 < summary["test"] < 140
    again, _ = decide(tmp_path / "two", documents, spec=Split())
    other, _ = decide(tmp_path / "three", documents, spec=Split(seed=1))
    assert splits.equals(again)
    assert not splits.equals(other)


HISTORY = st.lists(
    st.tuples(
        st.integers(0, 2**32),  # which documents are there, and which members of clusters are kept
        st.lists(
            st.tuples(
                st.integers(0, 25),  # text
                st.one_of(st.none(), st.sampled_from("pqrs")),  # group
                st.sampled_from("ab"),  # corpus
                st.lists(st.integers(0, 25), max_size=2),  # near duplicates
            ),
            max_size=8,
        ),
    ),
    min_size=10,
    max_size=10,
)


@settings(max_examples=15, deadline=None)
@given(HISTORY, st.booleans())
def test_nothing_is_ever_divided_and_nobody_changes_split(history: list[Any], exact: bool) -> None:
    ever_text: dict[str, str] = {}
    ever_group: dict[tuple[str, str], str] = {}
    present: list[Document] = []
    ledger: Path | None = None
    with tempfile.TemporaryDirectory() as folder:
        for step, (seed, arrivals) in enumerate(history):
            chance = random.Random(seed)
            present = [document for document in present if chance.random() < 0.8]
            present += [
                Document(f"{step}-{at}", f"t{text}", group, corpus, tuple(f"t{other}" for other in similar))
                for at, (text, group, corpus, similar) in enumerate(arrivals)
            ]
            if not present:
                continue
            place = Path(folder) / str(step)
            splits, _ = decide(place, present, ledger, chooser=random.Random(seed), exact=exact)
            taken = splits.filter(pl.col("split").is_not_null())
            for key in (["text"], ["cluster"], ["corpus", "group"]):
                sides = taken.drop_nulls(key).group_by(key).agg(pl.col("split").n_unique())
                assert (sides["split"] == 1).all(), key
            for text, corpus, group, split in taken.select("text", "corpus", "group", "split").iter_rows():
                assert ever_text.setdefault(text, split) == split
                if group is not None:
                    assert ever_group.setdefault((corpus, group), split) == split
            if ledger is not None:
                before, after = pl.read_parquet(ledger), pl.read_parquet(place / "ledger.parquet")
                assert before.join(after, on=["key", "split"], how="anti").is_empty()
            ledger = place / "ledger.parquet"
            again, _ = decide(place / "again", present, ledger, chooser=random.Random(seed), exact=exact)
            stays = splits["exclusion"].is_null()
            assert again.filter(stays).equals(splits.filter(stays))


def test_a_group_is_never_divided_and_its_newcomers_join_it(tmp_path: Path) -> None:
    documents = [Document(f"d{row}", f"text {row}", group=f"law {row % 40}") for row in range(400)]
    splits, _ = decide(tmp_path / "one", documents[:80])
    later, _ = decide(tmp_path / "two", documents, tmp_path / "one" / "ledger.parquet")
    assert later[:80].equals(splits)
    assert (later.group_by("group").agg(pl.col("split").n_unique())["split"] == 1).all()
    assert later["split"].n_unique() == 3


def by_split(folder: Path, num: int = 40) -> tuple[dict[str, Document], Path]:
    """A document of each split, and their ledger."""
    documents = singles(num)
    splits, _ = decide(folder, documents)
    chosen = {split: documents[splits["split"].to_list().index(split)] for split in SPLITS}
    return chosen, folder / "ledger.parquet"


def test_a_newcomer_joins_its_cluster_even_when_it_replaces_the_kept_document(tmp_path: Path) -> None:
    chosen, ledger = by_split(tmp_path / "old")
    newcomers = [Document(f"n-{split}", f"new {split}", similar_to=(old.text,)) for split, old in chosen.items()]
    splits, _ = decide(tmp_path / "new", [*newcomers, *chosen.values()], ledger)
    assert splits["split"].to_list() == [*SPLITS, None, None, None]
    # The old documents die; their successors still know where they belong.
    alone, _ = decide(tmp_path / "alone", newcomers, tmp_path / "new" / "ledger.parquet")
    assert alone["split"].to_list() == [*SPLITS]


def test_a_removed_duplicate_returns_to_its_clusters_split(tmp_path: Path) -> None:
    chosen, ledger = by_split(tmp_path / "old")
    copies = [Document(f"n-{split}", f"new {split}", similar_to=(old.text,)) for split, old in chosen.items()]
    splits, _ = decide(tmp_path / "new", [*chosen.values(), *copies], ledger)
    assert splits["split"].to_list() == [*SPLITS, None, None, None]
    alone, _ = decide(tmp_path / "alone", copies, tmp_path / "new" / "ledger.parquet")
    assert alone["split"].to_list() == [*SPLITS]


def test_a_newcomer_that_bridges_two_splits_is_excluded_and_counted(tmp_path: Path) -> None:
    chosen, ledger = by_split(tmp_path / "old")
    train, test = chosen["train"], chosen["test"]
    bridge = Document("bridge", "a bridge", similar_to=(train.text, test.text))
    splits, summary = decide(tmp_path / "new", [bridge, train, test], ledger)
    assert splits["exclusion"].to_list() == ["bridging", "near", "near"]
    assert summary["bridging"] == 1
    # The old document keeps its place where it is the one that is kept.
    splits, _ = decide(tmp_path / "kept", [test, bridge, train], ledger)
    assert splits["split"].to_list() == ["test", None, None]
    assert splits["exclusion"].to_list() == [None, "near", "near"]


def test_a_newcomer_whose_group_and_cluster_disagree_is_excluded(tmp_path: Path) -> None:
    grouped = [Document(f"g{row}", f"grouped {row}", group=f"law {row}") for row in range(40)]
    splits, _ = decide(tmp_path / "old", grouped)
    train, test = (grouped[splits["split"].to_list().index(name)] for name in ("train", "test"))
    torn = Document("torn", "torn", group=train.group, similar_to=(test.text,))
    splits, summary = decide(tmp_path / "new", [torn, train, test], tmp_path / "old" / "ledger.parquet")
    assert splits["split"].to_list() == [None, "train", None]
    assert summary["bridging"] == 1


@pytest.mark.parametrize("num", [3, 4, 8])
def test_a_small_corpus_gets_a_group_in_every_split(tmp_path: Path, num: int) -> None:
    documents = [*singles(num), *singles(2000, "big", "b")] if num == 8 else singles(num)
    splits, summary = decide(tmp_path, documents, spec=Split(validation_fraction=0.01, test_fraction=0.01))
    assert set(splits["split"][:num]) == set(SPLITS)
    assert summary["per_corpus"]["a"]["train"] == num - 2
    assert summary["warnings"] == []


def test_a_corpus_too_small_for_all_splits_is_warned_of(tmp_path: Path) -> None:
    documents = [Document("x", "one", group="law"), Document("y", "two", group="law"), *singles(30, "z", "b")]
    splits, summary = decide(tmp_path, documents)
    assert splits["split"][0] == splits["split"][1]
    assert len(summary["warnings"]) == 2
    assert all("Corpus 'a' has no" in warning and "at least 3 groups" in warning for warning in summary["warnings"])


def test_training_text_that_repeats_test_text_is_excluded_and_its_witness_recorded(tmp_path: Path) -> None:
    chosen, ledger = by_split(tmp_path / "old")
    sentence = " ".join(f"word{number}" for number in range(20))
    test = Document("test", chosen["test"].text, group="held out")
    evaluation = Document("evaluation", sentence, group="held out")
    dirty = Document("dirty", f"{sentence}\n\nand more", similar_to=(chosen["train"].text,))
    documents = [test, evaluation, dirty]
    splits, summary = decide(tmp_path / "new", documents, ledger, decontamination=Decontamination())
    assert splits["exclusion"].to_list() == [None, None, "contaminated"]
    assert (summary["contaminated"], summary["train"], summary["test"]) == (1, 0, 2)
    hits = pl.read_parquet(tmp_path / "new" / "contamination.parquet")
    named = hits.select("document_id", "evaluation_document_id", "evaluation_corpus").rows()
    assert named == [("dirty", "evaluation", "a")]
    # Its place in the ledger stays: were the test text gone, it would be training text again.
    alone, _ = decide(tmp_path / "alone", [dirty], tmp_path / "new" / "ledger.parquet")
    assert alone["split"].to_list() == ["train"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    documents = [Document(f"d{row}", f"text {row % 50}", group=f"g{row % 7}" if row % 3 else None) for row in range(90)]
    for name in ("one", "two"):
        decide(tmp_path / name, documents, decontamination=Decontamination())
    for file in ("splits.parquet", "ledger.parquet", "contamination.parquet", "evaluation_documents.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_other_documents_or_a_file_that_is_no_ledger_are_refused(tmp_path: Path) -> None:
    decide(tmp_path, singles(5))
    columns = {"document_id": ["d1"], "corpus": ["a"], "text": ["x"], "group": [None], "num_bytes": [1]}
    frame = pl.DataFrame(columns).lazy()
    with pytest.raises(InputError, match="not the same"):
        split_documents(tmp_path / "unique.parquet", frame, None, HALF, None, tmp_path)
    with pytest.raises(InputError, match="is not a split ledger"):
        decide(tmp_path / "two", singles(5), tmp_path / "splits.parquet")


def test_splits_go_with_their_documents_and_with_no_others(tmp_path):
    table = pl.DataFrame({"document_id": [f"{row:032x}" for row in range(10_000)], "text": "text 文本"})
    splits = table.select("document_id", split=pl.Series(["train", None, "test", "validation"] * 2500))
    splits.write_parquet(tmp_path / "splits.parquet", row_group_size=700)
    batches = list(with_splits(table.lazy(), tmp_path / "splits.parquet"))
    assert max(map(len, batches)) < 10_000
    assert pl.concat(batches).select("document_id", "split").equals(splits)
    for others in (table.head(9_999), table[::-1], pl.concat([table, table.head(1)]), table.clear()):
        with pytest.raises(InputError, match="Materialize splits again"):
            list(with_splits(others.lazy(), tmp_path / "splits.parquet"))
