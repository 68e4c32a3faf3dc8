"""What a model remembers of the tokens that it has read: one type for every family.

Recurrent networks carry hidden (and cell) vectors, the convolutional network the last inputs of each layer, the
Transformer its keys and values. It is the carry of truncated backpropagation through time and the cache of token by
token decoding alike: reading a text whole and reading it in pieces with the state in between give the same output.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class State:
    """Memory of `position` tokens.

    Attributes:
        position: tokens read so far, the same for every row.
        tensors: the family's memory; the first axis of each is the batch.
    """

    position: int
    tensors: tuple[Tensor, ...]

    def detach(self) -> "State":
        """The same values, cut off from the graph that computed them."""
        return State(self.position, tuple(tensor.detach() for tensor in self.tensors))

    def select(self, rows: Tensor) -> "State":
        """The memory of the rows that a 1-d integer tensor names, in its order; a row may be named twice."""
        return State(self.position, tuple(tensor.index_select(0, rows) for tensor in self.tensors))

    def clone(self) -> "State":
        """A copy that shares no memory with this one."""
        return State(self.position, tuple(tensor.clone() for tensor in self.tensors))

    @staticmethod
    def concatenate(states: "list[State]") -> "State":
        """Rows of several states, one after the other.

        Raises:
            ValueError: the states have read different numbers of tokens.
        """
        positions = {state.position for state in states}
        if len(positions) != 1:
            raise ValueError(f"states at positions {sorted(positions)} cannot be one batch: read equally far first")
        columns = zip(*(state.tensors for state in states), strict=True)
        return State(positions.pop(), tuple(torch.cat(column) for column in columns))
