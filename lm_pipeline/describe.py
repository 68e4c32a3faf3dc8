"""An experiment's model described before it is trained: what `lm-pipeline describe` prints. Imports torch."""

from typing import Any

import torch

from lm_pipeline.artifacts import Store
from lm_pipeline.cublas import fix_workspace
from lm_pipeline.errors import InputError, MissingArtifactError, nearest
from lm_pipeline.models.description import describe_model, gradient_norms
from lm_pipeline.models.huggingface.model import form_of
from lm_pipeline.models.language_model import RECURRENT, LanguageModel, NeuralSpec, build_model
from lm_pipeline.models.storage import load_model
from lm_pipeline.project import Project
from lm_pipeline.specs.model import NgramModel
from lm_pipeline.specs.pretrained import Pretrained
from lm_pipeline.specs.training import Training
from lm_pipeline.training.choices import DTYPES, MIN_GAIN, product_seconds
from lm_pipeline.training.measurements import PEAK_SIZES, matmul_seconds, memory_bandwidth
from lm_pipeline.training.snapshots import snapshot_room, snapshot_steps

GRADIENT_ROWS = 16
"""Texts that the diagnostic of gradients is a mean over."""


def describe_experiment(
    project: Project, experiment: str, *, gradients: bool = False, peak_flops: float | None = None
) -> dict[str, Any]:
    """Layers and costs of an experiment's model, on this machine.

    Args:
        project: where it is declared; nothing needs to be materialized.
        experiment: its name.
        gradients: also say how far back a prediction's gradient reaches, at the start and, if it is trained, at the
            end.
        peak_flops: floating-point operations per second of the machine; None measures this one.

    Returns:
        What `models.description.describe_model` returns, in `disk_bytes` also "snapshots": all that are left at the
        end; and {"experiment", "family", "vocab_size", "machine": where the peak is from, "huggingface": {"form": what
        it can be exported as, "problem": why it can't be, one of them None}, "gradients": {"before training" and
        "after training": norms by token}, if asked for}.

    Raises:
        MissingArtifactError: there is no such experiment.
        InputError: it is an n-gram model, or an encoder's gradients are asked for.
    """
    experiments = project.declarations.experiments
    if experiment not in experiments:
        raise MissingArtifactError(f"There is no experiment {experiment!r}. {nearest(experiment, experiments)}")
    declared = experiments[experiment]
    if isinstance(declared.model, NgramModel):
        raise InputError(f"{experiment} is an n-gram model: it is counted, so its size is known after training only.")
    if gradients and declared.model.family == "encoder":
        raise InputError(f"{experiment} is an encoder, which reads all tokens at once: no gradient goes back in time.")
    store = Store(project.home.artifacts)
    # Before its tokenizer is trained, a dataset has the vocabulary that it asks for.
    tokenizer = store.ref(f"{declared.dataset}/tokenizer")
    wanted = project.declarations.datasets[declared.dataset].tokenizer
    if tokenizer is not None:
        vocab_size = tokenizer.summary["vocab_size"]
    elif isinstance(wanted, Pretrained):
        raise MissingArtifactError(
            f"How many pieces {wanted.huggingface} has is not known yet. Run `lm-pipeline materialize"
            f" {declared.dataset}/tokenizer` first."
        )
    else:
        vocab_size = wanted.vocab_size
    training = declared.training
    device = torch.device("cuda" if training.device != "cpu" and torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        fix_workspace()
    if peak_flops:
        machine = "peak given"
    else:
        precision, peak_flops = _peak(training, declared.model, device)
        machine = f"peak measured, {precision} products on {device}"
    value = {"experiment": experiment, "family": declared.model.family, "vocab_size": vocab_size, "machine": machine}
    value |= describe_model(
        declared.model,
        training,
        vocab_size,
        peak_flops,
        memory_bandwidth(device),
        training.num_processes if device.type == "cuda" else 1,
    )
    value["disk_bytes"]["snapshots"] = _snapshot_bytes(training, value["disk_bytes"]["model"])
    value["huggingface"] = _huggingface_form(declared.model)
    if gradients:
        torch.manual_seed(training.seed)
        fresh = build_model(declared.model, vocab_size, training.context_length)
        value["gradients"] = {"before training": _norms(fresh)}
        if checkpoint := store.ref(f"{experiment}/checkpoint"):
            value["gradients"]["after training"] = _norms(load_model(checkpoint.verify().files_dir))
    return value


def _peak(training: Training, spec: NeuralSpec, device: torch.device) -> tuple[str, float]:
    """The precision that the training is likely to use, and the operations a second that its products reach."""
    precision, size = training.precision, PEAK_SIZES[device.type]
    if precision == "auto":
        seconds = product_seconds(device)
        is_open = device.type == "cpu" or spec.family not in RECURRENT
        precision = "bfloat16" if is_open and seconds["bfloat16"] < seconds["float32"] / MIN_GAIN else "float32"
    return precision, 2 * size**3 / matmul_seconds(DTYPES[precision], device, size)


def _snapshot_bytes(training: Training, weights: int) -> int:
    """Of all snapshots that are left at the end."""
    if training.snapshot_interval is None:
        return 0
    kept, _ = snapshot_steps(training.num_steps, training.snapshot_interval, snapshot_room(training, weights))
    return len(kept) * weights


def _huggingface_form(spec: NeuralSpec) -> dict[str, str | None]:
    try:
        return {"form": form_of(spec), "problem": None}
    except InputError as error:
        return {"form": None, "problem": str(error)}


def _norms(model: LanguageModel) -> list[float]:
    shape = (GRADIENT_ROWS, model.context_length)
    tokens_BT = torch.randint(4, model.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    return gradient_norms(model, tokens_BT)
