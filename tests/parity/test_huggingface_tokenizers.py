"""An exported tokenizer gives the ids that ours gives, and the text back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.tokenization.huggingface import export_tokenizer
from lm_pipeline.tokenization.tokenizer import BOS, MODEL_FILE, SPACE_MARK, Tokenizer, train_tokenizer

TEXTS = [
    "The quick dog runs over the fox.",
    "模型给一个概率。",
    "  two  spaces,\ttab\nand line ends\n\n",
    "中文 and English 混排 🙂 ñ",
    "",
    " ",
    "<s> </s> <unk> are written out".replace("<", "‹"),
]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def both(request, shared_data, tmp_path_factory):
    import transformers

    folder = tmp_path_factory.mktemp(request.param)
    paths = sorted((shared_data / "small/lm").glob("*/*.txt"))
    texts = [path.read_text("utf-8")[:60_000] for path in paths]
    assert len(texts) > 2
    train_tokenizer(texts, TokenizerSpec(algorithm=request.param, vocab_size=4000, character_coverage=0.99), folder)
    ours = Tokenizer.load(folder / MODEL_FILE)
    export_tokenizer(ours, request.param, 64, folder)
    return ours, transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_equal_and_come_back(both, text):
    ours, theirs = both
    ids = theirs(text)["input_ids"]
    assert ids == [BOS, *ours.encode(text).tolist()]
    assert theirs.decode(ids, skip_special_tokens=True) == text


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("The quick brown fox。，模型一个句子 \n\té🙂"), max_size=60))
def test_ids_of_any_text_are_equal(both, text):
    ours, theirs = both
    assert theirs(text)["input_ids"][1:] == ours.encode(text).tolist()


def test_ids_of_real_text_are_equal(both, shared_data):
    ours, theirs = both
    for path in sorted((shared_data / "small/lm").glob("*/*.txt")):
        for line in path.read_text("utf-8")[60_000:90_000].splitlines():
            assert theirs(line)["input_ids"][1:] == ours.encode(line).tolist(), line


def test_roles_are_ours(both):
    ours, theirs = both
    assert (theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id) == (0, 1, 2, 3)
    assert (theirs.mask_token_id, theirs.model_max_length, len(theirs)) == (3, 64, ours.vocab_size)
    assert theirs.decode(ours.encode(SPACE_MARK).tolist()) == SPACE_MARK
