"""What an asset logs, said in the terminal under a command: steps of a training as one bar, the rest line by line."""

import re
import sys
import time

_STEP = re.compile(r"step (\d+)/(\d+)  ")
_CELLS = 20
_CLEAR = "\r\x1b[2K"
_INTERVAL_SECONDS = 30.0
_said: dict[str, float] = {}
"""By asset, when the last step was said where no terminal shows it."""


def say(asset: str, line: str) -> None:
    """Say a line. A training's steps replace one another; where no terminal shows them, one in 30 s and the last."""
    stream = sys.stderr
    step = _STEP.match(line)
    if stream.isatty():
        stream.write(f"{_CLEAR}  {asset}: {bar(line)}" if step else f"{_CLEAR}  {asset}: {line}\n")
        if step and step[1] == step[2]:
            stream.write("\n")
    elif step is None or step[1] == step[2] or _is_due(asset):
        stream.write(f"  {asset}: {line}\n")
    stream.flush()


def _is_due(asset: str) -> bool:
    """Whether the asset has said no step for a while."""
    now = time.monotonic()
    is_due = now - _said.get(asset, -float("inf")) >= _INTERVAL_SECONDS
    if is_due:
        _said[asset] = now
    return is_due


def bar(line: str) -> str:
    """A line that begins with `step 5/10` with a bar before it.

    >>> bar("step 5/10  loss 3.1")
    '██████████░░░░░░░░░░ step 5/10  loss 3.1'
    """
    step = _STEP.match(line)
    assert step is not None
    done = _CELLS * int(step[1]) // max(1, int(step[2]))
    return f"{'█' * done}{'░' * (_CELLS - done)} {line}"
