"""A bilingual tokenizer, shards and small random models: nothing tested here depends on what they learned."""

import polars as pl
import pytest
import torch

from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.specs.model import CnnModel, GruModel, LstmModel, RnnModel, TransformerModel
from lm_pipeline.tokenization.shard_writing import write_shards
from lm_pipeline.tokenization.tokenizer import MODEL_FILE, Tokenizer, train_tokenizer

SPECS = {
    "rnn": RnnModel(num_layers=2, width=16),
    "lstm": LstmModel(num_layers=2, width=16),
    "gru": GruModel(num_layers=1, width=16),
    "cnn": CnnModel(num_layers=3, width=16, kernel_size=3),
    "transformer": TransformerModel(num_layers=2, width=16, num_heads=2),
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory):
    texts = ["The quick brown fox jumps over the lazy dog.\n", "它是一个语言模型，给句子一个概率。"] * 5
    out = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(texts, TokenizerSpec(vocab_size=304), out)
    return out


@pytest.fixture(scope="session")
def tokenizer(tokenizer_dir):
    return Tokenizer.load(tokenizer_dir / MODEL_FILE)


@pytest.fixture(scope="session", params=SPECS)
def model(request, tokenizer):
    """One of each neural family; random weights, spread enough that tokens differ; a context of 8 tokens."""
    torch.manual_seed(0)
    model = build_model(SPECS[request.param], tokenizer.vocab_size, context_length=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def shards_dir(tokenizer, tmp_path_factory):
    """Two corpora, English and Chinese: 4 test, 2 validation and 6 training documents."""
    english = "The quick brown fox jumps over the lazy dog. A lazy dog sleeps; the fox runs."
    chinese = "它是一个语言模型，给句子一个概率。模型的概率是一个数。"
    texts = [english[start:] for start in range(6)] + [chinese[start:] for start in range(6)]
    splits = (["train"] * 3 + ["validation"] + ["test"] * 2) * 2
    frame = pl.DataFrame(
        {
            "document_id": [f"{index:032x}" for index in range(12)],
            "corpus": ["english"] * 6 + ["chinese"] * 6,
            "file": "a.txt",
            "record": list(range(12)),
            "byte_offset": None,
            "byte_length": None,
            "text": texts,
            "split": splits,
        },
        schema_overrides={"byte_offset": pl.Int64, "byte_length": pl.Int64},
    )
    out = tmp_path_factory.mktemp("shards")
    write_shards(iter([frame]), tokenizer, out)
    return out
