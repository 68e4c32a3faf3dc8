"""Memory that this process may still take: what the machine has left, and what its control groups allow.

Source: the kernel's documentation of control groups, version 1 (`memory.rst`) and 2 (`cgroup-v2.rst`), and proc(5).
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil


class _Names(NamedTuple):
    """Files of a control group; values are bytes, or `max`, which is no limit."""

    limits: tuple[str, ...]
    used: str
    files: tuple[str, ...]
    """Lines of `memory.stat`."""


_VERSION_1 = _Names(("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_VERSION_2 = _Names(("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file"))


def available_bytes(root: Path = Path("/")) -> int:
    """Memory that can be taken before the kernel swaps, holds this process up or kills it.

    In a container the machine's free memory promises what is not there: each control group that this process is in, up
    to the outermost one that is seen from here, may have a limit. Pages of files that a group holds count as free, for
    the kernel gives them back first.

    Args:
        root: below which `/proc` and the control groups are.
    """
    left = [_left(group) for group in _groups(root)]
    return max(0, min([psutil.virtual_memory().available, *(number for number in left if number is not None)]))


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups of this process that may limit its memory; none where there are none."""
    try:
        own, mounts = (_lines(root / "proc/self" / name) for name in ("cgroup", "mountinfo"))
    except OSError:
        return
    paths: dict[str, str] = {}  # by controller; that of version 2 has no name
    for line in own:
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    for line in mounts:
        place, _, source = line.partition(" - ")
        top, point = place.split(" ")[3:5]
        kind, _, options = source.split(" ", 2)
        controller = {"cgroup2": "", "cgroup": "memory"}.get(kind)
        if controller not in paths or (controller and controller not in options.split(",")):
            continue
        path = PurePosixPath(paths[controller])
        inside = path.relative_to(top) if path.is_relative_to(top) else PurePosixPath()
        for part in (inside, *inside.parents):
            yield root / point.lstrip("/") / part


def _lines(file: Path) -> list[str]:
    """What the kernel ends with a newline; names in it are any bytes."""
    return [line for line in os.fsdecode(file.read_bytes()).split("\n") if line]


def _left(group: Path) -> int | None:
    """Bytes that a group may still take; None where it has no limit, or lets nobody read it."""
    names = _VERSION_2 if (group / _VERSION_2.used).is_file() else _VERSION_1
    try:
        limits = [(group / name).read_text("ascii").strip() for name in names.limits if (group / name).is_file()]
        used = int((group / names.used).read_text("ascii"))
        held = dict(line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
    except OSError:
        return None
    of_files = sum(int(held.get(name, 0)) for name in names.files)
    return min((int(limit) - used + of_files for limit in limits if limit != "max"), default=None)
