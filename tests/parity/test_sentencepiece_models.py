"""Folders of Llama's first kind, with a `tokenizer.model` alone: ids of sentencepiece and of transformers."""

import io
import json
import os
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.errors import CorruptArtifactError, InputError
from lm_pipeline.tokenization.loading import load_tokenizer
from lm_pipeline.tokenization.pretrained import import_tokenizer
from tests.unit.pretrained_models import TEXTS

SAMPLES = [
    *TEXTS[:4],
    "法律条文规定，合同 and law 混排。",
    "🙂👩\u200d👩\u200d👧 ñ 龘",
    "tab\there\r\n\n  two  spaces \u3000全角\u00a0x\u2028",
    "  leads and ends  ",
    " ",
    "",
    "a\u2581b",
    "1234 56 aaaaaaa",
]
LLAMA = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "split_digits": True}
THEIRS = """
import json, sys, transformers
tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
json.dump([tokenizer(text, add_special_tokens=False)["input_ids"] for text in json.load(sys.stdin)], sys.stdout)
"""


def save_sentencepiece(folder, **settings) -> None:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=out, vocab_size=700, remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2, **settings,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(out.getvalue())


def extended(proto: bytes, pieces: dict[str, float], kind: int = 1) -> bytes:
    """A model with more pieces {piece: score}: fields of a serialized message may follow one another in any order."""

    def field(tag: int, content: bytes) -> bytes:
        assert len(content) < 128
        return bytes([tag, len(content)]) + content

    later = [
        field(0x0A, piece.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind])
        for piece, score in pieces.items()
    ]
    return proto + b"".join(field(0x0A, piece) for piece in later)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    save_sentencepiece(folder, **LLAMA)
    (folder / "config.json").write_text('{"model_type": "llama", "bos_token_id": 1, "eos_token_id": 2}')
    return folder


@pytest.fixture(scope="module")
def ours(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("ours")
    assert import_tokenizer(folder, out)["vocab_size"] == 700
    return load_tokenizer(out / "tokenizer.json")


@pytest.fixture(scope="module")
def model(folder):
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def test_ids_are_those_of_transformers(folder, ours):
    draw = np.random.default_rng(0)
    texts = SAMPLES + ["".join(draw.choice(list("The law 合同法律。 \n\t🙂"), 30)) for _ in range(200)]
    # sentencepiece's classes of messages are newer than MLflow lets protobuf be; they work nevertheless.
    environment = os.environ | {"TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK": "true"}
    theirs = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THEIRS, folder],
        input=json.dumps(texts), capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert [ours.encode(text).tolist() for text in texts] == json.loads(theirs.stdout)


@pytest.mark.parametrize("text", SAMPLES)
def test_ids_are_those_of_sentencepiece_and_spell_the_text(text, ours, model):
    ids = ours.encode(text)
    assert ids.tolist() == model.encode(text)
    assert ours.decode(ids) == text.replace("\u2581", " ")


@given(st.text(st.sampled_from("aabThe law 合同法律。 \n\té🙂"), max_size=60))
def test_ids_of_any_text_are_those_of_sentencepiece(ours, model, text):
    assert ours.encode(text).tolist() == model.encode(text)


def test_control_ids_are_the_model_s(ours):
    assert (ours.controls.bos, ours.controls.eos, ours.controls.excluded) == (1, 2, (0, 1))
    assert ours.is_byte.sum() == 256
    assert ours.begins_with_space


def test_tokens_that_were_added_later_have_their_ids(folder, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    (tmp_path / "added_tokens.json").write_text('{"[PAD]": 700}')
    token = {"content": "<|im_start|>", "special": True}
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"added_tokens_decoder": {"701": token}, "pad_token": "[PAD]", "bos_token": "<s>"})
    )
    (tmp_path / "out").mkdir()
    assert import_tokenizer(tmp_path, tmp_path / "out")["vocab_size"] == 702
    ours = load_tokenizer(tmp_path / "out/tokenizer.json")
    assert (ours.controls.bos, ours.controls.eos, ours.controls.pad) == (1, 2, 700)
    assert ours.piece(701) == "<|im_start|>"


MORE = ["法律", "合同", "同法", "律条", "法律条文", "条文规定", "\u2581合同", "国人民", "the法"]


