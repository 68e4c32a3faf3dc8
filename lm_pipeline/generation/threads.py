"""How many threads work on one operation: one where it is small; for the steps of decoding, what was faster lately.

Threads that share an operation wait for each other. On two idle cores they decode with 13.8 M parameters up to 1.3
times as fast as one; beside other work they are ten times slower (with ten processes on two cores: 176 tokens/s with
one thread, 22 with two). Which it is changes while a text is written, so it is measured.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

FIRST_INTERVAL = 64
"""Steps until the number of threads that was slower is tried again; twice as many each time that it is slower again."""
DISTURBED = 1.5
"""A step that takes so many times the seconds of the last choice is a reason to choose anew."""


class _Process:
    """The number that the whole program has, once a thread could tell it."""

    lock = threading.Lock()
    number: int | None = None


class _Own(threading.local):
    """What a thread of the program has: how many `threads` it is in, and the number that the last one left behind."""

    depth = 0
    left: int | None = None


_own = _Own()


def allowed_threads() -> int:
    """How many threads an operation has here where no `threads` says otherwise.

    torch's number is a thread's own, but one that torch has not met begins with what was set last anywhere: beside
    somebody else's `threads(1)`, with 1. So only the main thread and those that have been here can tell it.
    """
    current = torch.get_num_threads()
    if _own.depth:
        return current
    knows = threading.current_thread() is threading.main_thread() or _own.left not in (None, current)
    with _Process.lock:
        if _Process.number is None or knows:
            _Process.number = current
        return _Process.number


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Run torch's operations of this thread on so many threads; afterwards they have those of before again."""
    previous = allowed_threads()
    _own.depth += 1
    torch.set_num_threads(number)
    try:
        yield
    finally:
        _own.depth -= 1
        torch.set_num_threads(previous)
        if not _own.depth:
            _own.left = previous


class MeasuredThreads:
    """One thread, or as many as are allowed: whichever takes less time for a step of the same work.

    Two steps with one thread, then two with the others; the second of each pair counts, for the first brings a team
    together. Later the slower number is tried again now and then, for two steps.

    Args:
        most: the number that competes with one; 1 leaves nothing to choose.
    """

    def __init__(self, most: int) -> None:
        self._most, self.number = most, 1
        self._interval, self._until_trial, self._seconds = FIRST_INTERVAL, 2, float("inf")
        self._tried = 0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run one step of the work."""
        is_trial = self._most > 1 and self._until_trial <= 0
        number = (1 if self.number > 1 else self._most) if is_trial else self.number
        begin = time.perf_counter()
        with threads(number):
            yield
        seconds = time.perf_counter() - begin
        if is_trial:
            self._note_trial(number, seconds)
        else:
            is_disturbed = self.number > 1 and seconds > DISTURBED * self._seconds
            self._until_trial = 0 if is_disturbed else self._until_trial - 1
            self._seconds = seconds

    def _note_trial(self, number: int, seconds: float) -> None:
        self._tried += 1
        if self._tried < 2:
            return
        is_faster = seconds < self._seconds
        self._interval = FIRST_INTERVAL if is_faster else 2 * self._interval
        self._tried, self._until_trial = 0, self._interval
        if is_faster:
            self.number, self._seconds = number, seconds
