"""The processes that share a training: who this one is, and sums over all of them."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


@dataclass(frozen=True)
class World:
    """One of `size` processes, each of which reads its own rows of every batch."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process logs, publishes and writes what all share."""
        return self.rank == 0

    def rows(self, tensor_B: Tensor) -> Tensor:
        """This process's rows of a batch."""
        return tensor_B.tensor_split(self.size)[self.rank]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in some process; all processes must ask."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor([float(flag)])).item())

    def gather_rows(self, tensor_B: Tensor) -> Tensor:
        """Rows of all processes, in their order, on each of them."""
        if self.size == 1:
            return tensor_B
        parts = [torch.empty_like(tensor_B) for _ in range(self.size)]
        dist.all_gather(parts, tensor_B.contiguous())
        return torch.cat(parts)

    def share(self, value: Any) -> Any:
        """The main process's value, for all."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            dist.barrier()


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is not distributed, with the same values; all processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def fill(target: Tensor, source: Tensor) -> None:
    """Copy values into a tensor that may be distributed, from one that may be."""
    if isinstance(target, DTensor) and not isinstance(source, DTensor):
        source = distribute_tensor(source.to(target.device), target.device_mesh, target.placements)
    target.copy_(source)
