import pytest
import torch
from torch.nn import functional as F

from lm_pipeline.models import loss
from lm_pipeline.models.loss import (
    IGNORE,
    Penalties,
    linear_cross_entropy,
    penalized_cross_entropy,
    token_losses,
)

SHAPES = {"hidden": "ND", "weight": "VD", "bias": "V", "targets": "N"}


def problem(num_tokens=37, width=8, vocab_size=23, scale=1.0):
    torch.manual_seed(0)
    hidden = (scale * torch.randn(num_tokens, width)).requires_grad_()
    weight = torch.randn(vocab_size, width, requires_grad=True)
    bias = torch.randn(vocab_size, requires_grad=True)
    targets = torch.randint(vocab_size, (num_tokens,))
    targets[::5] = IGNORE
    return hidden, weight, bias, targets


@pytest.mark.parametrize("chunk_logits", [1, 100, 1 << 20])
def test_value_and_gradients_are_those_of_torch_whatever_the_chunk(chunk_logits, monkeypatch):
    monkeypatch.setattr(loss, "CHUNK_LOGITS", chunk_logits)
    hidden, weight, bias, targets = problem()
    ours = linear_cross_entropy(hidden, weight, bias, targets)
    theirs = F.cross_entropy(F.linear(hidden, weight, bias), targets, ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(ours, theirs)
    expected = torch.autograd.grad(theirs * 0.3, (hidden, weight, bias))
    for gradient, reference in zip(torch.autograd.grad(ours * 0.3, (hidden, weight, bias)), expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("learning", ["hidden", "weight", "bias", "hidden and bias"])
def test_what_is_frozen_costs_no_gradient_and_changes_no_other(learning):
    tensors = dict(zip(("hidden", "weight", "bias", "targets"), problem(), strict=True))
    for name in ("hidden", "weight", "bias"):
        tensors[name] = tensors[name].detach().requires_grad_(name in learning)
    linear_cross_entropy(**{f"{name}_{shape}": tensors[name] for name, shape in SHAPES.items()}).backward()
    hidden, weight, bias, targets = problem()
    linear_cross_entropy(hidden, weight, bias, targets).backward()
    for name, reference in (("hidden", hidden), ("weight", weight), ("bias", bias)):
        found = tensors[name].grad
        assert (found is None) == (name not in learning)
        assert found is None or torch.equal(found, reference.grad)


def test_huge_logits_neither_overflow_nor_lose_the_loss():
    hidden, weight, bias, targets = problem(scale=1e4)
    ours = linear_cross_entropy(hidden, weight, bias, targets)
    theirs = F.cross_entropy(F.linear(hidden, weight, bias), targets, ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(ours, theirs)


def test_nothing_but_ignored_targets_costs_nothing():
    hidden, weight, bias, targets = problem()
    total = linear_cross_entropy(hidden, weight, bias, torch.full_like(targets, IGNORE))
    total.backward()
    assert total.item() == 0
    assert hidden.grad is not None
    assert hidden.grad.abs().sum() == 0


def test_a_hidden_state_that_is_not_a_number_makes_the_loss_not_a_number():
    hidden, weight, bias, targets = problem()
    hidden.data[1, 0] = float("nan")
    assert linear_cross_entropy(hidden, weight, bias, targets).isnan()


@pytest.mark.parametrize("num_chunks", [1, 16, 17, 800])
def test_gradients_in_bfloat16_lose_nothing_over_many_chunks(num_chunks, monkeypatch):
    """All terms have one sign: added up in bfloat16, they would no longer move a sum 256 times as large."""
    torch.manual_seed(0)
    vocab_size, width, rows = 64, 8, 2
    monkeypatch.setattr(loss, "CHUNK_LOGITS", rows * vocab_size)
    targets = torch.zeros(num_chunks * rows, dtype=torch.int64)
    values = torch.rand(len(targets), width), torch.randn(vocab_size, width), torch.randn(vocab_size)
    low, exact = (
        [t.bfloat16().to(dtype).requires_grad_() for t in values] for dtype in (torch.bfloat16, torch.float32)
    )
    linear_cross_entropy(*low, targets).backward()
    linear_cross_entropy(*exact, targets).backward()
    for name, ours, reference in zip(("hidden", "weight", "bias"), low, exact, strict=True):
        assert ours.grad.dtype == torch.bfloat16, name
        error = (ours.grad.float() - reference.grad).norm() / reference.grad.norm()
        assert error < 4e-3, name  # a bfloat16 is right to 2^-8


def test_bfloat16_autocast_stays_near_float32_and_gives_float32_gradients():
    hidden, weight, bias, targets = problem()
    exact = linear_cross_entropy(hidden, weight, bias, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = linear_cross_entropy(hidden, weight, bias, targets)
    torch.testing.assert_close(rounded, exact, rtol=2e-2, atol=0)
    rounded.backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_token_losses_sum_to_the_loss():
    hidden, weight, bias, targets = problem()
    each = token_losses(F.linear(hidden, weight, bias), targets)
    assert (each[targets == IGNORE] == 0).all()
    torch.testing.assert_close(each.sum(), linear_cross_entropy(hidden, weight, bias, targets))


@pytest.mark.parametrize(("smoothing", "z_loss"), [(0.1, 0.0), (0.0, 1e-2), (0.2, 1e-3)])
def test_penalties_are_those_of_torch_and_the_likelihood_is_reported_without_them(smoothing, z_loss):
    inputs = problem()
    objective, nll = penalized_cross_entropy(*inputs, Penalties(smoothing, z_loss))
    hidden, weight, bias, targets = inputs
    logits = F.linear(hidden, weight, bias)
    theirs = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
    theirs = theirs + z_loss * logits.logsumexp(dim=1)[targets != IGNORE].square().sum()
    torch.testing.assert_close(objective, theirs)
    torch.testing.assert_close(nll, linear_cross_entropy(*inputs))
    assert not nll.requires_grad
    expected = torch.autograd.grad(theirs * 0.3, (hidden, weight, bias))
    for ours, reference in zip(torch.autograd.grad(objective * 0.3, (hidden, weight, bias)), expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-6)
