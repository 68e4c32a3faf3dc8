"""Segment by segment, from memory, the ids are those that the library gives to the whole text."""

import gzip
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.text.utf8 import utf8_buffers
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.tokenization.segments import SegmentMemo
from lm_pipeline.tokenization.tokenizer import SPACE_MARK, Tokenizer, train_tokenizer

TEXTS = st.text(
    st.one_of(st.sampled_from("the cat\n国家公民的权利。 é界"), st.characters(exclude_categories=["Cs"])), max_size=80
)


@pytest.fixture(scope="module", params=["unigram", "bpe", "char"])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bilingual_lines: list[str]
) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    train_tokenizer(bilingual_lines, TokenizerSpec(algorithm=request.param, vocab_size=400), out)
    return out


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder / "tokenizer.model")


@pytest.fixture(scope="module")
def library(folder: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def agree(tokenizer: Tokenizer, library: sentencepiece.SentencePieceProcessor, text: str) -> None:
    """Equal ids; where paths have one probability, either of them."""
    ours, theirs = tokenizer.encode(text).tolist(), library.encode(text)
    if ours != theirs:
        assert len(ours) == len(theirs)
        assert b"".join(map(tokenizer.spellings.__getitem__, ours)) == text.encode()
        sums = [sum(library.get_score(i) for i in ids) for ids in (ours, theirs)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-6)
        assert tokenizer.score(300) != round(tokenizer.score(300)), "merges leave no choice"


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_any_text_has_the_ids_of_the_library(
    tokenizer: Tokenizer, library: sentencepiece.SentencePieceProcessor, text: str
) -> None:
    agree(tokenizer, library, text.replace(SPACE_MARK, ""))  # which it takes for a space


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_real_text_has_the_ids_of_the_library(shared_data: Path, tmp_path: Path, language: str, algorithm: str) -> None:
    texts = english(shared_data) if language == "en" else chinese(shared_data)
    train_tokenizer(texts[::3], TokenizerSpec(algorithm=algorithm, vocab_size=6000), tmp_path)  # type: ignore[arg-type]
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.model")
    library = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    for text in texts:
        agree(tokenizer, library, text)


def english(data: Path) -> list[str]:
    with gzip.open(data / "large/imdb/train.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in itertools.islice(file, 600)]


def chinese(data: Path) -> list[str]:
    questions = json.loads((data / "large/cmrc2018/cmrc2018_dev.json").read_text("utf-8"))
    return [paragraph["context"] for article in questions["data"] for paragraph in article["paragraphs"]]


def segments_by_words(data: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One id a segment, its length in bytes, and another where it begins with a capital."""
    ids = [[end - begin] + [7] * bool(65 <= data[begin] < 91) for begin, end in bounds.tolist()]
    return np.array(list(map(len, ids)), np.int64), np.array(list(itertools.chain.from_iterable(ids)), np.int32)


WORDS = ["Abcdef", "xyz", "国家的", "a" * 5000]
"""Spellings: what may stand together."""


@pytest.mark.parametrize("max_segments", [2, 4, 1024])
def test_a_full_memory_begins_anew_and_changes_nothing(max_segments: int) -> None:
    texts = ["Abcdef xyz Abcdef", "", "国家的 xyz 国家的Abc", "ab" * 20 + "bcdef", "yz"] * 3
    memo, roomy = (SegmentMemo(WORDS, segments_by_words, size) for size in (max_segments, 1 << 12))
    for column in (texts, texts[::-1], [""], []):
        for ours, theirs in zip(memo.encode(*utf8_buffers(column)), roomy.encode(*utf8_buffers(column)), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_segments_end_where_no_piece_has_the_two_characters() -> None:
    ids, begins = SegmentMemo(WORDS, segments_by_words).encode(*utf8_buffers(["Abcdef xyz", "国家 的", "家国"]))
    assert ids.tolist() == [6, 7, 1, 3, 6, 1, 3, 3, 3]
    assert begins.tolist() == [0, 4, 7, 9]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 22, 23, 24, 25, 4096])
def test_segments_of_every_length_are_told_apart(length: int) -> None:
    def place(_: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(len(bounds), np.int64), bounds[:, 0].astype(np.int32)

    memo = SegmentMemo(["ab", "ba", "aa"], place)
    texts = ["a" * length, "a" * (length - 1) + "b", *(["b" + "a" * (length - 1)] if length > 1 else [])]
    first, _ = memo.encode(*utf8_buffers(texts))  # each text is new, and its id is its place
    assert first.tolist() == [i * length for i in range(len(texts))]
    again, _ = memo.encode(*utf8_buffers(["c", *texts]))
    remembered = length <= 23
    assert again[1:].tolist() == [i if remembered else 1 + i for i in first.tolist()]


def test_an_endless_segment_is_cut_between_characters() -> None:
    ids, _ = SegmentMemo(["国国", "aa"], segments_by_words).encode(*utf8_buffers(["国" * 3000, "a" * 9000]))
    assert ids.tolist() == [4095, 4095, 810, 4096, 4096, 808]


def test_a_slice_of_a_column_is_encoded_alone() -> None:
    data, begins = utf8_buffers(["Abcdef", "国家的", "xyz xyz"])
    ids, id_begins = SegmentMemo(WORDS, segments_by_words).encode(data, begins[1:])
    assert (ids.tolist(), id_begins.tolist()) == ([9, 3, 1, 3], [0, 1, 4])


def test_threads_give_the_same_ids(tokenizer: Tokenizer, bilingual_lines: list[str]) -> None:
    texts = [[line[n % 7 :] for line in bilingual_lines[n:]] for n in range(40)]
    with ThreadPoolExecutor(4) as executor:
        together = list(executor.map(tokenizer.encode_flat, texts))
    for ours, batch in zip(together, texts, strict=True):
        for array, alone in zip(ours, tokenizer.encode_flat(batch), strict=True):
            np.testing.assert_array_equal(array, alone)
