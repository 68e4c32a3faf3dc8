"""Examples in docstrings are true."""

import doctest

import pytest

from lm_pipeline.reports import formatting, markdown, plots
from lm_pipeline.reports.sections import results, samples, tokenizer


@pytest.mark.parametrize(
    "module", [formatting, markdown, plots, results, samples, tokenizer], ids=lambda module: module.__name__
)
def test_examples_are_true(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
