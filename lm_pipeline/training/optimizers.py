"""Optimizers: which one updates which weights.

Weight decay is on matrices only, not on biases and norms. Muon (Jordan et al. 2024) orthogonalises the momentum of a
matrix; it is for the matrices inside the backbone, while embeddings, the output layer, biases and norms are AdamW's.
Its rate is scaled by 0.2 sqrt(max(rows, columns)), which makes its updates as large as AdamW's, so that one
`learning_rate` serves both (Liu et al. 2025, "Muon is scalable for LLM training"). All are torch's own, fused where
there is a fused one.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lm_pipeline.specs.training import Training
from lm_pipeline.training.world import fill

Named = Iterable[tuple[str, nn.Parameter]]


def make_optimizers(model: nn.Module, training: Training) -> list[torch.optim.Optimizer]:
    """The optimizers of a model; each trainable weight belongs to exactly one."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    rate, betas, momentum = training.learning_rate, training.betas, training.momentum
    if training.optimizer == "sgd":
        groups = _groups(named, training)
        fused = training.strategy == "ddp"  # torch's fused SGD has no rule for sharded weights
        return [torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=fused)]
    if training.optimizer == "adam":
        return [torch.optim.Adam(_groups(named, training), lr=rate, betas=betas, fused=True)]
    hidden = [(name, p) for name, p in named if training.optimizer == "muon" and _is_hidden_matrix(name, p)]
    names = {name for name, _ in hidden}
    rest = [(name, p) for name, p in named if name not in names]
    optimizers: list[torch.optim.Optimizer] = []
    if rest:  # adapters of a frozen model are matrices of the backbone, all of them
        optimizers.append(torch.optim.AdamW(_groups(rest, training), lr=rate, betas=betas, fused=True))
    if hidden:
        optimizers.append(
            torch.optim.Muon(
                [p for _, p in hidden],
                lr=rate,
                weight_decay=training.weight_decay,
                momentum=momentum,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimizers


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.dim() == 2 and name.startswith("backbone.") and "position" not in name


def _groups(named: Named, training: Training) -> list[dict[str, Any]]:
    parameters = [p for _, p in named]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def clip(optimizers: Iterable[torch.optim.Optimizer], norm: Tensor, max_norm: float | None) -> None:
    """Have gradients divided so that their global norm is at most `max_norm`.

    Fused optimizers divide in the pass that reads them anyway: a pass of its own would take 1 % of the step of an LSTM
    of 4 M parameters. The others, Muon and SGD of sharded weights, have none to do it in.

    Args:
        optimizers: those that will make the next step.
        norm: of all gradients together.
        max_norm: None for any.
    """
    scale = None if max_norm is None else (norm / max_norm).clamp(min=1.0)
    for optimizer in optimizers:
        if optimizer.defaults.get("fused"):
            optimizer.grad_scale = scale  # type: ignore[attr-defined] # read by torch's own scaler, which declares none
        elif scale is not None:
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_div_(gradients, scale)  # pyright: ignore[reportPrivateImportUsage]


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Give every weight this rate from the next step on."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def optimizer_tensors(optimizers: Iterable[torch.optim.Optimizer], model: nn.Module) -> dict[str, Tensor]:
    """All moments as tensors named `<optimizer>.<moment>.<parameter>`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{number}.{moment}.{names[parameter]}": tensor
        for number, optimizer in enumerate(optimizers)
        for parameter, moments in optimizer.state.items()
        for moment, tensor in moments.items()
        if tensor is not None
    }


def restore_optimizers(
    optimizers: Iterable[torch.optim.Optimizer], model: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave."""
    parameters = dict(model.named_parameters())
    for number, optimizer in enumerate(optimizers):
        optimizer.state.clear()
        for name, tensor in tensors.items():
            owner, moment, parameter = name.split(".", 2)
            if int(owner) == number:
                target = parameters[parameter]
                kept = torch.empty_like(target) if tensor.shape == target.shape else torch.empty_like(tensor)
                fill(kept, tensor)
                optimizer.state[target][moment] = kept.to(target.device)
