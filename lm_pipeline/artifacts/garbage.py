"""Deletes artifacts that nothing needs any more. Nothing else in this package deletes what was published."""

import contextlib
import dataclasses
import shutil
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from lm_pipeline import locks
from lm_pipeline.artifacts.artifact import MANIFEST
from lm_pipeline.artifacts.store import IN_USE, Store
from lm_pipeline.errors import BusyError, CorruptArtifactError

Address = tuple[str, str]
"""Stage and key."""


@dataclass
class Collected:
    """What a collection deleted (or would delete).

    Attributes:
        artifacts: published artifacts.
        bytes: of all files.
        busy: addresses that a living process holds.
        building: whether something was being built, so that everything published was left alone.
    """

    artifacts: int = 0
    bytes: int = 0
    busy: int = 0
    building: bool = False

    def as_dict(self) -> dict[str, int | bool]:
        """JSON form."""
        return dataclasses.asdict(self)


def collect_garbage(
    store: Store, keep: AbstractSet[Address] = frozenset(), dry_run: bool = False, unfinished: bool = False
) -> Collected:
    """Delete what no ref, no address in `keep` and none of their ancestors needs.

    The work of an interrupted training or download is kept, for it goes on from there, unless `unfinished` asks for it
    as well.

    What a living process holds the lock of is left alone. While anything is being built, everything published is: the
    build may have found it already. Then only what dead processes left unfinished goes.

    Raises:
        CorruptArtifactError: a manifest that is needed cannot be read, so what it needs is not known.
    """
    collected = Collected()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.exclusive(store.root / IN_USE, "The store"))
        except BusyError:
            collected.building = True
        needed = _needed(store, keep)
        for stage, key in store.addresses():
            _collect(store, stage, key, (stage, key) in needed, dry_run, unfinished, collected)
    return collected


def _needed(store: Store, keep: AbstractSet[Address]) -> set[Address]:
    """Addresses of what refs and `keep` name and of all ancestors that still exist."""
    needed: set[Address] = set()
    pending = [*filter(None, map(store.ref_address, store.assets())), *keep]
    while pending:
        address = pending.pop()
        if address not in needed and (artifact := store.find(*address)) is not None:
            needed.add(address)
            pending += [(entry["stage"], entry["key"]) for entry in (*artifact.inputs.values(), *artifact.parts)]
    return needed


def _collect(
    store: Store, stage: str, key: str, needed: bool, dry_run: bool, unfinished: bool, collected: Collected
) -> None:
    directory = store.root / stage / key
    try:
        with store.lock(stage, key) as held:
            published = (directory / MANIFEST).exists()
            doomed = [store.unfinished(stage, key)] if published or unfinished else []
            if published and (needed or collected.building):
                doomed += _stale_attempts(store, stage, key)
            else:
                doomed.append(directory)
                collected.artifacts += published
            for path in filter(Path.exists, doomed):
                collected.bytes += sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())
                if not dry_run:
                    _delete(path)
            held.path.unlink(missing_ok=True)  # whoever waits for it notices and makes a new one
    except BusyError:
        collected.busy += 1


def _stale_attempts(store: Store, stage: str, key: str) -> list[Path]:
    """What other attempts than the published one left behind."""
    try:
        artifact = store.find(stage, key)
    except CorruptArtifactError:
        return []  # which attempt won is not known
    assert artifact is not None
    kept = (artifact.files_dir, artifact.directory / MANIFEST)
    return [path for path in artifact.directory.iterdir() if path not in kept]


def drop(store: Store, stage: str, key: str) -> list[str]:
    """Delete one artifact whatever needs it, and those that it is a part of; for damaged ones.

    Those are then built again. A whole without a part would be found, and its part never built again.

    Returns:
        What was deleted, as `stage/key`; empty when nothing is published there.

    Raises:
        BusyError: a living process is building it.
    """
    if not (store.root / stage / key / MANIFEST).is_file():
        return []
    dropped = []
    for other in store.addresses():
        with contextlib.suppress(CorruptArtifactError):
            whole = store.find(*other)
            if whole and any((part["stage"], part["key"]) == (stage, key) for part in whole.parts):
                dropped += drop(store, *other)
    with store.lock(stage, key):
        _delete(store.root / stage / key)
    return [f"{stage}/{key}", *dropped]


def _delete(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # The manifest goes first: a half-deleted artifact must not look published.
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path)
