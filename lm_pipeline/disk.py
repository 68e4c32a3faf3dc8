"""What reaches the disk, and a disk that is full."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lm_pipeline.errors import LmPipelineError


@contextmanager
def explaining_a_full_disk(what: str, folder: Path) -> Iterator[None]:
    """Turn the system's words for a full disk into what was written, where, and what to do.

    Args:
        what: what is being written.
        folder: below which; it exists.

    Raises:
        LmPipelineError: no space is left, whichever library said so.
    """
    try:
        yield
    except Exception as error:
        # Libraries of other languages put the system's message into errors of their own.
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if isinstance(error, LmPipelineError) or not (full or os.strerror(errno.ENOSPC) in str(error)):
            raise
        free = shutil.disk_usage(folder).free / 1e6
        raise LmPipelineError(
            f"No disk space left while writing {what} below {folder} ({free:,.0f} MB free; {error}). What was there"
            " before is intact: free some space (`lm-pipeline gc` may help) and materialize again."
        ) from error


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
