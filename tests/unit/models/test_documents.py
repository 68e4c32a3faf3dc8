"""Packed documents: none sees another, and each is read as if it stood alone."""

import itertools

import pytest
import torch

from lm_pipeline.models.language_model import build_model
from lm_pipeline.models.state import State
from lm_pipeline.models.transformer import within_documents
from tests.unit.models.model_families import CAUSAL, CONTEXT, SPECS, VARIANTS, VOCAB_SIZE, tokens

PACKED = torch.tensor([[0] * 5 + [1] * 3 + [2] * 4, [4] * 12, [9] * 1 + [7] * 10 + [3]])
"""Documents of three rows."""


def wild(spec):
    torch.manual_seed(0)
    model = build_model(spec, VOCAB_SIZE, CONTEXT).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def stretches(row):
    """First and last token of each document of a row."""
    cuts = [0, *((row[1:] != row[:-1]).nonzero()[:, 0] + 1).tolist(), len(row)]
    return list(itertools.pairwise(cuts))


@torch.no_grad()
@pytest.mark.parametrize("name", SPECS | VARIANTS)
def test_each_document_is_read_as_if_it_stood_alone(name):
    model, text_BT = wild((SPECS | VARIANTS)[name]), tokens()
    packed_BTD = model(text_BT, documents_BT=PACKED)[0]
    for row in range(3):
        for begin, end in stretches(PACKED[row]):
            alone = model(text_BT[row : row + 1, begin:end])[0]
            torch.testing.assert_close(packed_BTD[row : row + 1, begin:end], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SPECS | VARIANTS)
def test_no_gradient_crosses_a_border(name):
    model, text_BT = wild((SPECS | VARIANTS)[name]).train(), tokens()
    embedded = model.embed(text_BT).detach().requires_grad_()
    hidden_BTD, _ = model.backbone(embedded, None, PACKED)
    hidden_BTD[0, 5:8].square().sum().backward()
    reached = embedded.grad.abs().sum(dim=2) > 0
    assert reached[0].tolist() == [False] * 5 + [True] * 3 + [False] * 4
    assert not reached[1:].any()


@torch.no_grad()
@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("cuts", [(1,) * 12, (5, 7), (2, 3, 7)])
def test_pieces_with_state_give_what_the_whole_gives(name, cuts):
    model, text_BT = wild(CAUSAL[name]), tokens()
    state, pieces = None, []
    for piece_BT, documents_BT in zip(text_BT.split(cuts, dim=1), PACKED.split(cuts, dim=1), strict=True):
        hidden, state = model(piece_BT, state, documents_BT)
        pieces.append(hidden)
    whole_BTD, whole_state = model(text_BT, documents_BT=PACKED)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole_BTD, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(state.tensors, whole_state.tensors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", CAUSAL)
def test_without_documents_reading_goes_on_in_the_last_one(name):
    model, text_BT = wild(CAUSAL[name]), tokens()
    _, state = model(text_BT[:, :10], None, PACKED[:, :10])
    implied = model(text_BT[:, 10:], state)[0]
    stated = model(text_BT[:, 10:], state, PACKED[:, 9:10].expand(3, 2))[0]
    torch.testing.assert_close(implied, stated, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", SPECS | VARIANTS)
def test_padding_on_the_left_changes_nothing(name):
    model, text_BT = wild((SPECS | VARIANTS)[name]), tokens(length=8)
    padded_BT = torch.cat((torch.zeros(3, 4, dtype=torch.int64), text_BT), dim=1)
    documents_BT = torch.tensor([[-1] * 4 + [0] * 8]).expand(3, 12)
    padded = model(padded_BT, documents_BT=documents_BT)[0][:, 4:]
    torch.testing.assert_close(padded, model(text_BT)[0], rtol=1e-4, atol=1e-5)


def test_one_document_is_the_same_as_none():
    for name, spec in (SPECS | VARIANTS).items():
        model, text_BT = wild(spec), tokens()
        one = model(text_BT, documents_BT=torch.full((3, CONTEXT), 5))[0]
        torch.testing.assert_close(one, model(text_BT)[0], rtol=1e-4, atol=1e-5, msg=name)


def test_places_begin_anew_in_each_document():
    places = [[*range(5), *range(3), *range(4)], list(range(12)), [0, *range(10), 0]]
    assert within_documents(PACKED).tolist() == places


def test_states_that_know_documents_are_selected_with_their_rows():
    state = State(3, (torch.zeros(2, 1),), torch.tensor([[1], [2]]))
    assert state.select(torch.tensor([1, 1])).documents.tolist() == [[2], [2]]
    both = State.concatenate([state.select(torch.tensor([0])), state.select(torch.tensor([1]))])
    assert both.documents.tolist() == [[1], [2]]
    with pytest.raises(ValueError, match="give all of them"):
        State.concatenate([state, State(3, (torch.zeros(2, 1),))])
