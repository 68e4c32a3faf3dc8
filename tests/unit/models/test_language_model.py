import pytest
import torch

from lm_pipeline.models.language_model import BACKBONES, RECURRENT, build_model, count_parameters
from lm_pipeline.models.loss import IGNORE
from lm_pipeline.models.state import State
from lm_pipeline.models.storage import load_model, save_model
from lm_pipeline.specs.model import TransformerModel
from tests.unit.models.model_families import CAUSAL, CONTEXT, SPECS, VARIANTS, VOCAB_SIZE, tokens


def test_every_family_is_tested_here():
    assert set(SPECS) == set(BACKBONES)


@pytest.fixture(params=CAUSAL)
def model(request):
    torch.manual_seed(0)
    model = build_model(CAUSAL[request.param], VOCAB_SIZE, CONTEXT).eval()
    for parameter in model.parameters():  # a memory that is never written must not pass for one that works
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


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
    for name, spec in (SPECS | VARIANTS).items():
        torch.manual_seed(0)
        model = build_model(spec.model_copy(update={"width": 64}), 500, CONTEXT).eval()
        # Vaswani et al.'s tied embeddings give logits of unit variance, which costs half a nat.
        allowed = 0.7 if spec.initialisation == "glorot_2010" else 0.25
        nll_sum, count, _ = model.loss_sums(torch.randint(500, (8, CONTEXT)), torch.randint(500, (8, CONTEXT)))
        assert abs(nll_sum.item() / count - torch.tensor(500.0).log().item()) < allowed, name


def test_gradients_reach_every_parameter():
    for variant, spec in (SPECS | VARIANTS).items():
        model = build_model(spec.model_copy(update={"tie_embeddings": False}), VOCAB_SIZE, CONTEXT)
        model.loss_sums(tokens(), tokens(seed=2))[0].backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{variant}: {name}"
            assert parameter.grad.abs().sum() > 0, f"{variant}: {name}"


def test_tied_embeddings_are_counted_and_stored_once():
    tied = build_model(SPECS["lstm"], VOCAB_SIZE, CONTEXT)
    untied = build_model(SPECS["lstm"].model_copy(update={"tie_embeddings": False}), VOCAB_SIZE, CONTEXT)
    assert count_parameters(untied) - count_parameters(tied) == VOCAB_SIZE * 16
    assert "output_weight_VE" not in tied.state_dict()


def test_dropout_acts_in_training_only():
    for spec in SPECS.values():
        model = build_model(spec.model_copy(update={"dropout": 0.5}), VOCAB_SIZE, CONTEXT)
        assert not torch.equal(model(tokens())[0], model(tokens())[0]), spec.family
        model.eval()
        assert torch.equal(model(tokens())[0], model(tokens())[0]), spec.family


def test_only_attention_refuses_a_text_beyond_its_context():
    long = tokens(length=CONTEXT + 1)
    for family, spec in SPECS.items():
        model = build_model(spec, VOCAB_SIZE, CONTEXT)
        if family in ("transformer", "encoder"):
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


def test_an_encoder_sees_what_follows_and_cannot_carry_on():
    model = build_model(SPECS["encoder"], VOCAB_SIZE, CONTEXT).eval()
    text_BT = tokens()
    changed_BT = text_BT.clone()
    changed_BT[:, 7] = (changed_BT[:, 7] + 1) % VOCAB_SIZE
    before, state = model(text_BT)
    assert not torch.allclose(before[:, :7], model(changed_BT)[0][:, :7])
    assert model.is_bidirectional
    with pytest.raises(ValueError, match="reads a text whole"):
        model(text_BT, state)


def test_embeddings_of_low_rank_cost_rank_times_vocabulary_and_width():
    full = build_model(SPECS["transformer"], VOCAB_SIZE, CONTEXT)
    low = build_model(SPECS["transformer"].model_copy(update={"embedding_rank": 6}), VOCAB_SIZE, CONTEXT)
    assert count_parameters(full) - count_parameters(low) == VOCAB_SIZE * 16 - (VOCAB_SIZE * 6 + 2 * 6 * 16)


def test_shared_layers_are_one_set_of_weights_read_as_often_as_there_are_layers():
    one = build_model(SPECS["transformer"].model_copy(update={"num_layers": 1}), VOCAB_SIZE, CONTEXT).eval()
    shared_spec = SPECS["transformer"].model_copy(update={"num_layers": 3, "share_layers": True})
    shared = build_model(shared_spec, VOCAB_SIZE, CONTEXT).eval()
    assert count_parameters(shared) == count_parameters(one)
    deep = build_model(shared_spec.model_copy(update={"share_layers": False}), VOCAB_SIZE, CONTEXT).eval()
    for block in deep.backbone.blocks:
        block.load_state_dict(shared.backbone.blocks[0].state_dict())
    deep.embedding.load_state_dict(shared.embedding.state_dict())
    torch.testing.assert_close(deep(tokens())[0], shared(tokens())[0], rtol=0, atol=0)
    assert deep.macs_per_token() == shared.macs_per_token()


def test_without_an_output_bias_the_unigram_start_changes_nothing():
    model = build_model(VARIANTS["gpt2"], VOCAB_SIZE, CONTEXT)
    model.begin_as_unigram(torch.arange(VOCAB_SIZE))
    assert model.output_bias_V.abs().sum() == 0
    assert "output_bias_V" not in model.state_dict()


def test_forms_set_what_is_not_given_and_nothing_else():
    llama = TransformerModel(form="llama", width=64, num_layers=4, attention_bias=True)
    assert (llama.norm, llama.activation, llama.positions, llama.mlp_bias) == ("rms", "swiglu", "rotary", False)
    assert (llama.attention_bias, llama.num_layers, llama.mlp_width) == (True, 4, 171)
    assert TransformerModel.model_validate(llama.model_dump()) == llama
    assert TransformerModel(form="gpt2").positions == "learned"
