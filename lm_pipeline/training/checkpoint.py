"""States of a training on disk: written whole or not at all, verified when read, the last two kept.

    <folder>/step-00000200/tensors.safetensors    weights, optimizer, random generators, carried state
    <folder>/step-00000200/shards/                the same as several processes write it (see `sharded`)
    <folder>/step-00000200/state.json             everything else
    <folder>/step-00000200/manifest.json          sizes and SHA-256 of all of them

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

from lm_pipeline.digests import digest_file
from lm_pipeline.disk import fsync
from lm_pipeline.errors import CorruptArtifactError
from lm_pipeline.training.saved import MANIFEST, STATE, folder_of, problem, states

TENSORS = "tensors.safetensors"
NUM_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A state of the training: named tensors and a JSON object."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write a checkpoint durably, replacing one of the same step, and delete all but the last two."""
    staging = begin_staging(folder, str(os.getpid()))
    try:
        save_file({name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}, staging / TENSORS)
        seal(staging, step, checkpoint.state)
    except BaseException:  # what a full disk did not take must not fill it
        shutil.rmtree(staging, ignore_errors=True)
        raise


def begin_staging(folder: Path, attempt: str) -> Path:
    """An empty folder to write a checkpoint into; what killed processes left unfinished is deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    for abandoned in folder.glob("writing-*"):
        shutil.rmtree(abandoned)
    staging = folder / f"writing-{attempt}"
    staging.mkdir()
    return staging


def seal(staging: Path, step: int, state: dict[str, Any]) -> None:
    """Make a written checkpoint durable and give it its name; delete all but the last two."""
    (staging / STATE).write_text(json.dumps(state, indent=1) + "\n", "utf-8")
    paths = sorted(path for path in staging.rglob("*") if path.is_file())
    files = {
        path.relative_to(staging).as_posix(): {"bytes": path.stat().st_size, "sha256": digest_file(path)}
        for path in paths
    }
    (staging / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1) + "\n", "utf-8")
    folders = [path for path in staging.rglob("*") if path.is_dir()]
    for path in (*paths, staging / MANIFEST, *folders, staging):
        fsync(path)
    final = folder_of(staging.parent, step)
    if final.exists():
        shutil.rmtree(final)
    staging.rename(final)
    fsync(staging.parent)
    for path in states(staging.parent)[:-NUM_KEPT]:
        shutil.rmtree(path)


def load_latest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest undamaged checkpoint that one process wrote; None where there is none.

    Args:
        folder: where `save` wrote.
        warn: told about each damaged checkpoint that is passed over.

    Raises:
        CorruptArtifactError: there are some, and all are damaged.
    """
    path = find_latest(folder, warn)
    return None if path is None else Checkpoint(load_file(path / TENSORS), read_state(path))


def find_latest(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest undamaged checkpoint's folder; None where there is none.

    Raises:
        CorruptArtifactError: there are some, and all are damaged: to begin anew is for the user to decide.
    """
    damaged = []
    for path in reversed(states(folder)):
        found = problem(path)
        if found is None:
            for other, what in damaged:
                warn(f"checkpoint {other} is damaged ({what}); {path.name} is used instead")
            return path
        damaged.append((path, found))
    if damaged:
        listed = "; ".join(f"{path.name}: {what}" for path, what in damaged)
        raise CorruptArtifactError(
            f"All checkpoints in {folder} are damaged ({listed}). Bring one back from a copy, or delete that folder and"
            " materialize again: the training then begins at step 0."
        )
    return None


def read_state(path: Path) -> dict[str, Any]:
    """The JSON object of a checkpoint's folder."""
    return json.loads((path / STATE).read_text("utf-8"))
