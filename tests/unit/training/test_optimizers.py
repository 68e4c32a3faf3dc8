import pytest
import torch

from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.model import Lora, TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training.optimizers import (
    clip,
    make_optimizers,
    optimizer_tensors,
    restore_optimizers,
    set_learning_rate,
)

OPTIMIZERS = ("adamw", "adam", "sgd", "muon")


FORMS = {"whole": None, "adapted": Lora(rank=2)}


@pytest.fixture(params=["whole"])
def model(request):
    torch.manual_seed(0)
    return build_model(TransformerModel(num_layers=2, width=16, num_heads=2, lora=FORMS[request.param]), 40, 8)


def trainable(model):
    return [p for p in model.parameters() if p.requires_grad]


def step(model, optimizers):
    tokens = torch.arange(32).view(4, 8)
    model.loss_sums(tokens, tokens + 1)[0].backward()
    for optimizer in optimizers:
        optimizer.step()
    model.zero_grad()


@pytest.mark.parametrize("model", FORMS, indirect=True)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_trainable_weight_has_one_optimizer_and_learns(name, model):
    optimizers = make_optimizers(model, Training(optimizer=name, learning_rate=0.01))
    owned = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert len(owned) == len(set(owned)) == len(trainable(model))
    before = [p.clone() for p in trainable(model)]
    for _ in range(2):  # what an adapter multiplies is zero at first, so the other factor moves from the second step on
        step(model, optimizers)
    assert all((p != old).any() for p, old in zip(trainable(model), before, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_touches_matrices_only(name, model):
    for optimizer in make_optimizers(model, Training(optimizer=name, weight_decay=0.3)):
        for group in optimizer.param_groups:
            assert {p.dim() > 1 for p in group["params"]} == {group["weight_decay"] > 0}


def test_muon_has_the_backbones_matrices_and_adamw_the_rest(model):
    adamw, muon = make_optimizers(model, Training(optimizer="muon"))
    names = {parameter: name for name, parameter in model.named_parameters()}
    of_muon = {names[p] for group in muon.param_groups for p in group["params"]}
    of_adamw = {names[p] for group in adamw.param_groups for p in group["params"]}
    assert of_muon == {name for name, p in model.named_parameters() if name.startswith("backbone.") and p.dim() == 2}
    assert "embedding.weight" in of_adamw


def test_updates_of_muon_are_as_large_as_those_of_adamw(model):
    """0.2 per element on average, times the learning rate: that is what one rate for both needs."""
    optimizers = make_optimizers(model, Training(optimizer="muon", learning_rate=0.01, weight_decay=0.0))
    matrices = [p for group in optimizers[1].param_groups for p in group["params"]]
    before = [p.clone() for p in matrices]
    step(model, optimizers)
    for matrix, old in zip(matrices, before, strict=True):
        assert (matrix - old).square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.35)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_restored_moments_go_on_bitwise(name, model):
    training = Training(optimizer=name, learning_rate=0.01)
    optimizers = make_optimizers(model, training)
    step(model, optimizers)
    kept = {key: tensor.clone() for key, tensor in optimizer_tensors(optimizers, model).items()}
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    assert kept
    step(model, optimizers)
    straight = {key: tensor.clone() for key, tensor in model.state_dict().items()}

    model.load_state_dict(weights)
    fresh = make_optimizers(model, training)
    restore_optimizers(fresh, model, kept)
    step(model, fresh)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, straight[key]), key


def test_the_rate_reaches_every_weight(model):
    optimizers = make_optimizers(model, Training(optimizer="muon"))
    set_learning_rate(optimizers, 0.5)
    assert {group["lr"] for optimizer in optimizers for group in optimizer.param_groups} == {0.5}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"optimizer": "sgd", "betas": (0.5, 0.9)}, "betas"),
        ({"optimizer": "adamw", "momentum": 0.5}, "momentum"),
        ({"schedule": "cosine", "decay_fraction": 0.5}, "decay_fraction"),
        ({"max_snapshot_megabytes": 5}, "max_snapshot_megabytes"),
        ({"num_buckets": 4}, "num_buckets"),
    ],
)
def test_a_setting_that_nothing_would_read_is_refused(settings, named):
    with pytest.raises(ValueError, match=rf"{named} is .* only read where"):
        Training(**settings)


@pytest.mark.parametrize("times", [10.0, 0.1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_are_clipped_as_torch_clips_them(name, times, model):
    optimizers = make_optimizers(model, Training(optimizer=name, learning_rate=0.01, weight_decay=0.0))
    before = [p.detach().clone() for p in trainable(model)]

    def moved(clip_them):
        for parameter, value in zip(trainable(model), before, strict=True):
            parameter.data.copy_(value)
        for optimizer in optimizers:
            optimizer.state.clear()
        for scale in (1.0, times):  # the second step's gradients are so many times as large as the norm that is allowed
            generator = torch.Generator().manual_seed(3)
            for parameter in trainable(model):
                parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
            gradients = [p.grad for p in trainable(model)]
            clip_them(torch.nn.utils.get_total_norm(gradients))
            for optimizer in optimizers:
                optimizer.step()
        return [p.detach().clone() for p in trainable(model)]

    generator = torch.Generator().manual_seed(3)
    largest = torch.nn.utils.get_total_norm(
        [torch.randn(p.shape, generator=generator) for p in trainable(model)]
    ).item()
    ours = moved(lambda norm: clip(optimizers, norm, largest))
    clip(optimizers, torch.ones(()), None)
    theirs = moved(lambda norm: torch.nn.utils.clip_grads_with_norm_(trainable(model), largest, norm))
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
