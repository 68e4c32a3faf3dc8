"""SIGINT and SIGTERM ask the loop to stop after the step at hand.

More of them change nothing: a terminal's Ctrl-C reaches the whole process group and a supervisor may pass it on, and
neither must cut short the saving that the first one began. Who cannot wait sends SIGKILL and loses the steps since the
last checkpoint.
"""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_CODE = 130
"""Exit code of a training that was interrupted and can be resumed (128 + SIGINT)."""


class Interruption:
    """While entered, `requested` becomes true on the first signal. For the main thread only."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True

    def __enter__(self) -> Self:
        self._previous = {name: signal.signal(name, self._handle) for name in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, handler in self._previous.items():
            signal.signal(name, handler)
