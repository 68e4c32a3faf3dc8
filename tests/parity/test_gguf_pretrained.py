"""Models with a pretrained model's own tokenizer in llama.cpp: ids of texts, greedy tokens."""

import json

import pytest
import torch

from lm_pipeline.errors import InputError
from lm_pipeline.models.gguf import GGUF_MODEL, check_form, export_gguf_model
from lm_pipeline.models.gguf_tokenizer import WORDS
from lm_pipeline.models.huggingface.model import import_model
from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.model import TransformerModel
from lm_pipeline.tokenization.loading import load_tokenizer
from lm_pipeline.tokenization.pretrained import PretrainedTokenizer, import_tokenizer
from tests.llama_cpp import Served
from tests.parity.test_sentencepiece_models import LLAMA, save_sentencepiece
from tests.unit.pretrained_models import TEXTS, save_tokenizer

SAMPLES = [
    TEXTS[0], TEXTS[1], "The model can't read 1234567 laws, it'LL.", "  two  spaces,\ttab\r\nand line ends\n\n  x",
    "法律条文规定：第十二条，2024年。", "合同 and law 混排 🙂 ñ 龘", "", " ", "\u3000全角\u00a0x",
]  # fmt: skip


def byte_level(rule: str, folder) -> None:
    """Merges of bytes over words that are cut by a rule, saved as Llama 3 and Qwen 2 save theirs."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    end = "<|endoftext|>"
    inner = tokenizers.Tokenizer(models.BPE(ignore_merges=WORDS[rule] == "llama-bpe"))
    cut = pre_tokenizers.Split(tokenizers.Regex(rule), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[end], initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator([*TEXTS, *SAMPLES], trainer)
    inner.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": end, "eos_token": end}))


KINDS = {
    "gpt2": lambda folder: save_tokenizer("gpt2", folder),
    "sentencepiece": lambda folder: save_sentencepiece(folder, **LLAMA),
    **{name: lambda folder, rule=rule: byte_level(rule, folder) for rule, name in WORDS.items()},
}


def imported(save, folder) -> PretrainedTokenizer:
    for name in ("theirs", "ours"):
        (folder / name).mkdir()
    save(folder / "theirs")
    import_tokenizer(folder / "theirs", folder / "ours")
    tokenizer = load_tokenizer(folder / "ours/tokenizer.json")
    assert isinstance(tokenizer, PretrainedTokenizer)
    return tokenizer


def is_text(spelt: bytes) -> bool:
    return spelt.decode("utf-8", errors="ignore").encode() == spelt


def unchanged(_) -> None:
    pass


def agrees(model, tokenizer, folder, texts, num_greedy: int) -> None:
    """Equal ids of texts; the most probable token there is one here, after each token."""
    export_gguf_model(model, tokenizer, "", "trial", folder)
    served = Served(folder / GGUF_MODEL)
    for text in texts:
        assert served.tokenize(text) == [tokenizer.controls.bos, *tokenizer.encode(text).tolist()], text
    # Of a token that is a part of a character only, its server gives no probabilities.
    banned = [i for i, spelt in enumerate(tokenizer.spellings) if i in tokenizer.special or not is_text(spelt)]
    for text in texts[:3]:
        ids = [tokenizer.controls.bos, *tokenizer.encode(text).tolist()][:40]
        for _ in range(num_greedy):
            step = served.next_token(ids, banned, 5)
            log_probs = model.logits(model(torch.tensor([ids]))[0][0, -1]).log_softmax(-1)
            log_probs[banned] = -torch.inf
            assert log_probs[step["id"]] > log_probs.max() - 2e-2
            ids.append(step["id"])


@pytest.mark.parametrize("name", KINDS)
def test_llama_cpp_gives_texts_the_same_ids_and_the_same_greedy_tokens(name, tmp_path):
    tokenizer = imported(KINDS[name], tmp_path)
    torch.manual_seed(0)
    form = "gpt2" if name == "gpt2" else "llama"
    model = build_model(TransformerModel(form=form, num_layers=1, width=64, num_heads=2), tokenizer.vocab_size, 64)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    agrees(model.eval().requires_grad_(False), tokenizer, tmp_path, SAMPLES, 4)


WHOLE = ["<tool_call>", "<fim prefix>"]


def with_text_tokens(name: str, folder) -> None:
    """A tokenizer with tokens that were added and are no control tokens."""
    KINDS[name](folder)
    if name == "sentencepiece":
        added = {str(700 + place): {"content": token} for place, token in enumerate(WHOLE)}
        (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
        return
    import tokenizers

    inner = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    inner.normalizer = tokenizers.normalizers.NFC()  # as Qwen 2 has it
    inner.add_tokens([tokenizers.AddedToken(token, special=False, normalized=False) for token in WHOLE])
    inner.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("name", ["sentencepiece", "qwen2"])
def test_added_tokens_that_are_text_are_found_whole_there_too(name, tmp_path):
    tokenizer = imported(lambda folder: with_text_tokens(name, folder), tmp_path)
    model = build_model(TransformerModel(form="llama", num_layers=1, width=16, num_heads=2), tokenizer.vocab_size, 16)
    texts = ["a<tool_call>法律 b", "<fim prefix>x", "合同 <fim prefix> <tool_call>", "<fim\u2581prefix>", *SAMPLES]
    agrees(model.eval().requires_grad_(False), tokenizer, tmp_path, texts, 0)
    assert tokenizer.vocab_size - 2 in tokenizer.encode(texts[0])


def test_a_real_llama_is_the_same_there(shared_data, tmp_path):
    folder = shared_data / "small/models/stories260K"
    import_tokenizer(folder, tmp_path)
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    texts = ["Once upon a time, there was", "Lily", "从前有一个小女孩。", *SAMPLES]
    agrees(import_model(folder), tokenizer, tmp_path, texts, 20)


def test_what_llama_cpp_would_cut_otherwise_is_refused_with_the_reason(tmp_path):
    model = build_model(TransformerModel(form="llama", num_layers=1, width=16, num_heads=2), 700, 16)

    def refused(kind: str, message: str, change) -> None:
        folder = tmp_path / kind / message[:5]
        folder.mkdir(parents=True)
        tokenizer = imported(KINDS.get(kind, lambda folder: save_tokenizer(kind, folder)), folder)
        change(tokenizer.spec)
        with pytest.raises(InputError, match=rf"no form in GGUF that gives the same ids: .*{message}"):
            check_form(model, tokenizer)

    refused("bert", "its model is WordPiece", unchanged)
    refused("llama", "its merges are not all ways", unchanged)
    refused("gpt2", "its normalizer .NFKC. changes texts", lambda spec: spec.update(normalizer={"type": "NFKC"}))
    refused("gpt2", "none of GPT-2's", lambda spec: spec["pre_tokenizer"].update(add_prefix_space=True))
    refused("qwen2", "ignore_merges is True", lambda spec: spec["model"].update(ignore_merges=True))
    refused("sentencepiece", "spaces are marked", lambda spec: spec.update(pre_tokenizer={"type": "Metaspace"}))