@pytest.fixture(scope="module")
def with_more(folder, tmp_path_factory):
    """sentencepiece and ours of a vocabulary that was extended by pieces that come before all others."""
    out = tmp_path_factory.mktemp("more")
    proto = (folder / "tokenizer.model").read_bytes()
    plain = sentencepiece.SentencePieceProcessor(model_proto=proto)
    more = [piece for piece in MORE if plain.piece_to_id(piece) == plain.unk_id()]
    assert len(more) > 3
    more = extended(proto, {piece: 3.0 + place for place, piece in enumerate(more)})
    (out / "tokenizer.model").write_bytes(more)
    import_tokenizer(out, out)
    return sentencepiece.SentencePieceProcessor(model_proto=more), load_tokenizer(out / "tokenizer.json")


@given(st.text(st.sampled_from("法律合同条文规定国人民the 。"), max_size=40))
def test_pieces_that_were_added_with_higher_scores_are_made_first(with_more, text):
    model, ours = with_more
    assert ours.encode(text).tolist() == model.encode(text)
    assert ours.encode("法律合同").tolist() == model.encode("法律合同")


def test_pieces_of_one_score_are_refused_because_places_decide_between_them(folder, tmp_path):
    proto = (folder / "tokenizer.model").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(extended(proto, {"律合": 0.0, "合同法": 0.0}))
    with pytest.raises(InputError, match=r"the pieces '.*' \(.*\) and '.*' \(.*\) have one score, -?0"):
        import_tokenizer(tmp_path, tmp_path)


def test_tokens_inside_the_vocabulary_are_its_control_tokens_or_refused(folder, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())

    def declare(i: int, token: str) -> None:
        config = {"added_tokens_decoder": {str(i): {"content": token, "special": True}}}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        import_tokenizer(tmp_path, tmp_path / "out")

    (tmp_path / "out").mkdir()
    declare(2, "</s>")
    for i, token in ((2, "<end>"), (300, "<|im_start|>"), (700, "法")):
        with pytest.raises(InputError, match=rf"adds '{re.escape(token)}' with the id {i}, one of which is a piece's"):
            declare(i, token)


@pytest.mark.parametrize("added", [{"<a>": 705}, {"<a>": 700, "<b>": 702}, {"<a>": 700, "<b>": 700}])
def test_added_tokens_whose_ids_cannot_be_kept_are_refused(folder, tmp_path, added):
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    with pytest.raises(InputError, match=r"do not have one id each that follow the 700 pieces .* but 70"):
        import_tokenizer(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("added_tokens.json", "{bad", r"added_tokens.json is not JSON \(.*line 1"),
        ("added_tokens.json", "[1]", "added_tokens.json is not a JSON object"),
        ("added_tokens.json", '{"[PAD]": null}', "added_tokens.json is not {token: id}"),
        ("tokenizer_config.json", "", "tokenizer_config.json is not JSON"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"700": {}}}', "KeyError.'content'"),
    ],
)
def test_damaged_files_of_added_tokens_are_named(folder, tmp_path, name, text, message):
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    (tmp_path / name).write_text(text)
    with pytest.raises(CorruptArtifactError, match=message):
        import_tokenizer(tmp_path, tmp_path / "out")


def test_what_would_not_come_out_alike_is_refused(tmp_path):
    def refused(message: str, **settings) -> None:
        save_sentencepiece(tmp_path, **{**LLAMA, **settings})
        with pytest.raises(InputError, match=message):
            import_tokenizer(tmp_path, tmp_path)

    refused("it segments by probabilities", model_type="unigram")
    refused("it has no byte pieces", byte_fallback=False)
    refused("its normaliser changes texts", normalization_rule_name="nmt_nfkc")
    refused("symbols that its user defined .'<sep>', '法律'", user_defined_symbols=["<sep>", "法律"])
    save_sentencepiece(tmp_path, **LLAMA)
    proto = (tmp_path / "tokenizer.model").read_bytes()
    for kind, message in ((4, "its user defined .'<sep>'"), (5, "pieces that are not used")):
        (tmp_path / "tokenizer.model").write_bytes(extended(proto, {"<sep>": 5.0}, kind))
        with pytest.raises(InputError, match=message):
            import_tokenizer(tmp_path, tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(CorruptArtifactError, match="is not a sentencepiece model"):
        import_tokenizer(tmp_path, tmp_path)
