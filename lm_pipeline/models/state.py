"""What a model remembers of the tokens that it has read: one type for every family.

Recurrent networks carry hidden (and cell) vectors, the convolutional network the last inputs of each layer, the
Transformer its keys and values. It is the carry of truncated backpropagation through time and the cache of token by
token decoding alike: reading a text whole and reading it in pieces with the state in between give the same output.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class State:
    """Memory of `position` tokens.

    Attributes:
        position: tokens read so far, padding included, the same for every row.
        tensors: the family's memory; the first axis of each is the batch.
        documents: the document of each of the last tokens, as far as the family needs them (int64, B x N); None where
            everything so far was one document.
    """

    position: int
    tensors: tuple[Tensor, ...]
    documents: Tensor | None = None

    def _map(self, change: Callable[[Tensor], Tensor]) -> "State":
        documents = None if self.documents is None else change(self.documents)
        return State(self.position, tuple(change(tensor) for tensor in self.tensors), documents)

    def detach(self) -> "State":
        """The same values, cut off from the graph that computed them."""
        return self._map(torch.Tensor.detach)

    def select(self, rows: Tensor) -> "State":
        """The memory of the rows that a 1-d integer tensor names, in its order; a row may be named twice."""
        return self._map(lambda tensor: tensor.index_select(0, rows))

    def clone(self) -> "State":
        """A copy that shares no memory with this one."""
        return self._map(torch.Tensor.clone)

    def reserve(self, places: int) -> "State":
        """Keys and values (B x H x S x K) with room for so many places: reading on fills it instead of copying them.

        A state with room can be gone on from once: what is read next takes the place behind it. Whoever goes on from it
        in two ways selects or clones it before.
        """
        room = (0, 0, 0, places - self.position)
        tensors = tuple(F.pad(tensor[:, :, : self.position], room) for tensor in self.tensors)
        return State(self.position, tensors, self.documents)

    @property
    def places(self) -> int:
        """Places that keys and values have, filled or not."""
        return self.tensors[0].shape[2]

    def split(self, num_parts: int) -> "list[State]":
        """The memory of the rows in parts of nearly the same number, in order."""
        columns = [tensor.tensor_split(num_parts) for tensor in self.tensors]
        documents = [None] * num_parts if self.documents is None else self.documents.tensor_split(num_parts)
        return [State(self.position, tuple(c[i] for c in columns), documents[i]) for i in range(num_parts)]

    @staticmethod
    def concatenate(states: "list[State]") -> "State":
        """Rows of several states, one after the other.

        Raises:
            ValueError: the states have read different numbers of tokens, or only some of them know documents.
        """
        positions = {state.position for state in states}
        if len(positions) != 1:
            raise ValueError(f"states at positions {sorted(positions)} cannot be one batch: read equally far first")
        known = [state.documents for state in states if state.documents is not None]
        if known and len(known) != len(states):
            raise ValueError("some of these states know documents and others do not: give all of them `documents_BT`")
        columns = zip(*(state.tensors for state in states), strict=True)
        documents = torch.cat(known) if known else None
        return State(positions.pop(), tuple(torch.cat(column) for column in columns), documents)


def join_documents(state: State | None, documents_BT: Tensor | None, num_past: int, shape: torch.Size) -> Tensor | None:
    """The document of each of the last `num_past` remembered and of the T new tokens, or None if all are one.

    A document is any integer, the same for all of its tokens, which stand side by side. Without `documents_BT`, new
    tokens go on with the last one's document; what was read without any is document 0.

    Args:
        state: the memory; None at the beginning.
        documents_BT: documents of the new tokens.
        num_past: remembered tokens that matter; those that were never read count as document 0.
        shape: B and T.
    """
    before_BN = None if state is None else state.documents
    if documents_BT is None and before_BN is None:
        return None
    batch, time = shape[0], shape[1]
    if documents_BT is None:
        assert before_BN is not None
        documents_BT = before_BN[:, -1:].expand(batch, time)
    if before_BN is None:
        before_BN = documents_BT.new_zeros(batch, num_past)
    return torch.cat((before_BN[:, before_BN.shape[1] - num_past :], documents_BT), dim=1)
