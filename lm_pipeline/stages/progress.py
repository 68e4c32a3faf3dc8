"""How far the building of parts is: a bar in a terminal, else a line now and then."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

_LINE_SECONDS = 5.0


class Progress:
    """Tells parts done, MB/s and the time that is left.

    Args:
        num_parts: parts to build.
        num_bytes: their raw bytes.
        log: takes lines, where there is no terminal to draw in.
    """

    def __init__(self, num_parts: int, num_bytes: int, log: Callable[[str], None]) -> None:
        self._num_parts, self._num_bytes, self._log = num_parts, num_bytes, log
        self._parts_done, self._bytes_done = 0, 0
        self._started = self._told = time.monotonic()
        self._exits = ExitStack()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._num_parts > 1 and sys.stderr.isatty() and not os.environ.get("DAGSTER_PIPES_CONTEXT"):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            console = Console(stderr=True)
            columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = self._exits.enter_context(Bar(*columns, console=console))
            self._bar.add_task("cleaning", total=self._num_parts)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def done(self, num_bytes: int) -> None:
        """A part of so many raw bytes is built."""
        self._parts_done += 1
        self._bytes_done += num_bytes
        now = time.monotonic()
        line = describe(self._parts_done, self._num_parts, self._bytes_done, self._num_bytes, now - self._started)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._parts_done, description=line)
        elif self._num_parts > 1 and (now - self._told >= _LINE_SECONDS or self._parts_done == self._num_parts):
            self._told = now
            self._log(line)


def describe(parts_done: int, num_parts: int, bytes_done: int, num_bytes: int, seconds: float) -> str:
    """One line for people.

    >>> describe(3, 12, 192_000_000, 768_000_000, 20.0)
    'part 3/12  9.6 MB/s  60 s left'
    """
    rate = bytes_done / max(seconds, 1e-9)
    left = (num_bytes - bytes_done) / max(rate, 1e-9)
    return f"part {parts_done}/{num_parts}  {rate / 1e6:.1f} MB/s  {left:,.0f} s left"
