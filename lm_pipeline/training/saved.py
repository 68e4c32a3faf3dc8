"""Where the states of a training are, and which are whole; without torch, for those who only ask how far it is."""

import json
import re
from pathlib import Path

from lm_pipeline.digests import digest_file

CHECKPOINTS = "checkpoints"
"""In a job's `work_dir`: the folder of its states."""
STATE = "state.json"
MANIFEST = "manifest.json"
_NAME = "step-"
_STATE = re.compile(_NAME + "[0-9]{8,}")


def folder_of(folder: Path, step: int) -> Path:
    """The place of a step's state below the folder of all."""
    return folder / f"{_NAME}{step:08d}"


def states(folder: Path) -> list[Path]:
    """The folders of all states, whole and damaged ones, the earliest first.

    A copy that somebody keeps beside them, under any other name, is none of them.
    """
    return sorted((path for path in folder.glob(f"{_NAME}*") if _STATE.fullmatch(path.name)), key=_step_of)


def count_saved_steps(work_dir: Path) -> int:
    """The step that a training goes on from with what is in its `work_dir`; 0 where no state in it is whole.

    Without any state a training then begins anew; where there are some, and all are damaged, it refuses to.
    Files are compared by size; the training itself reads them before it believes them.
    """
    whole = (path for path in reversed(states(work_dir / CHECKPOINTS)) if problem(path, read=False) is None)
    return next(map(_step_of, whole), 0)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix(_NAME))


def problem(path: Path, *, read: bool = True) -> str | None:
    """What is wrong with a state, if anything.

    Args:
        path: its folder.
        read: whether to compare all bytes with their digests, and not sizes alone.
    """
    try:
        files = json.loads((path / MANIFEST).read_text("utf-8"))["files"]
        for name in (STATE, *files):
            if (path / name).stat().st_size != files[name]["bytes"]:
                return f"{name} has {(path / name).stat().st_size} bytes, not {files[name]['bytes']}"
            if read and digest_file(path / name) != files[name]["sha256"]:
                return f"SHA-256 of {name} differs"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None
