"""States of a training on disk: written whole or not at all, verified when read, the last two kept.

    <folder>/step-00000200/tensors.safetensors    weights, optimizer, random generators, carried state
    <folder>/step-00000200/state.json             everything else
    <folder>/step-00000200/manifest.json          sizes and SHA-256 of both

A checkpoint is a folder that gets its name by an atomic rename after its files have reached the disk. No format's own
checks find a flipped bit, so the digests are ours.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from lm_pipeline.artifacts import digest_file

TENSORS = "tensors.safetensors"
STATE = "state.json"
FILES = (TENSORS, STATE)
MANIFEST = "manifest.json"
NUM_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A state of the training: named tensors and a JSON object."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write a checkpoint durably, replacing one of the same step, and delete all but the last two."""
    folder.mkdir(parents=True, exist_ok=True)
    for abandoned in folder.glob("writing-*"):
        shutil.rmtree(abandoned)
    staging = folder / f"writing-{os.getpid()}"
    staging.mkdir()
    save_file({name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}, staging / TENSORS)
    (staging / STATE).write_text(json.dumps(checkpoint.state, indent=1) + "\n", "utf-8")
    files = {name: {"bytes": (staging / name).stat().st_size, "sha256": digest_file(staging / name)} for name in FILES}
    (staging / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1) + "\n", "utf-8")
    for path in (*(staging / name for name in (*FILES, MANIFEST)), staging):
        _fsync(path)
    final = folder / f"step-{step:08d}"
    if final.exists():
        shutil.rmtree(final)
    staging.rename(final)
    _fsync(folder)
    for path in _found(folder)[:-NUM_KEPT]:
        shutil.rmtree(path)


def load_latest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest undamaged checkpoint; None where there is none.

    Args:
        folder: where `save` wrote.
        warn: told about each damaged checkpoint that is passed over.
    """
    for path in reversed(_found(folder)):
        problem = _problem(path)
        if problem is None:
            return Checkpoint(load_file(path / TENSORS), json.loads((path / STATE).read_text("utf-8")))
        warn(f"checkpoint {path} is damaged ({problem}); the one before it is used")
    return None


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _problem(path: Path) -> str | None:
    """What is wrong with a checkpoint, if anything."""
    try:
        files = json.loads((path / MANIFEST).read_text("utf-8"))["files"]
        for name in FILES:
            if (path / name).stat().st_size != files[name]["bytes"]:
                return f"{name} has {(path / name).stat().st_size} bytes, not {files[name]['bytes']}"
            if digest_file(path / name) != files[name]["sha256"]:
                return f"SHA-256 of {name} differs"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
