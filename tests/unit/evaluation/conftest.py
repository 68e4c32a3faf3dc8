"""A tokenizer, shards, and one model of each neural family."""

import polars as pl
import pytest
import torch

from lm_pipeline.tokenization.shard_writing import write_shards
from lm_pipeline.tokenization.tokenizer import MODEL_FILE, Tokenizer
from tests.unit.small_models import SPECS, random_model, small_tokenizer


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory):
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def tokenizer(tokenizer_dir):
    return Tokenizer.load(tokenizer_dir / MODEL_FILE)


@pytest.fixture(scope="session", params=SPECS)
def model(request, tokenizer):
    """One of each neural family."""
    return random_model(SPECS[request.param], tokenizer.vocab_size)


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
