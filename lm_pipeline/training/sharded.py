"""Checkpoints that several processes write together, by torch.distributed.checkpoint.

Each process writes the parts that it holds; what all hold is written once. A checkpoint can be read by any number of
processes: each reads what its share of the weights needs. With `asynchronous`, torch copies tensors first and writes
behind the training's back. It once wrote CPU tensors as the next step had changed them (pytorch/pytorch #144657); the
versions that are allowed here copy them, and `tests/distributed` holds them to that.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.state_dict_saver import save as save_shards
from torch.distributed.tensor import DTensor

from lm_pipeline.disk import explaining_a_full_disk
from lm_pipeline.training.checkpoint import (
    TENSORS,
    Checkpoint,
    begin_staging,
    find_latest,
    save,
    seal,
)
from lm_pipeline.training.world import World

SHARDS = "shards"


class Saver:
    """Writes the checkpoints of a training, by one process or by several.

    Args:
        folder: where they are.
        world: the processes that hold the training; all must make the same calls.
        asynchronous: whether `save` returns before the bytes are on disk; only with several processes.
    """

    def __init__(self, folder: Path, world: World, *, asynchronous: bool = False) -> None:
        self.folder, self.world, self.asynchronous = folder, world, asynchronous
        self._group: Any = dist.new_group(backend="gloo") if world.size > 1 and asynchronous else None
        self._pending: Any = None
        self._sealing: threading.Thread | None = None
        self._failure: BaseException | None = None

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, or begin to; one that is still being written is waited for first.

        Raises:
            LmPipelineError: the disk is full; what was saved before is intact.
        """
        self.finish()
        self.folder.mkdir(parents=True, exist_ok=True)
        with explaining_a_full_disk(f"the checkpoint of step {step}", self.folder):
            self._save(step, checkpoint)

    def _save(self, step: int, checkpoint: Checkpoint) -> None:
        if self.world.size == 1:
            save(self.folder, step, checkpoint)
            return
        staging = self.folder / f"writing-{step}"
        if self.world.is_main:
            begin_staging(self.folder, str(step))
        self.world.wait()
        writer = FileSystemWriter(staging / SHARDS)
        if not self.asynchronous:
            save_shards(checkpoint.tensors, storage_writer=writer)
            self._seal(staging, step, checkpoint.state)
            self.world.wait()
            return
        self._pending = async_save(checkpoint.tensors, storage_writer=writer, process_group=self._group)
        self._sealing = threading.Thread(target=self._seal_later, args=(staging, step, checkpoint.state))
        self._sealing.start()

    def finish(self) -> None:
        """Wait until what was begun is on disk.

        Raises:
            Exception: it could not be written.
        """
        if self._sealing is not None:
            self._sealing.join()
            self._sealing = self._pending = None
            self.world.wait()
        if self._failure is not None:
            with explaining_a_full_disk("a checkpoint", self.folder):
                raise self._failure

    def _seal_later(self, staging: Path, step: int, state: dict[str, Any]) -> None:
        try:
            self._pending.result()
            self._seal(staging, step, state)
        except BaseException as error:  # noqa: BLE001 - handed to `finish`, in the thread that trains
            self._failure = error

    def _seal(self, staging: Path, step: int, state: dict[str, Any]) -> None:
        if self.world.is_main:
            seal(staging, step, state)


def find(folder: Path, warn: Callable[[str], None], world: World) -> Path | None:
    """The newest undamaged checkpoint's folder, the same for all processes; None where there is none.

    Raises:
        CorruptArtifactError: all are damaged.
    """
    return world.share(find_latest(folder, warn) if world.is_main else None)


def read_tensors(path: Path, like: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
    """The tensors of a checkpoint, whoever wrote it.

    Args:
        path: its folder.
        like: of a name, the distributed tensor whose layout it shall have; None for a whole one.
    """
    if (path / TENSORS).is_file():
        return load_file(path / TENSORS)
    reader = FileSystemReader(path / SHARDS)
    tensors: dict[str, Any] = {}
    for name, entry in reader.read_metadata().state_dict_metadata.items():
        shape = like(name)
        whole = torch.empty(entry.size, dtype=entry.properties.dtype)  # type: ignore[union-attr] # all are tensors
        tensors[name] = torch.empty_like(shape) if shape is not None else whole
    load(tensors, storage_reader=reader, no_dist=not dist.is_initialized())
    return tensors


def layouts(parameters: Mapping[str, Tensor]) -> Callable[[str], Tensor | None]:
    """How tensors of a checkpoint are laid out, by the parameter that each belongs to.

    The weights of the best validation are whole on every process, as those are that a validation keeps: only one of
    them publishes, and it cannot gather parts alone.
    """

    def like(name: str) -> Tensor | None:
        kind, _, rest = name.partition(".")
        if kind == "best":
            return None
        owner = parameters.get(rest.split(".", 2)[-1] if kind == "optimizer" else rest)
        return owner if isinstance(owner, DTensor) and rest.split(".")[1:2] != ["step"] else None

    return like
