"""Locks between processes: flock on a file, which the kernel frees when the holder dies, however it dies."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lm_pipeline.errors import BusyError

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Held:
    """A file or folder that this process holds open."""

    path: Path
    descriptor: int

    def is_intact(self) -> bool:
        """Whether the path still names what is held; if not, somebody removed it and another may hold a new one."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def exclusive(path: Path, what: str, wait_seconds: float = 0.0) -> Iterator[Held]:
    """Be the only holder of a lock file; it is made where it is absent, and stays.

    Args:
        path: the lock file.
        what: what it guards, for the error.
        wait_seconds: how long to wait for another holder.

    Raises:
        BusyError: another living process holds it.
    """
    held = _acquire(path, fcntl.LOCK_EX, what, wait_seconds)
    try:
        with contextlib.suppress(OSError):  # on a full disk nobody is named, but what frees space can still lock
            os.ftruncate(held.descriptor, 0)
            os.pwrite(held.descriptor, f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode(), 0)
        yield held
    finally:
        os.close(held.descriptor)


def is_held(path: Path, *, together: bool = False) -> bool:
    """Whether a living process holds a lock file as `exclusive` does; nothing is made where there is none.

    Args:
        path: the lock file.
        together: whether it is one that holders share; two who ask at once may then take each other for one.
    """
    try:
        descriptor = os.open(path, (os.O_RDWR if together else os.O_RDONLY) | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if together else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def shared(path: Path) -> Iterator[Held]:
    """Hold a lock file together with others; an exclusive holder, who is quick, is waited for."""
    held = _acquire(path, fcntl.LOCK_SH, path.name, wait_seconds=float("inf"))
    try:
        yield held
    finally:
        os.close(held.descriptor)


@contextlib.contextmanager
def pinned(folder: Path) -> Iterator[Held]:
    """Hold a folder open, so that one made later in its place can be told from it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Held(folder, descriptor)
    finally:
        os.close(descriptor)


def _acquire(path: Path, kind: int, what: str, wait_seconds: float) -> Held:
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + max(wait_seconds, _POLL_SECONDS)  # who only asks, as `is_held`, has it for an instant
    while True:
        # Close-on-exec: a child that outlives its parent must not keep the parent's lock.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode() or "another process"
            os.close(descriptor)
            if time.monotonic() >= deadline:
                raise BusyError(f"{what} is in use by {holder}. Wait for it, or stop that process.") from None
            time.sleep(_POLL_SECONDS)
            continue
        held = Held(path, descriptor)
        if held.is_intact():
            return held
        os.close(descriptor)  # unlinked by its last holder between the two calls
