"""Examples in the library's docstrings are true."""

import doctest
import importlib
import os

import pytest

from tests.docs.pages import ROOT

MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in (ROOT / "lm_pipeline").rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name):
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    failed, tried = doctest.testmod(importlib.import_module(name), report=True)
    assert tried > 0
    assert failed == 0
