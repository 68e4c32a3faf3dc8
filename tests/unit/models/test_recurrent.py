"""Dropout as the papers have it, on torch's fused cells."""

import warnings

import pytest
import torch

from lm_pipeline.models.dropout import embedding_dropout, keep_mask, variational_dropout, weight_drop
from lm_pipeline.models.language_model import build_model
from lm_pipeline.models.recurrent import Recurrent
from lm_pipeline.specs.model import GruModel, LstmModel, RnnModel

FAMILIES = {
    "rnn": RnnModel(num_layers=2, width=16),
    "relu": RnnModel(num_layers=2, width=16, nonlinearity="relu"),
    "lstm": LstmModel(num_layers=2, width=16),
    "gru": GruModel(num_layers=2, width=16),
}
PACKED = torch.tensor([[0] * 4 + [1] * 3, [2] * 7, [3] * 2 + [4] * 5])


def backbone(name, **settings):
    torch.manual_seed(0)
    return Recurrent(FAMILIES[name].model_copy(update=settings), 7).train()


def text():
    return torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("documents", [None, PACKED])
def test_layer_by_layer_is_what_the_stacked_cells_compute(name, documents):
    """Variational dropout of a probability of 0 goes the way that drops; both must agree."""
    stacked, by_layer = backbone(name), backbone(name, variational_dropout=True)
    _, state = stacked(text(), None, documents)
    for before in (None, state):
        ours, theirs = by_layer(text(), before, documents), stacked(text(), before, documents)
        torch.testing.assert_close(ours[0], theirs[0])
        for a, b in zip(ours[1].tensors, theirs[1].tensors, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", FAMILIES)
def test_weight_drop_runs_on_the_fused_cells_without_a_warning_and_keeps_the_weights(name):
    model = backbone(name, weight_drop=0.5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = model(text())[0], model(text())[0]
        first.sum().backward()
    assert not torch.equal(first, second)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    for key, weights in model.cells.named_parameters():
        dropped = (weights.grad == 0).float().mean().item()
        if key.startswith("weight_hh") and name != "relu":
            assert 0.35 < dropped < 0.65, f"{key}: half of the recurrent weights learn in a step, {dropped}"
        elif name != "relu":
            assert dropped < 0.1, key
    model.eval()
    assert torch.equal(model(text())[0], model(text())[0])


def test_weight_drop_is_the_network_with_those_weights_gone():
    model, plain = backbone("lstm", weight_drop=0.5), backbone("lstm")
    torch.manual_seed(3)
    expected = model(text())[0]
    torch.manual_seed(3)
    for layer in (0, 1):
        weights = getattr(plain.cells, f"weight_hh_l{layer}")
        weights.data = weight_drop(weights.data, 0.5)
    torch.testing.assert_close(plain(text())[0], expected)


def test_one_mask_serves_all_steps_of_a_row():
    x = torch.ones(4, 9, 200)
    dropped = variational_dropout(x, None, 4, 0.3)
    assert (dropped == dropped[:, :1]).all()
    assert not torch.equal(dropped[0], dropped[1])
    assert abs((dropped == 0).float().mean().item() - 0.3) < 0.08
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])


def test_one_mask_serves_a_row_of_a_packed_batch_too():
    rows_N = torch.tensor([0, 1, 0, 1, 1])
    dropped = variational_dropout(torch.ones(5, 50), rows_N, 2, 0.5)
    assert torch.equal(dropped[0], dropped[2])
    assert torch.equal(dropped[1], dropped[3])
    assert torch.equal(dropped[1], dropped[4])
    assert not torch.equal(dropped[0], dropped[1])


def test_a_dropped_word_is_gone_wherever_it_stands():
    tokens = torch.arange(40).repeat(1, 2)
    dropped = embedding_dropout(torch.ones(1, 80, 3), tokens, 40, 0.5)
    assert torch.equal(dropped[:, :40], dropped[:, 40:])
    assert 5 < (dropped[0, :40, 0] == 0).sum() < 35
    assert (dropped.amin(dim=2) == dropped.amax(dim=2)).all()


def test_dropping_all_leaves_zeros_not_infinities():
    assert keep_mask((3,), 1.0, torch.ones(1)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("place", ["input_dropout", "hidden_dropout", "output_dropout"])
@pytest.mark.parametrize("variational", [False, True])
def test_each_dropout_acts_at_its_own_place(place, variational):
    settings = {"input_dropout": 0.0, "hidden_dropout": 0.0, "output_dropout": 0.0, "dropout": 0.5}
    model = backbone("lstm", **settings, variational_dropout=variational)
    assert torch.equal(model(text())[0], model(text())[0]), "null alone takes `dropout`"
    y = backbone("lstm", **settings | {place: 0.5}, variational_dropout=variational)(text())[0]
    zeros = (y == 0).float().mean().item()
    assert (0.3 < zeros < 0.7) if place == "output_dropout" else zeros == 0
    assert not torch.allclose(y, model(text())[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_variational_masks_do_not_change_from_step_to_step(name):
    """Units dropped at the output are the same at every step of a row, and others in another row."""
    settings = {"input_dropout": 0.0, "hidden_dropout": 0.0, "output_dropout": 0.5, "variational_dropout": True}
    zeros = backbone(name, **settings)(text())[0] == 0
    if name != "relu":
        assert (zeros == zeros[:, :1]).all()
    assert not torch.equal(zeros[0, 0], zeros[1, 0])


def test_embedding_dropout_acts_in_training_only():
    spec = LstmModel(width=16, embedding_dropout=0.5)
    model = build_model(spec, 50, 8)
    tokens = torch.arange(8)[None]
    assert not torch.equal(model(tokens)[0], model(tokens)[0])
    model.eval()
    assert torch.equal(model(tokens)[0], model(tokens)[0])


def test_a_rectified_network_that_begins_as_the_identity_remembers():
    """Le et al. 2015: with the identity as recurrence, what was written once stays."""
    model = Recurrent(RnnModel(num_layers=1, width=8, nonlinearity="relu", initialisation="le_2015"), 4).eval()
    assert torch.equal(model.cells.weight_hh_l0, torch.eye(8))
    x = torch.zeros(1, 50, 8)
    _, state = model(torch.ones(1, 1, 8))
    torch.testing.assert_close(model(x, state)[0][:, -1], state.tensors[0][:, 0])


def test_uniform_weights_are_within_a_tenth():
    for name in ("lstm", "gru", "rnn"):
        weights = torch.cat([p.flatten() for p in backbone(name, initialisation="zaremba_2014").parameters()])
        assert weights.abs().max() <= 0.1
        assert weights.abs().max() > 0.099
