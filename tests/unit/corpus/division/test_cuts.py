"""Repeated text whose first document ends in no split."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xxhash

from lm_pipeline.corpus.division.cuts import without_cuts
from lm_pipeline.corpus.division.split_ledger import LEDGER_SCHEMA
from lm_pipeline.corpus.division.splits import split_documents
from lm_pipeline.corpus.similarity.duplicates import find_duplicates
from lm_pipeline.corpus.similarity.repeated_text import UnitFiles, find_repeated_text, write_units
from lm_pipeline.specs.dataset import Decontamination, Duplicates, RepeatedText, Split
from tests.unit.corpus.parts import write_part

SPEC = Duplicates(near=None, repeated=RepeatedText())
SIDES = {"t": "train", "v": "validation"}


def prose(language: str, seed: int) -> str:
    """A paragraph that no other seed has a part of."""
    draw = random.Random(f"{language}{seed}")
    if language == "zh":
        return "".join(chr(draw.randrange(0x4E00, 0x9FA5)) for _ in range(60)) + "。"
    return " ".join("".join(draw.choices("abcdefghij", k=6)) for _ in range(40)) + "."


def split(
    folder: Path, documents: Sequence[tuple[str, list[str]]], against: str | None = None, bridging: Sequence[int] = ()
) -> tuple[list[str], list[str], dict[str, Any]]:
    """What becomes of documents (a side, "t" or "v", and paragraphs): split or exclusion, text, and the summary."""
    texts = ["\n\n".join(paragraphs) for _, paragraphs in documents]
    sizes = [len(text.encode()) for text in texts]
    part = write_part(folder, "a", texts, SPEC, group=[side for side, _ in documents])
    counts = {"num_bytes": sizes, "num_characters": [len(text) for text in texts]}
    frame = pl.read_parquet(part.documents).with_columns(**{name: pl.Series(own) for name, own in counts.items()})
    write_units(part.documents, RepeatedText(), folder)
    find_duplicates({"a": [part]}, SPEC, folder)
    find_repeated_text([[UnitFiles(folder / "units.parquet", folder / "counts.parquet", part.decisions)]], folder)
    # A text that the ledger has on another side than its group is bridging.
    other = {f"document:{xxhash.xxh3_128_hexdigest(texts[row].encode())}": "test" for row in bridging}
    entries = sorted((other | {f"group:a:{side}": name for side, name in SIDES.items()}).items())
    pl.DataFrame(entries, schema=LEDGER_SCHEMA, orient="row").write_parquet(folder / "ledger_before.parquet")
    evaluation = {"document_id": "f" * 32, "corpus": "e", "text": against, "target": None}
    summary = split_documents(
        folder / "unique.parquet",
        frame.lazy(),
        folder / "ledger_before.parquet",
        Split(),
        Decontamination(),
        folder,
        against=pl.LazyFrame(evaluation, schema=dict.fromkeys(evaluation, pl.String)) if against else None,
        repeated=folder / "repeated_units.parquet",
    )
    table = pl.read_parquet(folder / "splits.parquet").with_columns(fate=pl.coalesce("split", "exclusion"))
    left = without_cuts(frame.lazy(), pl.scan_parquet(folder / "repeated.parquet")).collect()
    with_split = left.filter(table["split"].is_not_null())
    assert sum(summary["bytes"].values()) == with_split["text"].str.len_bytes().sum() == with_split["num_bytes"].sum()
    whole = frame.filter(table["split"].is_not_null())["num_characters"].sum()
    assert summary["repeated_text"]["characters"] + with_split["num_characters"].sum() == whole
    return table["fate"].to_list(), left["text"].to_list(), summary


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_a_contaminated_document_kept_stays_in_the_next_one(tmp_path: Path, language: str) -> None:
    shared, item, *own = (prose(language, seed) for seed in range(8))
    documents = [("t", [item, shared, own[0]]), *(("t", [text, shared]) for text in own[1:4]), ("v", [own[4], shared])]
    fates, texts, summary = split(tmp_path, documents, against=item)
    assert fates == ["contaminated", "train", "train", "train", "validation"]
    assert [shared in text for text in texts[1:]] == [True, False, False, False]
    assert {key: summary["repeated_text"][key] for key in ("units", "documents", "lost")} == {
        "units": 3,
        "documents": 3,
        "lost": 0,
    }


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_a_bridging_document_kept_stays_in_the_next_one_on_whatever_side(tmp_path: Path, language: str) -> None:
    shared, *own = (prose(language, seed) for seed in range(4))
    documents = [("t", [own[0], shared]), ("v", [own[1], shared]), ("t", [own[2], shared])]
    fates, texts, _ = split(tmp_path, documents, bridging=[0])
    assert fates == ["bridging", "validation", "train"]
    assert texts[1:] == ["\n\n".join(documents[1][1]), own[2]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_text_that_would_contaminate_the_next_document_is_not_passed_on_to_it(tmp_path: Path, language: str) -> None:
    shared, item, *own = (prose(language, seed) for seed in range(6))
    documents = [("t", [item, own[0]]), ("t", [item, shared, own[1]]), ("t", [own[2], item]), ("t", [own[3], shared])]
    fates, texts, summary = split(tmp_path, documents, against=item)
    assert fates == ["contaminated", "train", "train", "train"]
    assert texts[1:] == [f"{shared}\n\n{own[1]}", own[2], own[3]]
    assert summary["repeated_text"]["lost"] == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_evaluation_text_that_gets_text_back_is_searched_for_again(tmp_path: Path, language: str) -> None:
    shared, item, *own = (prose(language, seed) for seed in range(6))
    part = shared[: len(shared) // 2]
    documents = [("t", [item, shared, own[0]]), ("v", [own[1], shared]), ("t", [own[2], f"{part} {own[3]}"])]
    fates, texts, _ = split(tmp_path, documents, against=item)
    assert fates == ["contaminated", "validation", "contaminated"]
    assert texts[1] == "\n\n".join(documents[1][1])
    named = pl.read_parquet(tmp_path / "contamination.parquet")["document_id"]
    assert named.n_unique() == 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_of_several_lost_units_only_those_that_repeat_evaluation_text_stay_lost(tmp_path: Path, language: str) -> None:
    shared, item, *own = (prose(language, seed) for seed in range(6))
    documents = [("t", [item, shared, own[0]]), ("t", [item, shared, own[1]]), ("t", [own[2], shared])]
    fates, texts, summary = split(tmp_path, documents, against=item)
    assert fates == ["contaminated", "train", "train"]
    assert texts[1:] == [f"{shared}\n\n{own[1]}", own[2]]
    assert summary["repeated_text"]["lost"] == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_units_that_repeat_evaluation_text_only_together_stay_lost(tmp_path: Path, language: str) -> None:
    first, second, *own = (prose(language, seed) for seed in range(6))
    item = " ".join([*first.split()[-6:], *second.split()[:6]]) if language == "en" else first[-11:-1] + second[:10]
    documents = [("t", [first, second, own[0]]), ("t", [own[1], first, second]), ("t", [own[2], second])]
    fates, texts, summary = split(tmp_path, documents, against=item)
    assert fates == ["contaminated", "train", "train"]
    assert texts[1:] == [own[1], f"{own[2]}\n\n{second}"]
    assert summary["repeated_text"]["lost"] == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_document_that_only_the_first_of_two_searches_finds_names_what_it_repeats(
    tmp_path: Path, language: str
) -> None:
    item, phrase, shared, *own = (prose(language, seed) for seed in range(30))
    space = " " if language == "en" else ""
    within = [("t", [space.join((before, phrase, after))]) for before, after in zip(own[:12], own[12:24], strict=True)]
    # The phrase is all that validation text has, until the contaminated document's text is passed on to it.
    documents = [("t", [item, shared, own[24]]), ("v", [phrase, shared]), *within]
    fates, texts, summary = split(tmp_path, documents, against=item)
    assert fates == ["contaminated", "validation", *["contaminated"] * 12]
    assert texts[1] == "\n\n".join(documents[1][1])
    hits = pl.read_parquet(tmp_path / "contamination.parquet")
    assert len(hits) == hits["document_id"].n_unique() == 13
    items = pl.read_parquet(tmp_path / "evaluation_documents.parquet")
    assert items["num_documents"].to_list() == [12, 1]
    assert summary["decontamination"]["repeated_items"] == 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_document_that_gets_a_part_of_its_lost_units_is_searched_as_it_stands(tmp_path: Path, language: str) -> None:
    item, before, between, after, *own = (prose(language, seed) for seed in range(7))
    joined = f"{before[-49:]} {after[:48]}" if language == "en" else before[-11:-1] + after[:10]
    documents = [
        ("t", [item, between, after, own[0]]),
        ("t", [between, own[1]]),
        ("t", [before, between, after, own[2]]),
    ]
    fates, texts, summary = split(tmp_path, documents, against=f"{item} {joined}")
    assert fates == ["contaminated", "train", "train"]
    assert texts[1:] == [f"{between}\n\n{own[1]}", f"{before}\n\n{own[2]}"]
    assert summary["repeated_text"]["lost"] == 1
