"""Who and what made an artifact: code version, libraries, machine. Recorded in every manifest, part of no address."""

import functools
import importlib.metadata
import os
import platform
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


@functools.cache
def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
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
