from pathlib import Path

import polars as pl
import pytest

from lm_pipeline.corpus.similarity.duplicates import find_duplicates
from lm_pipeline.specs.dataset import Duplicates
from tests.unit.corpus.parts import named, write_part

ENGLISH = "The river that runs through the old town floods its lower streets every spring."
CHINESE = "流过这座老城的河，每到春天就会淹没地势较低的街道。"
FIRST, SECOND = "每年春天，穿城而过的河水都会淹没老城的低街。", "In spring the river floods the low streets."


def search(folder: Path, documents: list[tuple[str, str | None]], spec: Duplicates, **more: list[str]) -> pl.DataFrame:
    targets = [target for _, target in documents]
    part = write_part(folder, "c", [text for text, _ in documents], spec, target=targets, **more)
    find_duplicates({"c": [part]}, spec, folder)
    return pl.read_parquet(folder / "unique.parquet")


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, "Yes", "是的"])
def test_one_source_with_two_translations_keeps_both_in_one_cluster(tmp_path: Path, text: str) -> None:
    pairs = [(text, FIRST), (text, SECOND), (text, FIRST), (text, SECOND), ("Another one", FIRST), (text, None)]
    unique = search(tmp_path, [*pairs, (text, None)], Duplicates())
    assert unique["kind"].to_list() == [None, None, "exact", "exact", None, None, "exact"]
    assert unique["cluster"].to_list() == [0, 0, 0, 0, 4, 0, 0]
    removed = unique.filter(~pl.col("kept"))
    assert removed["duplicate_of"].to_list() == [named("c", row) for row in (0, 1, 5)]
    assert removed["similarity"].to_list() == [1.0] * 3
    assert unique["text_hash"].n_unique() == 2


@pytest.mark.parametrize("text", [ENGLISH * 3, CHINESE * 3])
def test_which_of_the_same_pairs_stays_is_chosen_as_among_texts(tmp_path: Path, text: str) -> None:
    pairs = [(text, FIRST), (text, SECOND), (text, FIRST), (text, SECOND)]
    dates = ["2024", "2023", "2022", "2025"]
    unique = search(tmp_path, pairs, Duplicates(keep="oldest"), date=dates)
    assert unique["kept"].to_list() == [False, True, True, False]
    assert unique["cluster"].to_list() == [2] * 4
    every = search(tmp_path / "all", pairs, Duplicates(exact=False))
    assert every["kept"].all()


@pytest.mark.parametrize("text", [ENGLISH * 3, CHINESE * 3])
def test_near_duplicates_are_compared_by_their_texts_alone(tmp_path: Path, text: str) -> None:
    longer = text + " More."
    unique = search(tmp_path, [(text, FIRST), (text, SECOND), (text, FIRST), (longer, FIRST)], Duplicates())
    assert unique["kind"].to_list() == ["near", "near", "exact", None]
    assert unique["duplicate_of"].to_list()[:3] == [named("c", 3)] * 3


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_a_text_with_two_labels_is_one_document(tmp_path: Path, text: str) -> None:
    unique = search(tmp_path, [(text, None), (text, None)], Duplicates(), label=["good", "bad"])
    assert unique["kind"].to_list() == [None, "exact"]
