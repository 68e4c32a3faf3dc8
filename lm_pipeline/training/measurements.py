"""Measurements of the machine, kept in files: each is made once per machine, versions and shape."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from lm_pipeline.digests import digest_of

Name = TypeVar("Name")
PEAK_SIZES = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices whose product is timed for the peak."""
ENOUGH_SECONDS = 8.0
"""Time after which no further round of a measurement begins."""


def remembered(folder: Path, name: str, subject: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
    """The JSON value that was measured for this subject before, or is measured now and kept.

    Args:
        folder: where measurements are kept; created if absent.
        name: what is measured; the beginning of the file's name.
        subject: all that the result depends on, as JSON.
        measure: does it.
    """
    path = folder / f"{name}-{digest_of(subject)[:16]}.json"
    if path.is_file():
        try:
            return json.loads(path.read_text("utf-8"))["measured"]
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)  # a torn file of a machine that lost power: measured again
    measured = measure()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"subject": subject, "measured": measured}, indent=1) + "\n", "utf-8")
    temporary.replace(path)
    return measured


def best_of(work: Mapping[Name, Callable[[], object]], device: torch.device, rounds: int) -> dict[Name, float]:
    """Shortest run of each, in seconds, after one to warm up.

    They take turns: what else the machine does slows all of them, and not only the one that was unlucky. Long runs,
    which chance touches less, are fewer: no round begins after `ENOUGH_SECONDS`.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in work}

    def measure_each() -> None:
        for name, run in work.items():
            begin = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - begin)

    measure_each()
    started = time.perf_counter()
    for number in range(rounds):
        if number and time.perf_counter() - started > ENOUGH_SECONDS:
            break
        measure_each()
    return {name: min(each[1:]) for name, each in seconds.items()}


def matmul(dtype: torch.dtype, device: torch.device, size: int) -> Callable[[], object]:
    """The product of two square matrices."""
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    return lambda: matrix @ matrix


def matmul_seconds(dtype: torch.dtype, device: torch.device, size: int) -> float:
    """Shortest time of such a product."""
    return best_of({"product": matmul(dtype, device, size)}, device, rounds=20)["product"]


def memory_bandwidth(device: torch.device, num_bytes: int = 256_000_000) -> float:
    """Bytes per second that are read when memory far larger than any cache is summed up."""
    values = torch.ones(num_bytes // 4, device=device)
    return num_bytes / best_of({"sum": values.sum}, device, rounds=3)["sum"]


def peak_flops(precision: str, device: torch.device, environment: Mapping[str, Any], folder: Path) -> float:
    """The most floating-point operations a second that a matrix product reaches here, measured once."""
    size = PEAK_SIZES[device.type]

    def measure() -> float:
        return 2 * size**3 / matmul_seconds(getattr(torch, precision), device, size)

    return float(remembered(folder, "peak", {**environment, "precision": precision, "size": size}, measure))
