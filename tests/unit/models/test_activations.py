import pytest
import torch
from torch.nn import functional as F

from lm_pipeline.models.activations import gelu_tanh, swiglu


@pytest.mark.parametrize(("name", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("bfloat16", 2e-2)])
def test_gelu_tanh_is_torchs_forwards_and_backwards(name, tolerance):
    dtype = getattr(torch, name)
    x = torch.cat((torch.linspace(-12, 12, 401), torch.tensor([-1e4, 0.0, 1e4]))).to(dtype).requires_grad_()
    ours, theirs = gelu_tanh(x), F.gelu(x, approximate="tanh")
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    towards = torch.linspace(-1, 1, len(x)).to(dtype)
    (gradient,), (expected,) = (torch.autograd.grad(y, x, towards) for y in (ours, theirs))
    torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=tolerance)
    assert gradient.isfinite().all()


def test_without_gradients_it_is_torchs_own():
    x = torch.randn(5)
    with torch.no_grad():
        assert torch.equal(gelu_tanh(x), F.gelu(x, approximate="tanh"))


def test_swiglu_gates_the_second_half_by_the_first_one():
    gate, gated = torch.randn(2, 3, 4)
    torch.testing.assert_close(swiglu(torch.cat((gate, gated), dim=1)), gate * gate.sigmoid() * gated)
