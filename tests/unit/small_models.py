"""A bilingual tokenizer and small random models: for tests that do not depend on what a model learned."""

from pathlib import Path

import torch

from lm_pipeline.models.language_model import LanguageModel, NeuralSpec, build_model
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.specs.model import CnnModel, GruModel, LstmModel, RnnModel, TransformerModel
from lm_pipeline.tokenization.tokenizer import train_tokenizer

SPECS = {
    "rnn": RnnModel(num_layers=2, width=16),
    "lstm": LstmModel(num_layers=2, width=16),
    "gru": GruModel(num_layers=1, width=16),
    "cnn": CnnModel(num_layers=3, width=16, kernel_size=3),
    "transformer": TransformerModel(num_layers=2, width=16, num_heads=2),
}
TEXTS = ["The quick brown fox jumps over the lazy dog.\n", "它是一个语言模型，给句子一个概率。"]


def small_tokenizer(out: Path) -> Path:
    """Train a tokenizer in both languages; the folder that it was given."""
    train_tokenizer(TEXTS * 5, TokenizerSpec(vocab_size=304), out)
    return out


def random_model(spec: NeuralSpec, vocab_size: int) -> LanguageModel:
    """Random weights, spread enough that tokens differ; a context of 8 tokens."""
    torch.manual_seed(0)
    model = build_model(spec, vocab_size, context_length=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.requires_grad_(False).eval()
