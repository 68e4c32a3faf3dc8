"""What a model is and costs, before anything is run: layers, parameters, FLOPs, memory, disk, time.

Counts come from the model itself, built without memory on torch's meta device. Activations are measured, not guessed:
what autograd keeps for the backward pass of one row, in models of one and of two layers, gives every depth.

Shapes: T context length, V vocabulary.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lm_pipeline.models.language_model import (
    LanguageModel,
    NeuralSpec,
    build_model,
    count_parameters,
    published_weights,
)
from lm_pipeline.specs.training import Training

BYTES = 4
"""Of a float32, in which weights, gradients and moments are kept whatever the forward pass computes in."""

TYPICAL_UTILISATION = 0.4
"""Share of a machine's peak that training reaches in practice; the figure is for orientation."""


def describe_model(
    spec: NeuralSpec,
    training: Training,
    vocab_size: int,
    peak_flops: float,
    memory_bandwidth: float,
    num_devices: int = 1,
) -> dict[str, Any]:
    """The description of an experiment's model.

    Args:
        spec: the model.
        training: how it is trained.
        vocab_size: pieces.
        peak_flops: floating-point operations per second that a device reaches at best.
        memory_bandwidth: bytes per second that it reads from memory at best.
        num_devices: devices that train side by side: a GPU for each process; a machine's CPU is one.

    Returns:
        {"layers": [{"name", "shape", "parameters"}], "parameters": numbers, tied and shared ones once,
        "trained_parameters": those of them that are not frozen, "flops_per_token": {"forward", "training"},
        "memory_bytes": of each process, which with fsdp2 holds a part of the first four: {"weights", "gradients",
            "optimizer": its moments, "average": of the weights, "activations": of a micro-batch, "output": of the loss,
            "training": their sum, "state_per_row": of T tokens, the key-value cache or recurrent state, "inference":
            all weights and the state of one row},
        "disk_bytes": {"model": the published weights, "checkpoint": a saved state of a training},
        "training": {"tokens", "flops", "seconds_at_peak", "seconds_typical"},
        "inference": {"prefill_tokens_per_second": at peak, "decode_tokens_per_second": of one row: every token reads
            all weights},
        "peak_flops", "memory_bandwidth": as given}.
    """
    with torch.device("meta"):
        model = build_model(spec, vocab_size, training.context_length)
    parameters, trained = sum(p.numel() for p in model.parameters()), count_parameters(model)
    weights = parameters * BYTES
    published = BYTES * sum(tensor.numel() for tensor in published_weights(model).values())
    rows = -(-training.batch_size // (training.accumulation * training.num_processes))
    parts = training.num_processes if training.strategy == "fsdp2" else 1
    activations, state = measure_row(spec, training.context_length)
    width = spec.embedding_rank or spec.width
    # The loss keeps the gradient of its input and of the output matrix (see `models.loss`), and no logits.
    targets = math.ceil(rows * training.context_length * model.target_fraction)
    output = BYTES * width * (targets + (vocab_size if model.output_matrix.requires_grad else 0))
    forward = 2 * model.macs_per_token()
    tokens = training.num_steps * training.batch_size * training.context_length
    flops = tokens * model.flops_per_token()
    optimizer = BYTES * optimizer_numbers(model, training)
    memory = {
        "weights": -(-weights // parts),
        "gradients": -(-trained * BYTES // parts),
        "optimizer": -(-optimizer // parts),
        "average": 0 if training.average_decay is None else -(-weights // parts),
        "activations": rows * activations,
        "output": output,
    }
    decode_seconds = max(forward / peak_flops, (weights + state) / memory_bandwidth)
    return {
        "layers": layer_table(model),
        "parameters": parameters,
        "trained_parameters": trained,
        "flops_per_token": {"forward": forward, "training": model.flops_per_token()},
        "memory_bytes": memory
        | {"training": sum(memory.values()), "state_per_row": state, "inference": weights + state},
        "disk_bytes": {
            "model": published,
            "checkpoint": weights * (1 + (training.average_decay is not None))
            + (published if training.keep == "best" else 0)
            + optimizer,
        },
        "training": {
            "tokens": tokens,
            "flops": flops,
            "seconds_at_peak": flops / (peak_flops * num_devices),
            "seconds_typical": flops / (peak_flops * num_devices) / TYPICAL_UTILISATION,
        },
        "inference": {
            "prefill_tokens_per_second": peak_flops / forward,
            "decode_tokens_per_second": 1 / decode_seconds,
        },
        "peak_flops": peak_flops,
        "memory_bandwidth": memory_bandwidth,
    }


def optimizer_numbers(model: nn.Module, training: Training) -> int:
    """Numbers that the optimizers keep of the weights: none, one or two moments of each (see `training.optimizers`)."""
    total = 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        moments = 2
        if training.optimizer == "sgd":
            moments = 1 if training.momentum else 0
        elif training.optimizer == "muon" and parameter.dim() == 2 and name.startswith("backbone."):
            moments = 2 if "position" in name else 1
        total += moments * parameter.numel()
    return total


def layer_table(model: nn.Module) -> list[dict[str, Any]]:
    """Every tensor of weights: name, shape, numbers; tied and shared ones once."""
    return [
        {"name": name, "shape": list(parameter.shape), "parameters": parameter.numel()}
        for name, parameter in model.named_parameters()
    ]


def measure_row(spec: NeuralSpec, context_length: int) -> tuple[int, int]:
    """Bytes that one row of T tokens keeps for the backward pass, and bytes of its state.

    Both grow by the same amount with each layer, so one and two layers tell all. The vocabulary has no part in it.
    """
    one, two = (_measure(spec.model_copy(update={"num_layers": layers}), context_length) for layers in (1, 2))
    further = spec.num_layers - 1
    return one[0] + further * (two[0] - one[0]), one[1] + further * (two[1] - one[1])


def _measure(spec: NeuralSpec, context_length: int) -> tuple[int, int]:
    with torch.random.fork_rng():
        model = build_model(spec, 8, context_length).train()
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        own |= {buffer.untyped_storage().data_ptr() for buffer in model.buffers()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            hidden_BTD, state = model(torch.zeros(1, context_length, dtype=torch.int64))
    del hidden_BTD  # until here, so that no storage's address was used twice
    return sum(kept.values()), sum(tensor.numel() * BYTES for tensor in state.tensors)


def gradient_norms(model: LanguageModel, tokens_BT: Tensor) -> list[float]:
    """How strongly each token acts on the prediction after the last one: what vanishes in an RNN and not in an LSTM.

    The norm of the gradient of the last position's loss by the embedding of each token, a mean over rows. Bengio et
    al. 1994; Pascanu et al. 2013.

    Args:
        model: a causal model; dropout is left off.
        tokens_BT: texts; the loss is that of the last token, given all others.

    Returns:
        T - 1 norms; the last one is that of the token just before the target.
    """
    was_training = model.training
    model.eval()
    embedded_BTD = model.embed(tokens_BT[:, :-1]).detach().requires_grad_()
    hidden_BTD, _ = model.backbone(embedded_BTD)
    loss = nn.functional.cross_entropy(model.logits(hidden_BTD[:, -1]), tokens_BT[:, -1], reduction="sum")
    (gradient_BTD,) = torch.autograd.grad(loss, embedded_BTD)
    model.train(was_training)
    return gradient_BTD.norm(dim=2).mean(dim=0).tolist()
