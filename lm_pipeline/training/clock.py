"""Where the time of a training goes.

On a GPU, work is queued and waited for where its result is read: the forward and backward parts there are the time to
queue it, and the wait is charged to the optimizer, which reads the gradient's norm. The sum is right.
"""

import time

TRAINING = ("data", "forward", "backward", "optimizer")
"""Parts of a step."""
PARTS = (*TRAINING, "evaluation", "checkpoint", "logging")
"""All parts; their sum is the time of the training."""


class Clock:
    """Charges the time since the last lap to a part.

    Attributes:
        seconds: seconds by part, earlier processes of the same training included.
    """

    def __init__(self, seconds: dict[str, float] | None = None) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0) | (seconds or {})
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """The time since the last lap went into this part."""
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())

    @property
    def training(self) -> float:
        """Seconds in steps."""
        return sum(self.seconds[part] for part in TRAINING)

    def shares(self) -> dict[str, float]:
        """Each part as a fraction of the total."""
        return {part: seconds / max(self.total, 1e-12) for part, seconds in self.seconds.items()}
