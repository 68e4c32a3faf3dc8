"""What a spool says, read back line by line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Event:
    """One line of a spool and the byte offset at which the next line begins."""

    body: dict[str, Any]
    end: int


def read_events(path: Path, offset: int = 0, max_bytes: int = 8 * 2**20) -> Iterator[Event]:
    """Whole lines from a byte offset on, about `max_bytes` of them; a line still being written is left for later.

    A line that is not JSON (damaged on disk) comes as `{"event": "unreadable", "text": ...}`.
    """
    with path.open("rb") as file:
        file.seek(offset)
        while offset >= 0 and max_bytes > 0:
            line = file.readline()
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            max_bytes -= len(line)
            try:
                body = json.loads(line)
                if not (isinstance(body, dict) and "event" in body):
                    body = {"event": "unreadable", "text": line[:200].decode(errors="replace")}
            except ValueError:
                body = {"event": "unreadable", "text": line[:200].decode(errors="replace")}
            yield Event(body, offset)


def last_status(path: Path) -> str | None:
    """The last status that a spool states, or None. Opening it again counts as RUNNING."""
    size = path.stat().st_size
    for offset in sorted({max(0, size - _TAIL_BYTES), 0}, reverse=True):  # most often it is one of the last lines
        status = None
        for event in read_events(path, offset, max_bytes=2**62):
            if event.body["event"] in ("status", "open"):
                status = event.body.get("status", "RUNNING")
        if status:
            return status
    return None
