"""A bilingual tokenizer and small random models: what is tested here does not depend on what they learned."""

import pytest
import torch

from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.specs.model import CnnModel, GruModel, LstmModel, RnnModel, TransformerModel
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
def tokenizer(tmp_path_factory):
    texts = ["The quick brown fox jumps over the lazy dog.\n", "它是一个语言模型，给句子一个概率。"] * 5
    out = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(texts, TokenizerSpec(vocab_size=304), out)
    return Tokenizer.load(out / MODEL_FILE)


@pytest.fixture(scope="session", params=SPECS)
def model(request, tokenizer):
    """One of each neural family; random weights, spread enough that tokens differ; a context of 8 tokens."""
    torch.manual_seed(0)
    model = build_model(SPECS[request.param], tokenizer.vocab_size, context_length=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.requires_grad_(False).eval()
