"""Tokenizers of pretrained models: the ids that transformers gives, and text out of them piece by piece."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.errors import CorruptArtifactError, InputError
from lm_pipeline.generation.streaming import TextStream
from lm_pipeline.tokenization.loading import load_tokenizer
from lm_pipeline.tokenization.pretrained import import_tokenizer
from tests.unit.pretrained_models import TEXTS, save_tokenizer

SAMPLES = [
    *TEXTS[:4],
    "  two  spaces,\ttab\nline ends\n\n",
    "合同 and law 混排 🙂 ñ",
    "<|endoftext|></s>[SEP]",
    "",
    " ",
]


@pytest.fixture(scope="module", params=["gpt2", "llama", "bert"])
def both(request, tmp_path_factory):
    import transformers

    folder, out = tmp_path_factory.mktemp(request.param), tmp_path_factory.mktemp("ours")
    save_tokenizer(request.param, folder)
    summary = import_tokenizer(folder, out)
    return (
        request.param,
        load_tokenizer(out / "tokenizer.json"),
        transformers.AutoTokenizer.from_pretrained(folder),
        summary,
    )


@pytest.mark.parametrize("text", SAMPLES)
def test_ids_and_text_are_theirs(both, text):
    kind, ours, theirs, _ = both
    ids = ours.encode(text)
    assert ids.tolist() == theirs(text, add_special_tokens=False)["input_ids"]
    if kind != "bert" and "<" not in text:
        assert ours.decode(ids) == text
    for begins, expected in ((True, ours.decode(ids)), (False, ours.decode_bytes(ids).decode())):
        stream = TextStream(ours, begins=begins)
        assert "".join([*map(stream.feed, ids.tolist()), stream.finish()]) == expected


@given(st.text(st.sampled_from("The law reads 合同法律。 \n\té🙂"), max_size=40))
def test_ids_of_any_text_are_theirs(both, text):
    _, ours, theirs, _ = both
    assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False)["input_ids"]


def test_control_ids_have_the_roles_that_the_folder_gives_them(both):
    kind, ours, theirs, summary = both
    controls = ours.controls
    if kind == "bert":
        assert (controls.bos, controls.eos) == (theirs.cls_token_id, theirs.sep_token_id)
        assert (controls.pad, controls.mask) == (theirs.pad_token_id, theirs.mask_token_id)
        assert controls.bos in controls.excluded
        assert controls.mask in controls.excluded
        assert controls.eos not in controls.excluded
    else:
        assert (controls.bos, controls.eos) == (theirs.bos_token_id, theirs.eos_token_id)
        assert (controls.bos == controls.eos) == (kind == "gpt2")
        assert controls.eos not in controls.excluded
    assert summary["vocab_size"] == ours.vocab_size == len(theirs)
    assert ours.dtype == np.uint16
    assert not ours.is_lossless


def test_a_real_llama_s_tokenizer_reads_and_writes_both_languages(shared_data, tmp_path):
    import transformers

    folder = shared_data / "small/models/stories260K"
    import_tokenizer(folder, tmp_path)
    ours, theirs = load_tokenizer(tmp_path / "tokenizer.json"), transformers.AutoTokenizer.from_pretrained(folder)
    assert (ours.controls.bos, ours.controls.eos, ours.controls.excluded) == (1, 2, (0, 1))
    for text in ("Once upon a time, there was a little girl.", "从前有一个小女孩。", "  a  b\n"):
        assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.decode(ours.encode(text)) == text
    assert ours.is_byte.sum() == 256


@pytest.mark.parametrize("kind", ["BPE", "Unigram", "WordLevel"])
def test_the_unknown_piece_is_text_where_texts_are_encoded_with_it(kind, tmp_path):
    from tokenizers import AddedToken, Tokenizer, models

    pieces = ["<s>", "</s>", "<unk>", "a"]
    ids = {piece: number for number, piece in enumerate(pieces)}
    model = {
        "BPE": lambda: models.BPE(ids, [], unk_token="<unk>"),
        "Unigram": lambda: models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2),
        "WordLevel": lambda: models.WordLevel(ids, unk_token="<unk>"),
    }[kind]()
    theirs = Tokenizer(model)
    theirs.add_special_tokens([AddedToken(piece, special=True) for piece in pieces[:3]])
    theirs.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "out").mkdir()
    import_tokenizer(tmp_path, tmp_path / "out")
    ours = load_tokenizer(tmp_path / "out/tokenizer.json")
    assert ours.encode("法").tolist() == [2]
    assert ours.controls.excluded == (0,)


def test_what_is_no_tokenizer_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"has no tokenizer\.json and no tokenizer\.model\. Load it with transformers"):
        import_tokenizer(tmp_path, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CorruptArtifactError, match="is no tokenizer of Hugging Face's"):
        load_tokenizer(tmp_path / "tokenizer.json")
    import tokenizers

    tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1}, [])).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="of no token that it begins or ends a text"):
        import_tokenizer(tmp_path, tmp_path / "out")
