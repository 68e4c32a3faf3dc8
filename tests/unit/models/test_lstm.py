"""A layer whose weights' gradients stay float32 computes what `torch.lstm` does under autocast."""

import pytest
import torch
from torch import nn

from lm_pipeline.models.lstm import computes, lstm_layer

WIDTH = 32


@pytest.fixture(autouse=True)
def _autocast():
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        if not computes(torch.zeros(1)):
            pytest.skip("this CPU has no products in bfloat16")
        yield


def given():
    cells = nn.LSTM(WIDTH, WIDTH, batch_first=True)
    x_BTD = torch.randn(4, 9, WIDTH, requires_grad=True)
    before = tuple(torch.randn(1, 4, WIDTH, requires_grad=True) for _ in range(2))
    return cells, x_BTD, before


def gradients(outputs, cells, x_BTD, before):
    y_BTD, h_1BD, c_1BD = outputs
    weighted = (y_BTD.float() * torch.linspace(-1, 1, WIDTH)).sum() + h_1BD.float().sum() - c_1BD.float().sum()
    return torch.autograd.grad(weighted, [x_BTD, *before, *cells.parameters()])


def test_values_are_those_of_torch_to_the_bit_and_gradients_nearer_to_float32s():
    cells, x_BTD, before = given()
    y_BTD, (h_1BD, c_1BD) = cells(x_BTD, before)
    theirs = (y_BTD, h_1BD, c_1BD)
    ours = lstm_layer(x_BTD, before, list(cells.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    with torch.autocast("cpu", enabled=False):
        y_BTD, (h_1BD, c_1BD) = cells(x_BTD, before)
        exact = gradients((y_BTD, h_1BD, c_1BD), cells, x_BTD, before)
    errors = [
        torch.stack([(a.float() - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)])
        for found in (gradients(ours, cells, x_BTD, before), gradients(theirs, cells, x_BTD, before))
    ]
    assert (errors[0] < 0.02).all()
    assert errors[0][3:].mean() < errors[1][3:].mean()  # of the weights


def test_without_gradients_or_autocast_the_layer_is_not_for_it():
    with torch.no_grad():
        assert not computes(torch.zeros(1))
    with torch.autocast("cpu", enabled=False):
        assert not computes(torch.zeros(1))
