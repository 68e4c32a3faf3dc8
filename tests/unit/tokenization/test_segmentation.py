"""The best path and the merges are the library's, id by id, ties too."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.tokenization.segmentation import Segmentation
from lm_pipeline.tokenization.tokenizer import SPACE_MARK, train_tokenizer


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def algorithm(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def library(
    algorithm: str, tmp_path_factory: pytest.TempPathFactory, bilingual_lines: list[str]
) -> sentencepiece.SentencePieceProcessor:
    out: Path = tmp_path_factory.mktemp(algorithm)
    spec = TokenizerSpec(algorithm=algorithm, vocab_size=400)  # type: ignore[arg-type]
    train_tokenizer(bilingual_lines, spec, out)
    return sentencepiece.SentencePieceProcessor(model_file=str(out / "tokenizer.model"))


@pytest.fixture(scope="module")
def model(algorithm: str, library: sentencepiece.SentencePieceProcessor) -> Segmentation:
    ids = [i for i in range(4, library.vocab_size()) if not library.is_byte(i)]
    spellings = [library.id_to_piece(i).replace(SPACE_MARK, " ").encode() for i in ids]
    byte_ids = [library.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
    scores = [library.get_score(i) for i in ids]
    return Segmentation.of(ids, spellings, scores, byte_ids, by_merges=algorithm == "bpe")


def segment(model: Segmentation, texts: list[str]) -> list[list[int]]:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)])
    bounds = np.stack([ends[:-1], ends[1:]], axis=1)
    lengths, ids = model.segment(np.frombuffer(b"".join(encoded), np.uint8), bounds)
    return [ids[begin:end].tolist() for begin, end in itertools.pairwise(np.cumsum([0, *lengths]))]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.text(st.one_of(st.sampled_from("thecaisonm 国家公民的权利。"), st.characters(exclude_categories=["Cs"]))),
        max_size=5,
    )
)
def test_every_id_is_the_library_s(
    model: Segmentation, library: sentencepiece.SentencePieceProcessor, texts: list[str]
) -> None:
    texts = [text.replace(SPACE_MARK, "") for text in texts]  # which it takes for a space
    assert segment(model, texts) == [library.encode(text) for text in texts]


def test_equal_paths_and_unknown_characters(model: Segmentation, library: sentencepiece.SentencePieceProcessor) -> None:
    texts = [" " * n for n in range(40)] + ["a" * n for n in range(40)] + ["\0", "é", "界e界", "\U0001f468\u200d", ""]
    assert segment(model, texts) == [library.encode(text) for text in texts]


def test_a_space_mark_is_given_by_its_bytes(model: Segmentation, library: sentencepiece.SentencePieceProcessor) -> None:
    marks = [library.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_MARK.encode()]
    assert segment(model, [SPACE_MARK, "the" + SPACE_MARK]) == [marks, library.encode("the") + marks]


def test_no_texts(model: Segmentation) -> None:
    assert segment(model, []) == []
