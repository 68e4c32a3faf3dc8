import numpy as np
import pytest

from lm_pipeline.corpus.text.utf8 import utf8_buffers
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.tokenization.framing import Framing
from lm_pipeline.tokenization.tokenizer import BOS, EOS, Tokenizer, train_tokenizer

TEXTS = ["The river is old.", "", "国家保护公民的权利。", "a\0b ▁ 👩", "x" * 5000]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    out = tmp_path_factory.mktemp("bpe")
    train_tokenizer([f"{text} {number}" for text in TEXTS for number in range(40)], TokenizerSpec(vocab_size=310), out)
    return Tokenizer.load(out / "tokenizer.model")


def frame(tokenizer: Tokenizer, ids: np.ndarray, begins: np.ndarray, rows: list[int], texts: list[str]):
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    chosen = np.array(rows, np.int64)
    return *Framing.of(tokenizer).framed(ids, begins, chosen, utf8_buffers(texts), counts), counts


def test_documents_stand_end_to_end_in_the_order_that_is_asked_for(tokenizer: Tokenizer) -> None:
    ids, begins = tokenizer.encode_flat(TEXTS)
    tokens, sizes, failures, counts = frame(tokenizer, ids, begins, [4, 1, 0], TEXTS)
    expected = [[BOS, *tokenizer.encode(TEXTS[row]).tolist(), EOS] for row in (4, 1, 0)]
    assert tokens.tolist() == [token for document in expected for token in document]
    assert sizes.tolist() == [len(document) for document in expected]
    assert (tokens.dtype, failures) == (np.uint16, 0)
    assert counts.sum() == len(tokens) - 6


@pytest.mark.parametrize("changed", ["The river is old!", "The river is old", "The river is old..", "", "国"])
def test_a_document_that_does_not_spell_its_text_is_counted(tokenizer: Tokenizer, changed: str) -> None:
    ids, begins = tokenizer.encode_flat(TEXTS)
    assert frame(tokenizer, ids, begins, [0, 1, 2, 3, 4], [changed, *TEXTS[1:]])[2] == 1


def test_no_document_is_no_token(tokenizer: Tokenizer) -> None:
    tokens, sizes, failures, _ = frame(tokenizer, *tokenizer.encode_flat([]), [], [])
    assert (len(tokens), len(sizes), failures) == (0, 0, 0)
