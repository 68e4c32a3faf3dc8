import pytest
import torch
from torch import nn

from lm_pipeline.training.averaging import averaged, begin_average, update_average


def test_the_average_is_the_recursion_with_its_decay_warmed_up():
    layer = nn.Linear(2, 3)
    average = begin_average(layer)
    expected = layer.weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            layer.weight.add_(torch.randn(3, 2))
        update_average(average, layer, 0.7, step)
        decay = min(0.7, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
    torch.testing.assert_close(average["weight"], expected)


def test_the_model_computes_with_the_average_only_meanwhile():
    layer = nn.Linear(2, 2)
    average = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
    weights = layer.weight.detach().clone()

    def compute_and_fail():
        with averaged(layer, average):
            assert (layer(torch.ones(2)) == 0).all()
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        compute_and_fail()
    assert torch.equal(layer.weight, weights)
    with averaged(layer, None):
        assert torch.equal(layer.weight, weights)
