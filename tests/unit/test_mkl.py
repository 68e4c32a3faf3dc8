import subprocess
import sys

import pytest

from lm_pipeline import mkl
from lm_pipeline.provenance import processor

ASK_MKL = """
import ctypes, pathlib, sys
{before}
from lm_pipeline import mkl
mkl.use_avx2_kernels()
import torch
matrix = torch.ones(64, 64)
assert (matrix @ matrix == 64).all()
library = ctypes.CDLL(str(pathlib.Path(torch.__file__).parent / "lib/libtorch_cpu.so"))
print(mkl.kernels(), library.mkl_serv_get_cpu_type(0))
"""
"""MKL's type of this processor is 5 for AVX2, and 0 where it does not know it; the number stays what the first product
found."""

passed_over = pytest.mark.skipif(
    not mkl.is_passed_over(processor()), reason=f"{processor()}: what MKL takes there is left to it"
)


def ask(before: str = "", **environment: str) -> str:
    command = [sys.executable, "-c", ASK_MKL.format(before=before)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment or None).stdout.strip()


@passed_over
def test_mkl_takes_its_kernels_for_avx2():
    assert ask() == "avx2 5"


@passed_over
@pytest.mark.parametrize("lacks", ["a compiler", "a linker", "a folder"])
def test_torch_is_as_it_comes_where_nothing_can_be_compiled(tmp_path, lacks):
    before = ""
    if lacks != "a compiler":
        (tmp_path / "cc").write_text("#!/bin/sh\necho no linker >&2\nexit 1\n")
        (tmp_path / "cc").chmod(0o755)
    if lacks == "a folder":
        before = "import tempfile; tempfile.tempdir = '/proc/absent'"
    assert ask(before, PATH=str(tmp_path)) == "its own choice 0"


@passed_over
def test_what_comes_after_torch_is_too_late_and_is_said_to_be():
    assert ask(before="import torch") == "its own choice 0"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AMD EPYC 7R32 avx2", True),
        ("AMD EPYC 9R14 avx2 avx512f avx512_bf16", False),
        ("AMD Athlon 64", False),
        ("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz avx2", False),
        ("aarch64 sve bf16", False),
    ],
)
def test_processors_with_avx2_that_are_not_intels(name, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert mkl.is_passed_over(name) is expected
