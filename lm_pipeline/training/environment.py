"""Device, threads and what else decides the bits of a training."""

import os
import platform
from typing import Any

import torch

from lm_pipeline import mkl
from lm_pipeline.cublas import fix_workspace
from lm_pipeline.errors import InputError
from lm_pipeline.provenance import processor
from lm_pipeline.specs.training import Training


def choose_device(training: Training) -> torch.device:
    """The device to train on.

    Raises:
        InputError: CUDA was asked for and there is none, this machine has fewer GPUs than processes, or see
            `fix_workspace`.
    """
    if training.device == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device is 'cuda', but torch sees no GPU here. Set it to 'auto' or 'cpu'.")
    wanted = "cuda" if training.device == "auto" and torch.cuda.is_available() else training.device
    if wanted == "cuda":
        fix_workspace()
    if wanted == "cuda" and "LOCAL_RANK" in os.environ:
        rank, num_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        num_here = max(rank + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        if num_here > num_gpus:
            raise InputError(
                f"training.num_processes is {training.num_processes}, {num_here} of them on this machine, where torch"
                f" sees {num_gpus} GPU{'s' if num_gpus > 1 else ''}: each process needs one of its own. Lower"
                " num_processes, or set training.device to 'cpu'."
            )
        return torch.device("cuda", rank)
    return torch.device("cpu" if wanted == "auto" else wanted)


def make_deterministic(training: Training) -> None:
    """Fix the number of threads and have torch take deterministic kernels; an operation that has none is an error.

    A mere warning would not do: where torch is told to warn only, fused attention on a GPU adds up its gradients in any
    order.
    """
    shared_by = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(training.num_threads or max(1, len(os.sched_getaffinity(0)) // shared_by))
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory with NaN finds reads of uninitialised memory; it costs time and changes no result.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - torch declares no type


def describe(device: torch.device) -> dict[str, Any]:
    """What must be equal for two runs to give equal bits."""
    here = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }
    if device.type != "cuda":
        return here | {"device_name": processor(), "mkl": mkl.kernels()}
    libraries = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return here | {"device_name": torch.cuda.get_device_name(device), **libraries}


def peak_of_device(device: torch.device) -> int | None:
    """The most memory that this process has taken of a GPU, in bytes; None on a CPU."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def forget_peak(device: torch.device) -> None:
    """Count the memory of a GPU anew: what measurements took is no cost of the training."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed since a checkpoint was written, in words; empty where a resume is bitwise exact."""
    return [f"{name}: {before.get(name)} then, {value} now" for name, value in now.items() if before.get(name) != value]
