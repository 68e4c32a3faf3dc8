"""Memories of unequally long texts as one batch: shorter ones are padded on the left.

Only attention's memory grows with the text. What pads it is a document of its own (`PADDING`), and no token sees
another document or counts positions from it; so a row's numbers are those that it has alone. Memories of a fixed size,
the recurrent and convolutional ones, need no padding.

Shapes: B rows, S tokens so far and P places, with room for more, H heads, K units of a head.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn import functional as F

from lm_pipeline.models.state import State

PADDING = -1
"""Document of the places that hold nothing; texts are document 0."""


def join(states: Sequence[State], *, grows: bool) -> State:
    """Rows of several states, one after the other.

    Args:
        states: memories of texts of any lengths.
        grows: whether the tensors are keys and values (B x H x P x K) of one place a token, with or without room for
            more; that of several states has none.
    """
    if len(states) == 1:
        return states[0]
    longest = max(state.position for state in states)
    if grows and any(state.position < longest or state.documents is not None for state in states):
        states = [_padded(state, longest - state.position) for state in states]
    elif grows:
        states = [state.reserve(longest) for state in states]
    return State.concatenate([replace(state, position=longest) for state in states])


def _padded(state: State, places: int) -> State:
    documents_BS = state.documents
    if documents_BS is None:
        rows = state.tensors[0].shape[0]
        documents_BS = torch.zeros(rows, state.position, dtype=torch.int64, device=state.tensors[0].device)
    return State(
        state.position + places,
        tuple(F.pad(tensor_BHPK[:, :, : state.position], (0, 0, places, 0)) for tensor_BHPK in state.tensors),
        F.pad(documents_BS, (places, 0), value=PADDING),
    )


def trim(state: State, longest: int) -> State:
    """Without the places that are padding in every row.

    Args:
        state: memory that grows.
        longest: tokens of the longest row that is left.
    """
    surplus = state.position - longest
    if surplus == 0:
        return state
    assert state.documents is not None, "only padding makes memory longer than its longest text"
    documents_BS = state.documents[:, surplus:]
    return State(
        longest,
        tuple(tensor_BHPK[:, :, surplus:] for tensor_BHPK in state.tensors),
        documents_BS if (documents_BS == PADDING).any() else None,
    )
