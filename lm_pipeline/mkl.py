"""Which kernels MKL takes, which multiplies torch's float32 matrices on x86-64.

MKL has kernels for AVX2 that it takes on Intel's processors. On AMD's it takes others, a quarter slower for products
(75 in place of 99 of the 107 GFLOP/s that a core of an EPYC with AVX2 has) and three times as slow for exponentials.
Whom the processor is from it asks a function of its own, and the dynamic linker lets a library that was loaded before
torch answer in its place. So a library of one function is compiled and loaded: 50 ms of a process that computes.

Where there is no C compiler, torch was imported before, or the processor is another one, nothing changes. Processors
of AMD with AVX-512 are left alone: most multiply in bfloat16 by oneDNN, which does not ask, and the rest was not
measured. What MKL takes decides the last bits, so it is part of what a checkpoint knows of its machine.

Figures: docs/training-profile.md.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lm_pipeline.provenance import processor

_SOURCE = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"
_COMPILERS = ("cc", "gcc", "clang")
_loaded: list[ctypes.CDLL] = []


def use_avx2_kernels() -> None:
    """Have MKL take its kernels for AVX2 where it would not by itself; to be called before torch is imported."""
    if _loaded or "torch" in sys.modules or not is_passed_over(processor()):
        return
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "answer.so"
            command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", library]
            subprocess.run(command, input=_SOURCE, text=True, capture_output=True, timeout=60, check=True)
            _loaded.append(ctypes.CDLL(str(library), os.RTLD_GLOBAL))
    except (OSError, subprocess.SubprocessError):
        return  # a compiler without its linker, no room, a folder from which nothing may be run: torch as it comes


def is_passed_over(name: str) -> bool:
    """Whether MKL passes over its kernels for AVX2 on this processor, as `processor` names it.

    >>> is_passed_over("AMD EPYC avx2"), is_passed_over("AMD EPYC avx2 avx512f avx512_bf16")
    (True, False)
    """
    return sys.platform == "linux" and name.startswith("AMD") and "avx2" in name and "avx512f" not in name


def kernels() -> str:
    """Which kernels this process has MKL take."""
    return "avx2" if _loaded else "its own choice"
