"""The learning curve on disk: `curve.jsonl`, one point a line, each step once however often the training was killed.

A checkpoint records how long the file was; a resumed training cuts off what came after, for it computes those points
again.
"""

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any


class Curve:
    """Appends points to a file.

    Args:
        path: the file; created if absent. None writes nothing: of several processes, one keeps the curve.
        length: bytes that belong to the training so far; what follows them is cut off.
    """

    def __init__(self, path: Path | None, length: int = 0) -> None:
        self._file = BytesIO() if path is None else path.open("ab")
        self.cut(length)

    def cut(self, length: int) -> None:
        """Drop what follows the first `length` bytes."""
        self._file.truncate(length)
        self._file.seek(0, os.SEEK_END)

    def append(self, point: dict[str, Any]) -> None:
        """Write one point."""
        self._file.write((json.dumps(point) + "\n").encode())
        self._file.flush()

    def sync(self) -> int:
        """Make what was written durable; returns the length that a checkpoint records, in bytes."""
        if isinstance(self._file, BytesIO):
            return 0
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_curve(path: Path) -> list[dict[str, Any]]:
    """All points, in order."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
