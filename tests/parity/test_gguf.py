"""An exported GGUF file in llama.cpp (the package `xllamacpp`): ids of texts, probabilities, greedy tokens."""

import math

import pytest
import torch

from lm_pipeline.errors import InputError
from lm_pipeline.models.gguf import GGUF_MODEL, check_form, export_gguf_model
from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.specs.model import EncoderModel, LstmModel, TransformerModel
from lm_pipeline.tokenization.tokenizer import BOS, MODEL_FILE, UNK, Tokenizer, train_tokenizer
from tests.conftest import chinese_text, english_text
from tests.llama_cpp import Served

TEXTS = ["The model reads 99 laws.", "  two  spaces,\ttab\nand line ends\n\n", "法律条文规定。", "合同 and law 混排"]
RARE = "x🙂ñ龘"
"""Characters that have no piece."""
CONTEXT = 64

MODELS = {
    "llama": TransformerModel(form="llama", num_layers=2, width=64, num_heads=4),
    "llama grouped, tied, wide heads": TransformerModel(
        form="llama", num_layers=2, width=64, num_heads=4, num_kv_heads=2, head_width=32, tie_embeddings=True
    ),
    "llama biases, another base": TransformerModel(
        form="llama", num_layers=2, width=64, num_heads=4, attention_bias=True, mlp_bias=True, rope_base=500
    ),
    "gpt2": TransformerModel(form="gpt2", num_layers=2, width=64, num_heads=4),
    "gpt2 untied": TransformerModel(form="gpt2", num_layers=2, width=64, num_heads=2, tie_embeddings=False),
}
TOLERANCE = {"llama": 1e-4, "gpt2": 2e-2}
"""Of log probabilities. There, GELU is looked up in a table of 16-bit floats."""


@pytest.fixture(scope="module", params=["bpe", "unigram", "char"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    texts = [text(number) for number in range(40) for text in (english_text, chinese_text)]
    train_tokenizer([*texts, *TEXTS], TokenizerSpec(algorithm=request.param, vocab_size=450, seed=1), folder)
    return request.param, Tokenizer.load(folder / MODEL_FILE)


def made(name: str, tokenizer: Tokenizer):
    torch.manual_seed(0)
    model = build_model(MODELS[name], tokenizer.vocab_size, CONTEXT).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("trained", ["bpe"], indirect=True)  # weights do not depend on the tokenizer
@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_gives_the_same_probabilities_and_greedy_tokens(name, trained, tmp_path):
    algorithm, tokenizer = trained
    model = made(name, tokenizer)
    kind = export_gguf_model(model, tokenizer, algorithm, "trial", tmp_path)
    served = Served(tmp_path / GGUF_MODEL)
    # Of a token that is a part of a character only, its server gives no probabilities.
    banned = [i for i in range(tokenizer.vocab_size) if i <= UNK or tokenizer.is_byte[i]]
    for text in TEXTS:
        ids = [BOS, *tokenizer.encode(text).tolist()]
        for _ in range(8):
            step = served.next_token(ids, banned, tokenizer.vocab_size)
            hidden, _ = model(torch.tensor([ids]))
            ours = model.logits(hidden[0, -1]).log_softmax(-1)
            theirs = {entry["id"]: entry["logprob"] for entry in step["top_logprobs"]}
            likely = [i for i in theirs if ours[i] > math.log(1e-4)]
            assert len(likely) > 20
            assert max(abs(theirs[i] - ours[i].item()) for i in likely) < TOLERANCE[kind]
            ours[banned] = -math.inf
            assert ours[step["id"]] > ours.max() - TOLERANCE[kind]
            ids.append(step["id"])


def test_llama_cpp_gives_texts_the_same_ids(trained, tmp_path):
    algorithm, tokenizer = trained
    export_gguf_model(made("llama", tokenizer), tokenizer, algorithm, "trial", tmp_path)
    served = Served(tmp_path / GGUF_MODEL)
    for text in [*TEXTS, english_text(77), chinese_text(77), "<s></s>", ""]:
        ids = tokenizer.encode(text).tolist()
        if algorithm == "unigram" and tokenizer.is_byte[ids].any():
            continue  # there, a unigram model has no bytes: what has no piece is unknown
        assert served.tokenize(text) == [BOS, *ids], text
        assert served.ask("detokenize", tokens=ids)["content"] == text
    rare = [BOS, *tokenizer.encode(RARE).tolist()]
    assert (served.tokenize(RARE) == rare) == (algorithm != "unigram")


def test_what_llama_cpp_computes_otherwise_is_refused(trained):
    _, tokenizer = trained

    def refused(spec, message: str) -> None:
        with pytest.raises(InputError, match=message):
            check_form(build_model(spec, tokenizer.vocab_size, 16), tokenizer)

    small = {"num_layers": 1, "width": 16}
    refused(
        TransformerModel(form="gpt2", num_heads=2, activation="gelu", **small), "llama.cpp's gpt2 computes gelu_tanh"
    )
    refused(EncoderModel(num_heads=2, **small), "an encoder can be exported as `hf` or `onnx`")
    refused(LstmModel(**small), "only Transformers can be exported")
