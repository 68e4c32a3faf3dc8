"""`lm-pipeline doctor`: what this machine and home are like, and what is wrong with them."""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.errors import LmPipelineError
from lm_pipeline.home import Home

MIN_FREE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def examine(home: Home, verify: bool) -> list[dict[str, Any]]:
    """Look at everything.

    Args:
        verify: whether every artifact's bytes are hashed.

    Returns:
        `{"name", "ok", "detail"}` for each thing looked at.
    """
    checks: list[Callable[[Home], Finding]] = [_python, _torch, _disk, _initialised, _declarations, _raw, _tracking]
    findings = [check(home) for check in checks]
    if verify:
        findings += _artifacts(home)
    return [{"name": item.name, "ok": item.ok, "detail": item.detail} for item in findings]


def _python(_home: Home) -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding("python", ok, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _torch(_home: Home) -> Finding:
    version = importlib.metadata.version("torch")
    return Finding("torch", True, f"{version}, {os.cpu_count()} cores")


def _disk(home: Home) -> Finding:
    folder = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    advice = (
        ""
        if free > MIN_FREE_BYTES
        else "; the demo needs 0.25 GB and models grow: `lm-pipeline gc` or another LM_PIPELINE_HOME"
    )
    return Finding("disk", free > MIN_FREE_BYTES, f"{free / 1e9:.1f} GB free at {folder}{advice}")


def _initialised(home: Home) -> Finding:
    ready = home.marker.is_file()
    return Finding("home", ready, f"{home.root}" + ("" if ready else " is not initialised: run `lm-pipeline init`"))


def _declarations(home: Home) -> Finding:
    from lm_pipeline.project import load_project

    try:
        found = load_project(home).declarations
    except LmPipelineError as error:
        return Finding("declarations", False, str(error))
    counts = f"{len(found.corpora)} corpora, {len(found.datasets)} datasets, {len(found.experiments)} experiments"
    return Finding("declarations", True, counts)


def _raw(home: Home) -> Finding:
    from lm_pipeline.corpus.raw.path_source import unread_in_raw
    from lm_pipeline.project import load_project

    try:
        sources = [spec.source for spec in load_project(home).declarations.corpora.values()]
    except LmPipelineError:
        sources = []  # told by `declarations`
    ignored = unread_in_raw(home, sources)
    advice = (
        ", which no corpus reads; a corpus is a folder whose name is lower-case letters, digits and underscores:"
        " rename or move them, or name them as `path` in a declaration"
    )
    return Finding(
        "raw folder", not ignored, f"{home.raw}" + (f" holds {', '.join(ignored)}{advice}" if ignored else "")
    )


def _tracking(home: Home) -> Finding:
    from lm_pipeline.tracking.shipper import pending_events

    waiting = sum(pending_events(home, path.stem) for path in home.spool.glob("*.jsonl"))
    detail = f"{home.tracking_uri}; {waiting} events wait to be shipped"
    return Finding(
        "tracking", waiting == 0, detail + ("" if waiting == 0 else ": run `python -m lm_pipeline ship --once`")
    )


def _artifacts(home: Home) -> Iterator[Finding]:
    store = Store(home.artifacts)
    verified: set[Path] = set()
    num_good = 0
    for asset in store.assets():
        try:
            if artifact := store.ref(asset):
                _verify_ancestors(store, artifact, verified)
                num_good += 1
        except LmPipelineError as error:
            yield Finding(asset, False, str(error))
    yield Finding("artifacts", True, f"{num_good} assets and all their ancestors are intact")


def _verify_ancestors(store: Store, artifact: Artifact, verified: set[Path]) -> None:
    """Hash what was not hashed yet: assets share most of their ancestors."""
    for item in store.ancestors(artifact):
        if item.directory not in verified:
            item.verify()
            verified.add(item.directory)
