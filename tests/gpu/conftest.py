"""These tests need a GPU that torch sees; without one each is skipped and says so."""

import pytest
import torch

from lm_pipeline.cublas import fix_workspace

fix_workspace()  # before any test: torch reads the environment once, and products of models come before trainings


@pytest.fixture(autouse=True)
def _gpu():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here: nothing was tried on a GPU")
