import pytest
import torch
from torch.nn import functional as F

from lm_pipeline.models.norms import RmsNorm


@pytest.fixture
def norm():
    torch.manual_seed(0)
    found = RmsNorm(16, eps=1e-5)
    torch.nn.init.normal_(found.weight)
    return found


@pytest.mark.parametrize(("name", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_it_is_torchs_forwards_and_backwards(norm, name, tolerance):
    norm = norm.to(getattr(torch, name))
    x = (torch.randn(3, 5, 16) * torch.tensor([1e-3, 1.0, 1e3]).view(3, 1, 1)).to(norm.weight.dtype).requires_grad_()
    ours, theirs = norm(x), F.rms_norm(x, (16,), norm.weight, 1e-5)
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    towards = torch.randn_like(x)
    gradients, expected = (torch.autograd.grad(y, (x, norm.weight), towards) for y in (ours, theirs))
    torch.testing.assert_close(gradients, expected, rtol=10 * tolerance, atol=10 * tolerance)


def test_weights_that_are_frozen_get_no_gradient(norm):
    norm.requires_grad_(False)
    x = torch.randn(2, 16, requires_grad=True)
    norm(x).sum().backward()
    assert norm.weight.grad is None
    (expected,) = torch.autograd.grad(F.rms_norm(x, (16,), norm.weight, 1e-5).sum(), x)
    torch.testing.assert_close(x.grad, expected)


def test_without_gradients_it_is_torchs_own(norm):
    x = torch.randn(2, 16)
    with torch.no_grad():
        assert torch.equal(norm(x), F.rms_norm(x, (16,), norm.weight, 1e-5))
