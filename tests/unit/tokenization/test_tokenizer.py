"""The tokenizer loses nothing, whatever the text, and its training does not depend on order, threads or luck."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.errors import CorruptArtifactError, InputError, MissingArtifactError
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.tokenization.sample import sample_sentences
from lm_pipeline.tokenization.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, train_tokenizer

LINES = [
    f"def function_{i}(argument: int) -> str:\n    Return the value of {word} number {i}.\n\n        >>> {word}({i})\n"
    for i, word in enumerate(["tensor", "shape", "array", "index", "matrix", "axis", "stride", "buffer"] * 12)
] + [
    f"第{i}条 国家保护公民的{word}，任何组织和个人不得侵犯。\n" for i, word in enumerate(["权利", "自由", "财产"] * 20)
]

AWKWARD = [
    "",
    "\n",
    "\t\tif x:\r\n\t\t\treturn",
    "   leading, trailing and   inner spaces   ",
    "a\0b",
    "▁ literal ▁▁ marks ▁",
    "▅ and ⁇",
    "</s><s><pad><unk>",
    "<0x41><0xFF>",
    "\ufeffBOM, e\u0301 decomposed, \u200bzero width, \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "国家保护公民的权利。\n\n第二条",
]


@pytest.fixture(scope="module", params=["unigram", "bpe", "char"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    out = tmp_path_factory.mktemp(request.param)
    train_tokenizer(LINES, TokenizerSpec(algorithm=request.param, vocab_size=480), out)
    return Tokenizer.load(out / "tokenizer.model")


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_survives_the_round_trip(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not np.isin(ids, [PAD, BOS, EOS, UNK]).any()


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("▁▅ \n\t\0</s>")), max_size=60)
)
def test_any_text_survives_the_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_text_that_spells_a_control_piece_is_plain_text(tokenizer: Tokenizer) -> None:
    assert [tokenizer.piece(i) for i in (PAD, BOS, EOS, UNK)] == ["<pad>", "<s>", "</s>", "<unk>"]
    assert EOS not in tokenizer.encode("the end</s>")
    assert tokenizer.decode([BOS, *tokenizer.encode("the end</s>"), EOS, PAD]) == "the end</s>"


def test_a_batch_gives_the_same_ids_as_single_calls(tokenizer: Tokenizer) -> None:
    texts = [*AWKWARD, *LINES, " ".join(LINES) * 3, "界" * 9000]
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        np.testing.assert_array_equal(ids, tokenizer.encode(text))


def test_cutting_before_a_space_leaves_the_segmentation_as_it_is(tokenizer: Tokenizer) -> None:
    for i in range(tokenizer.vocab_size):
        assert not re.search("[^▁]▁", tokenizer.piece(i))
    words = [f" {word}" for word in ["Return", "the", "value", "of", "tensor", "number"]] * 900
    whole = tokenizer.encode("".join(words))
    np.testing.assert_array_equal(whole, np.concatenate(tokenizer.encode_batch(words)))


def test_an_endless_word_takes_linear_time(tokenizer: Tokenizer) -> None:
    started = time.perf_counter()
    word = "tensorshape" * 100_000
    assert tokenizer.decode(tokenizer.encode(word)) == word
    assert time.perf_counter() - started < 10


def test_indentation_and_line_ends_cost_few_tokens(tokenizer: Tokenizer, request: pytest.FixtureRequest) -> None:
    of_characters = request.node.callspec.params["tokenizer"] == "char"
    assert len(tokenizer.encode(" " * 16)) <= (16 if of_characters else 4)
    assert not tokenizer.is_byte[tokenizer.encode("\n\n")].any()


def test_a_lone_surrogate_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"lone surrogate '\\ud800' at character 1"):
        tokenizer.encode("a\ud800")


def test_bytes_of_a_broken_character_become_a_replacement(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("\U0001f468")[:2]) == "\ufffd"


@pytest.mark.parametrize("algorithm", ["unigram", "bpe", "char"])
def test_training_depends_neither_on_order_nor_on_chance(tmp_path: Path, algorithm: str) -> None:
    models = []
    for name, texts in (("a", LINES), ("b", LINES), ("c", LINES[::-1])):
        (tmp_path / name).mkdir()
        spec = TokenizerSpec(algorithm=algorithm, vocab_size=400, max_training_bytes=6000)  # type: ignore[arg-type]
        summary = train_tokenizer(texts, spec, tmp_path / name)
        models.append(((tmp_path / name / "tokenizer.model").read_bytes(), summary["pieces_digest"]))
    assert models[0] == models[1] == models[2]
    assert str(tmp_path).encode() not in models[0][0]


def test_the_sample_is_bounded_seeded_and_free_of_order() -> None:
    texts = [f"{i} " * (i % 50 + 1) for i in range(500)] + ["x" * 3000]
    sample, available = sample_sentences(texts, 5000, seed=1)
    size = sum(len(s.encode()) for s in sample)
    assert 4000 < size <= 5000
    assert available == sum(len(t) for t in texts)
    assert sample_sentences(sorted(texts), 5000, seed=1)[0] == sample
    assert sample_sentences(texts, 5000, seed=2)[0] != sample


def test_long_lines_and_reserved_characters_do_not_lose_training_text() -> None:
    sample, _ = sample_sentences(["界" * 5000 + "\0" + "a▅b\tc▁d"], 1_000_000, seed=0)
    assert all(len(s.encode()) <= 4096 for s in sample)
    assert sorted("".join(sample)) == sorted("界" * 5000 + "abcd")


def test_a_vocabulary_too_large_for_the_text_is_refused_with_the_largest_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too large") as caught:
        train_tokenizer(["a tiny corpus"], TokenizerSpec(vocab_size=5000), tmp_path)
    largest = int(re.search(r"yields (\d+) pieces", str(caught.value))[1])  # type: ignore[index]
    assert 260 < largest < 300


def test_a_vocabulary_too_small_for_the_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"too small.* take 1260"):
        train_tokenizer(["".join(chr(0x4E00 + i) for i in range(1000))], TokenizerSpec(vocab_size=300), tmp_path)


def test_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text to train a tokenizer"):
        train_tokenizer(["", "\0\t"], TokenizerSpec(), tmp_path)


def test_a_missing_or_foreign_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="Materialize the tokenizer"):
        Tokenizer.load(tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(CorruptArtifactError, match="not a sentencepiece model"):
        Tokenizer.load(tmp_path / "tokenizer.model")


def test_real_text_takes_few_bytes_of_fallback(shared_data: Path, tmp_path: Path) -> None:
    files = [*(shared_data / "small/lm/en").iterdir(), *(shared_data / "small/lm/zh").iterdir()]
    text = "".join(path.read_text("utf-8")[:150_000] for path in files if path.suffix == ".txt")
    train_tokenizer([text], TokenizerSpec(algorithm="bpe", vocab_size=6000), tmp_path)
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.model")
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.is_byte[ids].mean() < 0.02
    assert len(text.encode()) / len(ids) > 2.5


def test_characters_are_pieces_of_their_own_and_the_vocabulary_is_no_larger(tmp_path: Path) -> None:
    train_tokenizer(["abc 国家", "cab"], TokenizerSpec(algorithm="char", vocab_size=4096), tmp_path)
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.model")
    assert tokenizer.vocab_size == 4 + 256 + 6
    assert len(tokenizer.encode("bac 家国")) == 6
