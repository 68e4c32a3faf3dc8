"""Measurements of the machine, kept in files by machine, versions and shape."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from lm_pipeline.digests import digest_of
from lm_pipeline.memory import available_bytes

Name = TypeVar("Name")
PEAK_SIZES = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices whose product is timed for the peak."""
ENOUGH_SECONDS = 8.0
"""Time after which no further round of a measurement begins."""


def remembered(
    folder: Path,
    name: str,
    subject: Mapping[str, Any],
    measure: Callable[[], Any],
    lasts: Callable[[Any], bool] = lambda _: True,
) -> Any:
    """The JSON value that was measured for this subject before, or is measured now and kept.

    Args:
        folder: where measurements are kept; created if absent.
        name: what is measured; the beginning of the file's name.
        subject: all that the result depends on, as JSON.
        measure: does it.
        lasts: whether a result is to be kept; what failed today may work tomorrow.
    """
    kept = _kept(folder, name, subject)
    if kept is not None:
        return kept
    measured = measure()
    if lasts(measured):
        _keep(folder, name, subject, measured)
    return measured


def _path(folder: Path, name: str, subject: Mapping[str, Any]) -> Path:
    return folder / f"{name}-{digest_of(subject)[:16]}.json"


def _kept(folder: Path, name: str, subject: Mapping[str, Any]) -> Any:
    """What was measured before; None where nothing was."""
    path = _path(folder, name, subject)
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))["measured"]
    except (ValueError, KeyError, TypeError):
        path.unlink(missing_ok=True)  # a torn file of a machine that lost power: measured again
        return None


def _keep(folder: Path, name: str, subject: Mapping[str, Any], measured: Any) -> None:
    path = _path(folder, name, subject)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"subject": subject, "measured": measured}, indent=1) + "\n", "utf-8")
    temporary.replace(path)


def best_of(work: Mapping[Name, Callable[[], object]], device: torch.device, rounds: int) -> dict[Name, float]:
    """Shortest run of each, in seconds, after one to warm up, without those that memory does not suffice for.

    They take turns: what else the machine does slows all of them, and not only the one that was unlucky. Long runs,
    which chance touches less, are fewer: no round begins after `ENOUGH_SECONDS`.

    Raises:
        RuntimeError: memory suffices for none.
    """
    failed, seconds = None, dict[Name, list[float]]()
    for name, run in work.items():
        try:
            _seconds(run, device)
            seconds[name] = []
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failed = error.with_traceback(None)  # which holds what was allocated
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if failed is not None and not seconds:
        raise failed
    started = time.perf_counter()
    for number in range(rounds):
        if number and time.perf_counter() - started > ENOUGH_SECONDS:
            break
        for name, each in seconds.items():
            each.append(_seconds(work[name], device))
    return {name: min(each) for name, each in seconds.items()}


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    begin = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that memory does not suffice, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device, of a CPU as far as this process may take it."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()


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
    """The most floating-point operations a second that a matrix product has reached here, now or before.

    Other work slows a measurement down and nothing hastens it. So it is made for every training, in a fraction of a
    second, and the fastest is kept: a utilisation is not told by a peak that was measured on a busy machine.
    """
    size = PEAK_SIZES[device.type]
    subject = {**environment, "precision": precision, "size": size}
    reached = 2 * size**3 / matmul_seconds(getattr(torch, precision), device, size)
    before = _kept(folder, "peak", subject)
    if before is not None and before >= reached:
        return float(before)
    _keep(folder, "peak", subject, reached)
    return reached
