import csv
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lm_pipeline.corpus.similarity import equal_keys, near_duplicates
from lm_pipeline.corpus.similarity.duplicates import find_duplicates
from lm_pipeline.corpus.text.words import fold, segment
from lm_pipeline.errors import InputError
from lm_pipeline.specs.dataset import Duplicates, NearDuplicates
from tests.unit.corpus.parts import named, write_part

NEAR = NearDuplicates()


def search(
    folder: Path,
    corpora: dict[str, Sequence[str]],
    spec: Duplicates | None = None,
    dates: Sequence[str] = (),
    scores: Sequence[float] = (),
    **options: Any,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Run signatures, a part a corpus, and the search over them; check what always must hold."""
    spec = spec or Duplicates()
    folder.mkdir(exist_ok=True)
    parts = [write_part(folder / name, name, texts, spec, dates) for name, texts in corpora.items()]
    if scores:
        (part,) = parts
        path = part.documents.with_name("scores.parquet")
        pl.DataFrame({"score": pl.Series(scores, dtype=pl.Float32)}).write_parquet(path)
        parts = [replace(part, scores=path)]
    summary = find_duplicates(dict(zip(corpora, ([part] for part in parts), strict=True)), spec, folder, **options)
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == (
        ["unique.parquet", "verdicts.parquet"] if spec.near else ["unique.parquet"]
    )
    unique = pl.read_parquet(folder / "unique.parquet")
    removed = unique.filter(pl.col("kind").is_in(["exact", "near"]))
    losses = summary["exact"] + summary["near"] + summary["low_quality"]
    assert summary["documents_in"] == len(unique) == summary["kept"] + losses
    assert unique["kept"].equals(unique["kind"].is_null(), check_names=False)
    assert (unique["cluster"].gather(unique["cluster"]) == unique["cluster"]).all()
    assert removed["duplicate_of"].to_list() == unique["document_id"].gather(removed["cluster"]).to_list()
    others = unique.filter(~pl.col("document_id").is_in(removed["document_id"].implode()))
    assert others.select("duplicate_of", "similarity").null_count().row(0) == (len(others),) * 2
    return unique, summary


def jaccard(left: str, right: str, ngram: int = 5) -> float:
    a, b = (
        {tuple(words[at : at + ngram]) for at in range(len(words) - ngram + 1)}
        for words in (segment(fold(left)), segment(fold(right)))
    )
    return len(a & b) / max(1, len(a | b))


def random_words(generator: np.random.Generator, num: int, language: str) -> list[str]:
    numbers = generator.integers(0, 2500, num)
    return [chr(0x4E00 + number) for number in numbers] if language == "zh" else [f"w{number}" for number in numbers]


def write(words: list[str], language: str) -> str:
    return ("" if language == "zh" else " ").join(words)


def edited(words: list[str], num_edits: int, generator: np.random.Generator, language: str) -> list[str]:
    changed = list(words)
    for place in generator.choice(len(words), num_edits, replace=False):
        changed[place] = random_words(generator, 1, language)[0] + ("" if language == "zh" else "x")
    return changed


@pytest.mark.parametrize("language", ["en", "zh"])
def test_injected_pairs_are_found_and_nothing_else_is(tmp_path: Path, language: str) -> None:
    generator = np.random.default_rng(11)
    originals = [random_words(generator, 400, language) for _ in range(700)]
    copies = [edited(words, int(generator.integers(1, 14)), generator, language) for words in originals]
    left = [write(words, language) for words in originals]
    right = [write(words, language) for words in copies]
    unique, summary = search(tmp_path, {"left": left, "right": right})
    truth = np.array([jaccard(a, b) for a, b in zip(left, right, strict=True)])
    found = (unique["cluster"][:700] == unique["cluster"][700:]).to_numpy()
    assert ((truth >= 0.8) & (truth < 0.9)).sum() > 100
    assert (truth >= 0.9).sum() > 200
    assert found[truth >= 0.9].mean() >= 0.99
    assert found[truth >= 0.8].mean() >= 0.92
    assert not found[truth < 0.8].any()
    assert summary["near"] == found.sum()
    assert summary["exact"] == 0
    by_id = dict(zip(unique["document_id"], unique["similarity"], strict=True))
    stored = [max(by_id[named("left", row)] or 0, by_id[named("right", row)] or 0) for row in np.flatnonzero(found)]
    np.testing.assert_allclose(stored, truth[found], atol=1e-6)


def test_exact_and_near_duplicates_join_one_cluster_across_corpora(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    words = random_words(generator, 200, "en")
    text, longer, other = " ".join(words), " ".join([*words, "end"]), " ".join(random_words(generator, 200, "en"))
    corpora = {"a": [text, other], "b": ["short", text, longer], "c": ["short", longer]}
    unique, summary = search(tmp_path, corpora)
    assert unique["cluster"].to_list() == [4, 1, 2, 4, 4, 2, 4]
    assert unique["kind"].to_list() == ["near", None, None, "exact", None, "exact", "exact"]
    assert unique["similarity"][0] == unique["similarity"][3] == pytest.approx(196 / 197)
    one = len(text)
    assert summary["matrix"] == [
        ["a", "b", 1, one],
        ["a", "c", 1, one],
        ["b", "a", 2, 2 * one + 4],
        ["b", "b", 2, 2 * one + 4],
        ["b", "c", 3, 2 * one + 4 + 5],
        ["c", "a", 1, one + 4],
        ["c", "b", 2, one + 4 + 5],
    ]
    assert (summary["num_clusters"], summary["largest_cluster"]) == (2, 4)
    assert [example["kind"] for example in summary["examples"]] == ["near", "exact", "exact", "exact"]
    assert summary["examples"][0]["excerpt"] == text[:160]
    assert summary["examples"][0]["kept_corpus"] == "b"
    first, _ = search(tmp_path / "first", corpora, Duplicates(keep="first"))
    assert first["cluster"].to_list() == [0, 1, 2, 0, 0, 2, 0]


def test_documents_under_one_shingle_have_exact_duplicates_only(tmp_path: Path) -> None:
    unique, _ = search(
        tmp_path, {"a": ["one two three four", "one two three five", "", "一二三四", "one two three four"]}
    )
    assert unique["kept"].to_list() == [True, True, True, True, False]


def test_a_chain_is_one_cluster_whose_stored_similarity_is_true(tmp_path: Path) -> None:
    # Each link moves the window by 20 words: neighbours are 0.87 similar, the ends 0.58.
    texts = [" ".join(f"w{number}" for number in range(begin, begin + 280)) for begin in (0, 20, 40, 60)]
    unique, _ = search(tmp_path, {"a": texts}, Duplicates(keep="first"))
    assert unique["cluster"].to_list() == [0, 0, 0, 0]
    truth = [jaccard(text, texts[0]) for text in texts[1:]]
    assert unique["similarity"][1:].to_list() == pytest.approx(truth)
    assert truth[2] < NEAR.threshold < truth[0]


@pytest.mark.parametrize("all_pairs", [256, 2])
def test_a_large_bucket_of_one_template_becomes_one_cluster(
    tmp_path: Path, all_pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel sees the limit as a constant when it is compiled, so the small one runs the kernel's Python.
    if all_pairs == 2:
        monkeypatch.setattr(near_duplicates, "_ALL_PAIRS", all_pairs)
        monkeypatch.setattr(near_duplicates, "_join_buckets", near_duplicates._join_buckets.py_func)
    generator = np.random.default_rng(3)
    families = [random_words(generator, 150, "en") for _ in range(3)]
    size = 400 if all_pairs == 256 else 40
    texts = [" ".join(edited(families[number % 3], 1, generator, "en")) for number in range(size)]
    unique, summary = search(tmp_path, {"a": texts})
    assert summary["num_clusters"] == 3
    assert summary["kept"] == 3
    assert len({(row % 3, cluster) for row, cluster in enumerate(unique["cluster"])}) == 3


def test_without_exact_removal_same_texts_stay_and_share_a_cluster(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    words = random_words(generator, 200, "en")
    texts = [" ".join(words), "x y", " ".join(words), " ".join(words[:-1]), "x y"]
    unique, summary = search(tmp_path / "near", {"a": texts}, Duplicates(exact=False))
    assert unique["kept"].to_list() == [True, True, True, False, True]
    assert unique["cluster"].to_list() == [0, 1, 0, 0, 1]
    assert (summary["exact"], summary["near"]) == (0, 1)
    unique, summary = search(tmp_path / "none", {"a": texts}, Duplicates(exact=False, near=None))
    assert unique["kept"].all()
    assert unique["cluster"].to_list() == [0, 1, 0, 3, 1]


def test_the_keep_rule_chooses_the_member_that_stays(tmp_path: Path) -> None:
    words = random_words(np.random.default_rng(6), 200, "zh")
    texts = [write(words, "zh") + "尾" * extra for extra in (2, 4, 0, 1)]
    dates = ["not a date", "2024", "2001-02-03", "Fri, 02 Feb 2001 00:00:00 GMT"]
    scores = [0.2, 0.4, 0.9, 0.9]
    expected = {"first": 0, "longest": 1, "oldest": 3, "best_score": 2}
    for keep, row in expected.items():
        unique, summary = search(tmp_path / keep, {"a": texts}, Duplicates(keep=keep), dates, scores)  # type: ignore[arg-type]
        assert unique["cluster"].to_list() == [row] * 4, keep
        assert unique["score"].to_list() == pytest.approx(scores)
        assert summary.get("undated") == (1 if keep == "oldest" else None)


def test_a_document_below_the_minimum_score_stays_only_in_the_counts(tmp_path: Path) -> None:
    words = random_words(np.random.default_rng(7), 200, "en")
    texts = [write(words, "en"), write([*words, "longer"], "en"), "alone and bad", "alone and good", "alone and bad"]
    scores = [0.9, 0.1, 0.2, 0.8, 0.2]
    unique, summary = search(tmp_path, {"a": texts}, scores=scores, min_score=0.5)
    # The longest of the cluster scores too low, so the other one is chosen.
    assert unique["kind"].to_list() == [None, "near", "low_quality", None, "exact"]
    assert unique["cluster"].to_list() == [0, 0, 2, 3, 2]
    assert (summary["kept"], summary["near"], summary["low_quality"], summary["exact"]) == (2, 1, 1, 1)


def test_passes_over_ranges_of_keys_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(8)
    families = [random_words(generator, 100, "en") for _ in range(60)]
    texts = [write(edited(families[number % 60], number % 3, generator, "en"), "en") for number in range(300)]
    search(tmp_path / "one", {"a": texts[:150], "b": texts[150:]})
    monkeypatch.setattr(equal_keys, "ROWS_PER_PASS", 7)
    _, summary = search(tmp_path / "many", {"a": texts[:150], "b": texts[150:]})
    assert summary["near"] > 50
    assert summary["exact"] > 30
    for name in ("unique.parquet", "verdicts.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_without_near_removal_no_signature_is_needed(tmp_path: Path) -> None:
    unique, _ = search(tmp_path, {"a": ["a b", "a b", "A b"]}, Duplicates(near=None))
    assert unique["kept"].to_list() == [True, False, True]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    families = [random_words(generator, 100, "zh") for _ in range(20)]
    texts = [write(edited(families[number % 20], 2, generator, "zh"), "zh") for number in range(200)]
    results = [search(tmp_path / name, {"a": texts[:90], "b": texts[90:]}) for name in ("one", "two")]
    assert results[0][1] == results[1][1]
    assert (tmp_path / "one" / "unique.parquet").read_bytes() == (tmp_path / "two" / "unique.parquet").read_bytes()


def test_missing_signatures_repeated_ids_and_no_documents_are_refused(tmp_path: Path) -> None:
    spec = Duplicates()
    parts = [write_part(tmp_path / name, name, texts, spec) for name, texts in (("a", ["x", "y"]), ("b", ["z"]))]
    mixed = replace(parts[0], signatures=parts[1].signatures)
    with pytest.raises(InputError, match=r"have \[1, 2\] rows for the 2 of"):
        find_duplicates({"a": [mixed]}, spec, tmp_path)
    with pytest.raises(InputError, match="comes twice"):
        find_duplicates({"a": [parts[0]], "b": [parts[0]]}, spec, tmp_path)
    with pytest.raises(InputError, match="no document left"):
        find_duplicates({"a": [], "c": [write_part(tmp_path / "c", "c", [], spec)]}, spec, tmp_path)


def test_a_corpus_without_documents_is_no_obstacle(tmp_path: Path) -> None:
    unique, summary = search(tmp_path, {"a": [], "b": ["one text", "one text"]})
    assert unique["kept"].to_list() == [True, False]
    assert summary["matrix"] == [["b", "b", 2, 16]]


def imdb(shared_data: Path) -> list[str]:
    with gzip.open(shared_data / "large" / "imdb" / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def bbc(shared_data: Path) -> list[str]:
    with gzip.open(shared_data / "large" / "bbc-news" / "bbc.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


@pytest.mark.parametrize(("read", "identical", "same_letters"), [(imdb, 96, 98), (bbc, 98, 104)])
def test_known_duplicates_of_real_corpora_are_all_removed(
    shared_data: Path,
    tmp_path: Path,
    read: Callable[[Path], list[str]],
    identical: int,
    same_letters: int,
) -> None:
    """Published counts (98 and 104) are of texts with the same letters and digits; fewer are identical texts."""
    texts = read(shared_data)
    unique, summary = search(tmp_path, {"reviews": texts})
    assert summary["exact"] == identical
    same: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        same.setdefault("".join(filter(str.isalnum, text.lower())), []).append(row)
    assert len(texts) - len(same) == same_letters
    clusters = unique["cluster"].to_list()
    assert all(len({clusters[row] for row in rows}) == 1 for rows in same.values())
    assert summary["exact"] + summary["near"] >= same_letters
