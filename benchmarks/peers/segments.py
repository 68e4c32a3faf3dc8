"""A training in segments: after each it tells how it went and waits until it may go on, so that several take turns."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


class Segments:
    """The clock of one side.

    Args:
        request: {"segments": steps of each segment, ...}.
        way: how this side computes, for the report.
    """

    def __init__(self, request: dict[str, Any], way: str) -> None:
        self.lengths, self.way = list(request["segments"]), way
        self.done, self.losses, self.started = 0, [], 0.0

    def begin(self) -> None:
        """Everything is set up: wait for the first turn."""
        self._wait({"ready": True, "way": self.way})

    def step(self, loss: float) -> None:
        """A step was done; at the end of a segment wait for the next turn."""
        self.losses.append(loss)
        self.done += 1
        if self.done < self.lengths[0]:
            return
        answer = {
            "seconds": (time.perf_counter() - self.started) / self.done,
            "loss": sum(self.losses) / len(self.losses),
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        self.lengths.pop(0)
        self.done, self.losses = 0, []
        self._wait(answer)

    def _wait(self, answer: dict[str, Any]) -> None:
        sys.stdout.write("ANSWER " + json.dumps(answer) + "\n")
        sys.stdout.flush()
        if self.lengths:
            sys.stdin.readline()
        self.started = time.perf_counter()


def request_of(path: str) -> dict[str, Any]:
    """The request's file, as JSON."""
    return json.loads(Path(path).read_text("utf-8"))
