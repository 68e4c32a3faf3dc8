"""A tokenizer, and one model of each neural family."""

import pytest
import torch

from lm_pipeline.tokenization.tokenizer import MODEL_FILE, Tokenizer
from tests.unit.small_models import SPECS, random_model, small_tokenizer


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return Tokenizer.load(small_tokenizer(tmp_path_factory.mktemp("tokenizer")) / MODEL_FILE)


@pytest.fixture(scope="session", params=SPECS)
def model(request, tokenizer):
    """One of each neural family."""
    return random_model(SPECS[request.param], tokenizer.vocab_size)
