"""Several processes train one model: replicas (DDP) or shards (FSDP2) of it.

Papers: Li et al. 2020, "PyTorch Distributed" (DDP); Zhao et al. 2023, "PyTorch FSDP"; FSDP2 is its form by parameter.
Each process computes the sum over its own rows; gradients are averaged among processes, so the objective is scaled by
their number and divided by the targets of all.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.loss import Penalties
from lm_pipeline.models.state import State
from lm_pipeline.specs.training import Training
from lm_pipeline.training.environment import choose_device
from lm_pipeline.training.world import World


@contextlib.contextmanager
def joined_world(training: Training) -> Iterator[World]:
    """The world that torchrun's variables describe; a world of one where there are none.

    Raises:
        InputError: there is no device for each process (see `choose_device`).
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1:
        yield World()
        return
    device = choose_device(training)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank, size)
        dist.barrier()  # nobody leaves while another still needs the connection
    finally:
        dist.destroy_process_group()


class Losses(nn.Module):
    """A model as a function of a batch to its sums: what is wrapped, for wrappers act on `forward`."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens_BT: Tensor,
        targets_BT: Tensor,
        state: State | None = None,
        documents_BT: Tensor | None = None,
        penalties: Penalties = Penalties(),  # noqa: B008 - frozen
    ) -> tuple[Tensor, Tensor, State]:
        """`LanguageModel.training_sums`."""
        return self.model.training_sums(tokens_BT, targets_BT, state, documents_BT, penalties)


def parallelise(model: LanguageModel, training: Training, world: World) -> nn.Module:
    """The model's `Losses`, wrapped so that gradients are those of all processes; `fsdp2` shards the model in place."""
    losses = Losses(model)
    if world.size == 1:
        return losses
    if training.strategy == "ddp":
        return DistributedDataParallel(losses, forward_sync_buffers=False)
    # Keys and values leave a block as views; nothing writes into them.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(model.embedding.weight.device.type, (world.size,))
    for part in model.backbone.children():
        if isinstance(part, nn.ModuleList):
            for layer in dict.fromkeys(part):  # shared layers stand there several times
                fully_shard(layer, mesh=mesh)
    fully_shard(losses, mesh=mesh, reshard_after_forward=True)  # validation must not leave it unsharded
    return losses


def synchronising(losses: nn.Module, is_last: bool) -> AbstractContextManager[Any]:
    """The context of a micro-batch's backward: gradients travel between processes with the last one only."""
    if isinstance(losses, FSDPModule):
        losses.set_requires_gradient_sync(is_last)
    if isinstance(losses, DistributedDataParallel) and not is_last:
        return losses.no_sync()
    return contextlib.nullcontext()
