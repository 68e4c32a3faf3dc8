"""Temporary folders of which killed processes leave none for long.

A folder is locked while it is in use, and the kernel frees the locks of the dead: whoever wants a folder first removes
those beside it that nobody holds any more.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lm_pipeline.locks import Held

_PREFIX = ".lm-pipeline-scratch-"


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder for files that are of no use afterwards.

    Args:
        parent: where it is made; `TMPDIR` if None.
    """
    parent = parent or Path(tempfile.gettempdir())
    for path in parent.glob(f"{_PREFIX}*"):
        _remove_if_abandoned(path)
    held = None
    while held is None:  # who tidies up at this very moment may take a new folder for an abandoned one
        held = _hold(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)))
    try:
        yield held.path
    finally:
        shutil.rmtree(held.path, ignore_errors=True)
        os.close(held.descriptor)


def _hold(path: Path) -> Held | None:
    """Lock a folder; None where another process does, where it is gone, or where it is not ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    held = Held(path, descriptor)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if held.is_intact():
            return held
    os.close(descriptor)
    return None


def _remove_if_abandoned(path: Path) -> None:
    held = _hold(path)
    if held is not None:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held.descriptor)
