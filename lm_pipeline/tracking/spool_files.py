"""Where the spools of a home are, which of them an artifact gets, and whether a living process writes to one."""

import re
from pathlib import Path

from lm_pipeline import locks
from lm_pipeline.home import Home
from lm_pipeline.tracking.spool_events import last_status


def find_or_new_spool(home: Home, stage: str, key: str) -> Path:
    """The spool for building this artifact: the one that was left unfinished, or a new one.

    A spool is finished when its last status is FINISHED; anything else (killed, failed, no status because of a crash)
    is taken up again, so that one built version is one MLflow run whatever happened on the way.

    Args:
        home: where the spools are.
        stage: name of the stage; slashes become dashes.
        key: address of the artifact, at least 16 hex digits.
    """
    prefix = f"{stage.replace('/', '-')}-{key[:16]}-"
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.jsonl")
    home.spool.mkdir(parents=True, exist_ok=True)
    generations = [int(match[1]) for path in home.spool.iterdir() if (match := pattern.fullmatch(path.name))]
    newest = max(generations, default=0)
    if newest and last_status(home.spool / f"{prefix}{newest}.jsonl") != "FINISHED":
        return home.spool / f"{prefix}{newest}.jsonl"
    return home.spool / f"{prefix}{newest + 1}.jsonl"


def spool_path(home: Home, spool_id: str) -> Path:
    """File of a spool by its id, as the manifest of an artifact names it."""
    return home.spool / f"{spool_id}.jsonl"


def state_path(home: Home, spool_id: str) -> Path:
    """Where the shipper keeps how far MLflow has been told."""
    return home.spool / f"{spool_id}.state.json"


def alive_path(path: Path) -> Path:
    """The file that every open writer of a spool holds a shared lock of."""
    return path.with_suffix(".alive")


def is_held(path: Path) -> bool:
    """Whether a living process has this spool open for writing."""
    return locks.is_held(alive_path(path), together=True)
