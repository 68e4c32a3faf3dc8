"""float32 or bfloat16: measured once on the real model and batch, then kept for the life of the training.

bfloat16 is several times faster where the hardware has it (AMX, tensor cores) and a hundred times slower where it is
emulated, so a small matrix product is timed before a whole step is risked.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch

from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.training.plan import Batch

MIN_GAIN = 1.15
"""bfloat16 must be this many times faster to be chosen: less is within the noise of the measurement."""


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context in which forward passes run."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def measure_precision(model: LanguageModel, batch: Batch, device: torch.device) -> dict[str, Any]:
    """Choose the arithmetic and say why. Weights, gradients and random generators are left as they were.

    Returns:
        `{"precision": "float32" | "bfloat16", "reason": str, "matmul_seconds": {...}, "step_seconds": {...}}`
    """
    matmul = {name: _best_of(_matmul(dtype, device), device) for name, dtype in DTYPES.items()}
    record: dict[str, Any] = {"precision": "float32", "matmul_seconds": matmul, "step_seconds": {}}
    if matmul["bfloat16"] > matmul["float32"] / MIN_GAIN:
        return record | {"reason": "bfloat16 matrix products are not faster here"}
    steps = {name: _best_of(_step(model, batch, name, device), device) for name in DTYPES}
    faster = steps["bfloat16"] < steps["float32"] / MIN_GAIN
    return record | {
        "precision": "bfloat16" if faster else "float32",
        "reason": f"a bfloat16 step takes {steps['bfloat16'] / steps['float32']:.2f} of a float32 step",
        "step_seconds": steps,
    }


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def _matmul(dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    matrix = torch.ones(256, 256, dtype=dtype, device=device)
    return lambda: matrix @ matrix


def _step(model: LanguageModel, batch: Batch, precision: str, device: torch.device) -> Callable[[], object]:
    inputs_BT, targets_BT = batch.inputs_BT.to(device), batch.targets_BT.to(device)
    parameters = list(model.parameters())

    def step() -> None:
        with torch.random.fork_rng(), autocast(precision, device):
            nll_sum, _, _ = model.loss_sums(inputs_BT, targets_BT)
        torch.autograd.grad(nll_sum, parameters)

    return step


def _best_of(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Shortest of some runs, after one to warm up, in seconds."""
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])
