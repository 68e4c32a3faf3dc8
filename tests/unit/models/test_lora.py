"""Adapters start as the model itself, learn alone, and merge into equal logits."""

import pytest
import torch
from pydantic import ValidationError

from lm_pipeline.errors import InputError
from lm_pipeline.models.language_model import (
    build_model,
    count_parameters,
    published_spec,
    published_weights,
)
from lm_pipeline.models.lora import LowRankLinear, load_base
from lm_pipeline.specs.experiment import ExperimentSpec
from lm_pipeline.specs.model import Lora, TransformerModel
from tests.unit.models.model_families import CONTEXT, SPECS, VARIANTS, VOCAB_SIZE, tokens

ADAPTED = {
    name: (SPECS | VARIANTS)[name].model_copy(update={"lora": Lora(rank=2, targets=targets)})
    for name, targets in {
        "gpt2": ("qkv", "out", "up", "down"),
        "llama": ("qkv",),
        "encoder": ("qkv", "down"),
        "albert": ("up", "out"),
    }.items()
}


def plain_and_adapted(name):
    torch.manual_seed(0)
    plain = build_model(published_spec(ADAPTED[name]), VOCAB_SIZE, CONTEXT).eval()
    adapted = build_model(ADAPTED[name], VOCAB_SIZE, CONTEXT).eval()
    load_base(adapted, plain.state_dict())
    return plain, adapted


@torch.no_grad()
@pytest.mark.parametrize("name", ADAPTED)
def test_fresh_adapters_change_nothing(name):
    plain, adapted = plain_and_adapted(name)
    assert any(isinstance(layer, LowRankLinear) for layer in adapted.modules())
    assert torch.equal(adapted(tokens())[0], plain(tokens())[0])


@pytest.mark.parametrize("name", ADAPTED)
def test_trained_adapters_merge_into_equal_logits_and_the_frozen_weights_stay(name):
    plain, adapted = plain_and_adapted(name)
    frozen = {key: p.clone() for key, p in adapted.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(30):
        nll_sum, count, _ = adapted.train().loss_sums(tokens(), tokens(seed=2))
        (nll_sum / count).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(nll_sum.item() / count)
    assert losses[-1] < losses[0] - 0.05
    assert all(torch.equal(p, frozen[key]) for key, p in adapted.named_parameters() if key in frozen)
    merged = build_model(published_spec(ADAPTED[name]), VOCAB_SIZE, CONTEXT).eval()
    merged.load_state_dict(published_weights(adapted))
    with torch.no_grad():
        expected = adapted.eval().logits(adapted(tokens())[0])
        torch.testing.assert_close(merged.logits(merged(tokens())[0]), expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(plain.logits(plain(tokens())[0]), expected, atol=1e-2)


@pytest.mark.parametrize("name", ADAPTED)
def test_only_adapters_are_trained_and_they_are_few(name):
    _, adapted = plain_and_adapted(name)
    trained = [key for key, p in adapted.named_parameters() if p.requires_grad]
    assert all(key.endswith(("down_RI", "up_OR")) for key in trained)
    assert count_parameters(adapted) == sum(
        2 * (layer.base.in_features + layer.base.out_features)
        for layer in adapted.modules()
        if isinstance(layer, LowRankLinear)
    )


def test_it_is_the_formula_of_the_paper():
    layer = torch.nn.Linear(5, 3)
    adapted = LowRankLinear(layer, Lora(rank=2, alpha=6))
    adapted.up_OR.data.normal_()
    x = torch.randn(4, 5)
    expected = x @ (layer.weight + 6 / 2 * adapted.up_OR @ adapted.down_RI).T + layer.bias
    torch.testing.assert_close(adapted(x), expected)
    torch.testing.assert_close(adapted.weight, layer.weight + 3 * adapted.up_OR @ adapted.down_RI)


def test_dropout_is_on_the_adapter_alone():
    adapted = LowRankLinear(torch.nn.Linear(5, 3), Lora(rank=2, alpha=2, dropout=0.5)).train()
    adapted.up_OR.data.normal_()
    x = torch.randn(4, 5)
    torch.manual_seed(0)
    dropped = torch.nn.functional.dropout(x, 0.5)
    torch.manual_seed(0)
    torch.testing.assert_close(adapted(x), adapted.base(x) + dropped @ (adapted.up_OR @ adapted.down_RI).T)
    torch.testing.assert_close(adapted.eval()(x), adapted.base(x) + x @ (adapted.up_OR @ adapted.down_RI).T)


def test_a_base_of_another_shape_is_refused_by_name():
    plain, adapted = plain_and_adapted("gpt2")
    weights = plain.state_dict()
    with pytest.raises(InputError, match=r"1 differ, the first is 'backbone\.norm\.weight'"):
        load_base(adapted, {key: value for key, value in weights.items() if key != "backbone.norm.weight"})
    with pytest.raises(InputError, match=r"'embedding\.weight'"):
        load_base(adapted, weights | {"embedding.weight": torch.zeros(VOCAB_SIZE, 8)})


def test_adapters_without_a_base_are_refused():
    model = {"family": "transformer", "lora": {"rank": 4}}
    with pytest.raises(ValidationError, match="name the experiment that they are from"):
        ExperimentSpec.model_validate({"dataset": "d", "model": model})
    assert ExperimentSpec.model_validate({"dataset": "d", "model": model, "base": "other"}).base == "other"
    with pytest.raises(ValidationError, match="leave `base` out"):
        ExperimentSpec.model_validate({"dataset": "d", "model": {"family": "ngram"}, "base": "other"})
    with pytest.raises(ValidationError, match="qvk"):
        TransformerModel.model_validate({"lora": {"targets": ["qvk"]}})


def test_learned_positions_are_cut_and_a_longer_context_is_refused_with_the_number():
    spec = TransformerModel(form="gpt2", num_layers=1, width=16, num_heads=2)
    base = build_model(spec, VOCAB_SIZE, 16)
    shorter = build_model(spec, VOCAB_SIZE, 8)
    load_base(shorter, base.state_dict())
    assert torch.equal(shorter.backbone.positions.table_TD, base.backbone.positions.table_TD[:8])
    with pytest.raises(InputError, match=r"for 16 tokens, and .* is 32: .* Set `training: \{context_length: 16\}`"):
        load_base(build_model(spec, VOCAB_SIZE, 32), base.state_dict())
