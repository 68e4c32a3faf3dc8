"""Copies of the weights at regular steps, published beside the result, within a disk budget.

A snapshot is taken every `snapshot_interval` steps. When all of them outgrow the budget, the interval doubles and those
off it go, until they fit: what is kept is always evenly spaced, and does not depend on when a training was interrupted.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from lm_pipeline.errors import InputError
from lm_pipeline.specs.training import Training
from lm_pipeline.training.world import World

MEGABYTE = 1_000_000


def save_snapshot(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    training: Training,
    world: World = World(),  # noqa: B008 - frozen
) -> None:
    """Write the snapshot of a step at which one is due, and thin out what has outgrown the budget.

    Of several processes, the main one writes.

    Raises:
        InputError: the budget has no room for a single one.
    """
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    assert training.snapshot_interval is not None
    kept, gone = snapshot_steps(step, training.snapshot_interval, snapshot_room(training, num_bytes))
    if not world.is_main:
        return
    for at in gone:
        _path(folder, at).unlink(missing_ok=True)
    if step in kept:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"writing-{os.getpid()}.tmp"
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)
        temporary.replace(_path(folder, step))


def snapshot_room(training: Training, num_bytes: int) -> int | None:
    """How many snapshots of that size the budget has room for; None where there is no budget.

    Raises:
        InputError: there is no room for a single one.
    """
    budget = training.max_snapshot_megabytes
    if budget is None:
        return None
    room = int(budget * MEGABYTE // num_bytes)
    if not room:
        raise InputError(
            f"training.max_snapshot_megabytes is {budget:g}, and one snapshot of this model takes"
            f" {num_bytes / MEGABYTE:.3f}: give it room for at least one, or leave snapshot_interval out."
        )
    return room


def snapshot_steps(step: int, interval: int, room: int | None) -> tuple[list[int], list[int]]:
    """Steps up to this one whose snapshots are kept, and those whose are not; `room` is the most that fit.

    >>> snapshot_steps(60, 10, 3)
    ([20, 40, 60], [10, 30, 50])
    >>> snapshot_steps(80, 10, 3)
    ([40, 80], [10, 20, 30, 50, 60, 70])
    """
    spacing = interval
    while room is not None and step // spacing > room:
        spacing *= 2
    due = range(interval, step + 1, interval)
    return [at for at in due if at % spacing == 0], [at for at in due if at % spacing]


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.safetensors"
