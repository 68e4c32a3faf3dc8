"""Who and what made an artifact: code version, libraries, machine. Recorded in every manifest, part of no address."""

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from lm_pipeline import __version__

_LIBRARIES = ("numpy", "numba", "polars", "pyarrow", "sentencepiece", "torch", "xxhash")


@functools.cache
def code_version() -> str:
    """The package's version, with the commit and `+dirty` when it runs from a git clone."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return __version__
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}-{described}"


_VECTORS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "sve", "sme", "bf16")


@functools.cache
def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, then the vectors and low-precision products that it has: names alone hide generations."""
    try:
        text = cpuinfo.read_text("utf-8")
    except OSError:  # not Linux
        text = ""
    name = re.search(r"^model name\s*:\s*(.+)", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:(.+)", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else ()
    kinds = [kind for kind in _VECTORS if kind in has]
    return " ".join([name[1] if name else platform.processor() or platform.machine(), *kinds])


@functools.cache
def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": processor(),
        "cpu_count": os.cpu_count(),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def provenance(started: float, **more: Any) -> dict[str, Any]:
    """The record for a manifest.

    Args:
        started: `time.time()` when the stage began.
        more: further JSON values, such as the tracking spool's id.
    """
    return {
        "code_version": code_version(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "wall_seconds": round(time.time() - started, 3),
        "environment": _environment(),
        **more,
    }
