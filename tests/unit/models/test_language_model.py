import pytest
import torch

from lm_pipeline.models.language_model import BACKBONES, RECURRENT, build_model, count_parameters
from lm_pipeline.models.loss import IGNORE
from lm_pipeline.models.state import State
from lm_pipeline.models.storage import load_model, save_model
from lm_pipeline.specs.model import CnnModel, GruModel, LstmModel, RnnModel, TransformerModel

SPECS = {
    "rnn": RnnModel(num_layers=2, width=16),
    "lstm": LstmModel(num_layers=2, width=16),
    "gru": GruModel(num_layers=2, width=16),
    "cnn": CnnModel(num_layers=3, width=16, kernel_size=3),
    "transformer": TransformerModel(num_layers=2, width=16, num_heads=2),
}
VOCAB_SIZE = 50
CONTEXT = 12


def test_every_family_is_tested_here():
    assert set(SPECS) == set(BACKBONES)


@pytest.fixture(params=SPECS)
def model(request):
    torch.manual_seed(0)
    model = build_model(SPECS[request.param], VOCAB_SIZE, CONTEXT).eval()
    for parameter in model.parameters():  # a memory that is never written must not pass for one that works
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def tokens(batch_size=3, length=CONTEXT, seed=1):
    return torch.randint(VOCAB_SIZE, (batch_size, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_token_by_token_with_state_equals_the_whole_sequence(model):
    text_BT = tokens()
    whole_BTD, whole_state = model(text_BT)
    state, pieces = None, []
    for t in range(CONTEXT):
        hidden, state = model(text_BT[:, t : t + 1], state)
        pieces.append(hidden)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole_BTD, rtol=1e-5, atol=1e-5)
    assert state is not None
    assert state.position == whole_state.position == CONTEXT
    for ours, theirs in zip(state.tensors, whole_state.tensors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(1, 11), (5, 7), (2, 3, 7)])
def test_pieces_of_any_length_with_state_equal_the_whole_sequence(model, cuts):
    text_BT = tokens()
    state, pieces = None, []
    for piece_BT in text_BT.split(cuts, dim=1):
        hidden, state = model(piece_BT, state)
        pieces.append(hidden)
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(text_BT)[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_no_token_sees_what_follows_it(model):
    text_BT = tokens()
    changed_BT = text_BT.clone()
    changed_BT[:, 7] = (changed_BT[:, 7] + 1) % VOCAB_SIZE
    before, after = model(text_BT)[0], model(changed_BT)[0]
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=0)
    assert not torch.allclose(before[:, 7], after[:, 7])


@torch.no_grad()
def test_a_row_does_not_depend_on_its_neighbours(model):
    text_BT = tokens()
    torch.testing.assert_close(model(text_BT)[0][1:2], model(text_BT[1:2])[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_states_can_be_selected_and_concatenated(model):
    text_BT = tokens(length=6)
    _, state = model(text_BT)
    rows = torch.tensor([2, 0, 0])
    following = tokens(length=2, seed=2)
    selected = model(following, state.select(rows))[0]
    torch.testing.assert_close(selected, model(following, model(text_BT[rows])[1])[0], rtol=1e-5, atol=1e-5)
    halves = [state.select(torch.tensor([0])), state.select(torch.tensor([1, 2]))]
    for ours, theirs in zip(State.concatenate(halves).tensors, state.tensors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_concatenating_states_at_different_positions_is_refused():
    states = [State(1, (torch.zeros(1, 1),)), State(2, (torch.zeros(1, 1),))]
    with pytest.raises(ValueError, match=r"positions \[1, 2\]"):
        State.concatenate(states)


def test_loss_sums_are_those_of_the_logits(model):
    text_BT = tokens(length=CONTEXT)
    targets_BT = tokens(seed=3)
    targets_BT[0, :4] = IGNORE
    nll_sum, count, _ = model.loss_sums(text_BT, targets_BT)
    expected = torch.nn.functional.cross_entropy(
        model.logits(model(text_BT)[0]).flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    assert count == 3 * CONTEXT - 4
    torch.testing.assert_close(nll_sum, expected)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(nll_sum, parameters)
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_fresh_model_is_about_as_good_as_guessing():
    for spec in SPECS.values():
        torch.manual_seed(0)
        model = build_model(spec.model_copy(update={"width": 64}), 500, CONTEXT).eval()
        nll_sum, count, _ = model.loss_sums(torch.randint(500, (8, CONTEXT)), torch.randint(500, (8, CONTEXT)))
        assert abs(nll_sum.item() / count - torch.tensor(500.0).log().item()) < 0.25, spec.family


def test_gradients_reach_every_parameter():
    for spec in SPECS.values():
        model = build_model(spec.model_copy(update={"tie_embeddings": False}), VOCAB_SIZE, CONTEXT)
        model.loss_sums(tokens(), tokens(seed=2))[0].backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters()), spec.family


def test_tied_embeddings_are_counted_and_stored_once():
    tied = build_model(SPECS["lstm"], VOCAB_SIZE, CONTEXT)
    untied = build_model(SPECS["lstm"].model_copy(update={"tie_embeddings": False}), VOCAB_SIZE, CONTEXT)
    assert count_parameters(untied) - count_parameters(tied) == VOCAB_SIZE * 16
    assert "output_weight_VD" not in tied.state_dict()


def test_dropout_acts_in_training_only():
    for spec in SPECS.values():
        model = build_model(spec.model_copy(update={"dropout": 0.5}), VOCAB_SIZE, CONTEXT)
        assert not torch.equal(model(tokens())[0], model(tokens())[0]), spec.family
        model.eval()
        assert torch.equal(model(tokens())[0], model(tokens())[0]), spec.family


def test_only_a_transformer_refuses_a_text_beyond_its_context():
    long = tokens(length=CONTEXT + 1)
    for family, spec in SPECS.items():
        model = build_model(spec, VOCAB_SIZE, CONTEXT)
        if family == "transformer":
            assert model.max_positions == CONTEXT
            with pytest.raises(ValueError, match="13 tokens are more than this Transformer's context of 12"):
                model(long)
        else:
            assert model.max_positions is None
            model(long)


def test_recurrent_families_are_those_with_a_carried_state():
    assert {family for family, spec in SPECS.items() if build_model(spec, 5, 4).is_recurrent} == set(RECURRENT)


@torch.no_grad()
def test_a_stored_model_is_the_same_model(model, tmp_path):
    config = {
        "family": model.spec.family,
        "model": model.spec.model_dump(),
        "vocab_size": VOCAB_SIZE,
        "context_length": CONTEXT,
    }
    save_model(model.state_dict(), config, tmp_path)
    loaded = load_model(tmp_path)
    model.requires_grad_(False)  # torch takes other kernels for weights that want no gradient
    assert torch.equal(loaded(tokens())[0], model(tokens())[0])
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
