"""What kill tests share: a process that dies with SIGKILL at its n-th instant, and the choice of the instants.

Each call that matters counts as several instants: before it, in its middle (half of what it writes is there), after it.
"""

import functools
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class Killer:
    """Counts instants and ends this process at one of them (0 never comes)."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen: list[str] = []

    def instant(self, kind: str) -> bool:
        """Count one; whether it is the last of this process."""
        self.seen.append(kind)
        return len(self.seen) == self.at

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def pass_through(self, kind: str) -> None:
        if self.instant(kind):
            self.kill()

    def around(self, owner: Any, name: str, kind: str, half: Any = None) -> None:
        """Replace a function by itself with instants before, in the middle (where `half` does half of it) and after."""
        setattr(owner, name, self.counted(getattr(owner, name), kind, half))

    def counted(self, real: Callable[..., Any], kind: str, half: Any = None) -> Callable[..., Any]:
        @functools.wraps(real)
        def with_instants(*args: Any, **more: Any) -> Any:
            self.pass_through(f"{kind}: before")
            if half is not None and self.instant(f"{kind}: halfway"):
                half(real, *args, **more)
                self.kill()
            result = real(*args, **more)
            self.pass_through(f"{kind}: after")
            return result

        return with_instants


def half_text(real, path, text, *rest):
    real(path, text[: len(text) // 2], *rest)


def half_line(real, file, line):
    real(file, line[: len(line) // 2])


def half_folder(real, path, *rest, **more):
    for file in sorted(path for path in Path(path).rglob("*") if path.is_file())[:1]:
        file.unlink()


def watch_files(killer: Killer) -> None:
    """Put instants around the calls by which anything reaches the disk through Python's own library."""
    killer.around(Path, "write_text", "text file", half_text)
    killer.around(Path, "rename", "rename")
    killer.around(Path, "replace", "replace")
    killer.around(os, "link", "link")
    killer.around(shutil, "rmtree", "removal", half_folder)
    killer.around(os, "fsync", "fsync")
    killer.around(os, "write", "os.write", half_line)


def chosen_instants(seen: Sequence[str], number: int) -> list[int]:
    """So many of the instants that a run has seen, from 1: of each kind its share, evenly spread, and one at least.

    Where there are more kinds than that, they are spread evenly over the whole run instead.
    """
    if number < len(set(seen)):
        return [1 + i * len(seen) // number for i in range(number)]
    by_kind: dict[str, list[int]] = {}
    for at, kind in enumerate(seen, 1):
        by_kind.setdefault(kind, []).append(at)
    chosen = set()
    for places in by_kind.values():
        share = min(len(places), max(1, round(number * len(places) / len(seen))))
        chosen |= {places[i * len(places) // share] for i in range(share)}
    return sorted(chosen)


def histogram(died: Counter[str]) -> str:
    """One line a kind of instant, for people."""
    lines = [f"  {kind:<34} {number:>4} {'#' * number}" for kind, number in sorted(died.items())]
    return "\n".join([f"\nkilled at {died.total()} instants:", *lines])
