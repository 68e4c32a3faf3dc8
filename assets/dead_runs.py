"""Runs whose process is gone without a word (power cut, kill -9): Dagster would show them as running for ever.

The process that executes a run holds a lock file named after it, which the kernel frees however the process ends. A run
whose lock is free and which is not finished is dead: it is reported as failed, and the place that it took in a pool is
given back. Otherwise whatever needs that pool would wait until somebody looked.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from assets.instance import open_instance
from lm_pipeline import locks
from lm_pipeline.errors import BusyError
from lm_pipeline.home import Home

DEAD = "Its process is gone: killed, or the machine went down. Materialize again: what was saved is taken up."
_SETTLE_SECONDS = 2.0  # a lock file is made a moment before it is locked
_held: dict[str, contextlib.AbstractContextManager[locks.Held]] = {}


def hold(home: Home, run_id: str) -> None:
    """Say that this process executes the run, from now until `release` or its end. Saying it again changes nothing."""
    if run_id not in _held:
        held = locks.exclusive(_folder(home) / f"{run_id}.lock", f"The run {run_id}", wait_seconds=5.0)
        held.__enter__()
        _held[run_id] = held


def release(home: Home, run_id: str) -> None:
    """The run is over; nobody has to look whether it is dead."""
    (_folder(home) / f"{run_id}.lock").unlink(missing_ok=True)
    if (held := _held.pop(run_id, None)) is not None:
        held.__exit__(None, None, None)


def end_dead_runs(home: Home) -> list[str]:
    """Report runs as failed whose process is gone, and free the pools they were in.

    Returns:
        Ids of the runs that were dead.
    """
    if not (abandoned := list(_abandoned(home))):
        return []
    ended = []
    with open_instance(home) as instance:
        for path in abandoned:
            run = instance.get_run_by_id(path.stem)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, DEAD)
                ended.append(run.run_id)
            instance.event_log_storage.free_concurrency_slots_for_run(path.stem)
            path.unlink(missing_ok=True)
    return ended


def _abandoned(home: Home) -> Iterator[Path]:
    """Lock files that nobody holds."""
    for path in sorted(_folder(home).glob("*.lock")):
        with contextlib.suppress(FileNotFoundError, BusyError):
            if path.stem not in _held and time.time() - path.stat().st_mtime > _SETTLE_SECONDS:
                with locks.exclusive(path, path.stem):
                    yield path


def _folder(home: Home) -> Path:
    return home.dagster / "alive"
