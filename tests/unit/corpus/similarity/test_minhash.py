import itertools
from pathlib import Path

import datasketch
import numpy as np
import polars as pl
import pytest
import xxhash
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import hex_of
from lm_pipeline.corpus.similarity.minhash import (
    UNDATED,
    band_column,
    hash_family,
    ngram_hashes,
    shingle_sets,
    signatures,
    write_signatures,
)
from lm_pipeline.corpus.text.words import fold, hashed_words, segment
from lm_pipeline.specs.dataset import NearDuplicates

SPEC = NearDuplicates()
SHARES = np.linspace(0.0, 1.0, 60)


def random_text(generator: np.random.Generator, num_words: int, language: str) -> list[str]:
    numbers = generator.integers(0, 3000, num_words)
    return [chr(0x4E00 + number) for number in numbers] if language == "zh" else [f"w{number}" for number in numbers]


def pairs(language: str) -> tuple[list[str], list[str]]:
    """Pairs of texts that share from nothing to everything."""
    generator = np.random.default_rng(5)
    joint = "" if language == "zh" else " "
    left, right = [], []
    for share in SHARES:
        words = random_text(generator, 300, language)
        left.append(joint.join(words))
        right.append(joint.join(words[: int(300 * share)] + random_text(generator, 300 - int(300 * share), language)))
    return left, right


def shingles_of(text: str) -> set[tuple[str, ...]]:
    words = segment(fold(text))
    return {tuple(words[at : at + SPEC.ngram]) for at in range(len(words) - SPEC.ngram + 1)}


def true_similarities(left: list[str], right: list[str]) -> NDArray[np.float64]:
    sets = [(shingles_of(a), shingles_of(b)) for a, b in zip(left, right, strict=True)]
    return np.array([len(a & b) / len(a | b) for a, b in sets])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_agreement_of_signatures_estimates_jaccard_as_datasketch_does(language: str) -> None:
    left, right = pairs(language)
    truth = true_similarities(left, right)
    ours = (signatures(left, SPEC)[0] == signatures(right, SPEC)[0]).mean(axis=1)

    def peer(text: str) -> datasketch.MinHash:
        sketch = datasketch.MinHash(num_perm=112, seed=1)
        sketch.update_batch([" ".join(shingle).encode() for shingle in shingles_of(text)])
        return sketch

    theirs = np.array([peer(a).jaccard(peer(b)) for a, b in zip(left, right, strict=True)])
    # The standard error of an estimate is sqrt(J (1 - J) / 112), at most 0.047.
    assert np.abs(ours - truth).max() < 0.16
    assert abs((ours - truth).mean()) < 0.02
    assert np.sqrt(((ours - truth) ** 2).mean()) < 1.3 * np.sqrt(((theirs - truth) ** 2).mean())


def test_shingle_sets_are_the_distinct_ngrams_of_words() -> None:
    texts = ["a b c d e f a b c d e f", "A, b; c d e!", "法律法律法律法律", "too short", ""]
    shingles, offsets = shingle_sets(texts, SPEC.ngram)
    assert np.diff(offsets).tolist() == [len(shingles_of(text)) for text in texts]
    for begin, end in itertools.pairwise(offsets):
        assert np.all(np.diff(shingles[begin:end].astype(object)) > 0)
    assert shingles[offsets[1]] in shingles[: offsets[1]]


def test_a_signature_is_the_minimum_of_each_hash_over_the_shingles() -> None:
    text = "the quick brown fox jumps over the lazy dog"
    multipliers, addends = hash_family(112, SPEC.seed)
    hashed = [int(shingle) for shingle in ngram_hashes(hashed_words([text])[0], 5)]
    expected = [min((int(a) * x + int(b)) % 2**64 for x in hashed) for a, b in zip(multipliers, addends, strict=True)]
    signature, num_shingles = signatures([text], SPEC)
    assert signature[0].tolist() == expected
    assert num_shingles.tolist() == [5]
    assert all(multipliers % 2 == 1)


def test_the_seed_changes_the_family() -> None:
    assert set(hash_family(8, 1)[0].tolist()).isdisjoint(hash_family(8, 2)[0].tolist())
    assert hash_family(8, 1)[0].tolist() == hash_family(8, 1)[0].tolist()


def write_documents(path: Path, texts: list[str]) -> pl.DataFrame:
    documents = pl.DataFrame(
        {
            "document_id": [f"{row:032x}" for row in range(len(texts))],
            "corpus": "a",
            "file": "f",
            "record": range(len(texts)),
            "date": [None, "2024-02-29"] * (len(texts) // 2),
            "text": texts,
            "target": [None, "译文"] * (len(texts) // 2),
        },
        schema_overrides=dict.fromkeys(("date", "text", "target", "document_id"), pl.String),
    )
    documents.write_parquet(path, row_group_size=1000)
    return documents


def test_signature_files_are_identical_bytes_and_say_which_documents_are_too_short(tmp_path: Path) -> None:
    left, _ = pairs("en")
    texts = [*left, "only four words here", ""] * 80  # more than one batch
    documents = write_documents(tmp_path / "documents.parquet", texts)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        summary = write_signatures(tmp_path / "documents.parquet", SPEC, tmp_path / name)
    written = pl.read_parquet(tmp_path / "one" / "signatures.parquet")
    same = ["file", "record"]
    assert written.select(same).equals(documents.select(same).with_columns(pl.col("record").cast(pl.Int64)))
    ids = hex_of(written["id_high"].to_numpy(), written["id_low"].to_numpy())
    assert ids.to_list() == documents["document_id"].to_list()
    hashes = hex_of(written["text_high"].to_numpy(), written["text_low"].to_numpy())
    assert hashes.to_list() == [xxhash.xxh3_128_hexdigest(text.encode()) for text in texts]
    assert (written["pair"] == written["text_low"]).to_list() == [True, False] * (len(texts) // 2)
    assert written["num_characters"].to_list() == [len(text) for text in texts]
    assert written["date"].to_list()[:2] == [UNDATED, 1709164800000000]
    minima, _ = signatures(left, SPEC)
    for band in range(14):
        keys = written[band_column(band)]
        expected = [int(ngram_hashes(row, 8)[0]) for row in minima[:, band * 8 : band * 8 + 8]]
        assert keys[:60].to_list() == expected
    assert (written["num_shingles"] == 0).to_list() == ([False] * 60 + [True] * 2) * 80
    assert summary == {
        "documents": 62 * 80,
        "with_signature": 60 * 80,
        "num_shingles": int(written["num_shingles"].sum()),
    }
    assert (tmp_path / "one" / "signatures.parquet").read_bytes() == (
        tmp_path / "two" / "signatures.parquet"
    ).read_bytes()


def test_a_part_without_documents_has_an_empty_signature_file(tmp_path: Path) -> None:
    write_documents(tmp_path / "documents.parquet", [])
    assert write_signatures(tmp_path / "documents.parquet", SPEC, tmp_path)["documents"] == 0
    assert pl.read_parquet(tmp_path / "signatures.parquet").is_empty()


def test_without_near_duplicates_there_are_no_bands(tmp_path: Path) -> None:
    write_documents(tmp_path / "documents.parquet", ["one two three four five six", "x"])
    assert write_signatures(tmp_path / "documents.parquet", None, tmp_path)["with_signature"] == 0
    assert "band_0" not in pl.read_parquet_schema(tmp_path / "signatures.parquet")
