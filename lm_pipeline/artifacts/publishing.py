"""What a stage writes becomes an artifact: everything on the disk first, its manifest last and at once."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_pipeline.artifacts.artifact import FORMAT, MANIFEST, Artifact, Stage
from lm_pipeline.digests import digest_file, digest_of
from lm_pipeline.disk import fsync
from lm_pipeline.errors import BusyError
from lm_pipeline.locks import Held


@dataclass
class Staging:
    """Where a stage writes before it publishes.

    Attributes:
        path: an empty folder of this attempt's own.
        summary: what the manifest will say about the result; JSON values.
        volatile: names of files that hold times or rates: hashed and verified, but no part of the content digest.
        content_digest: set by a stage whose content has a canonical digest of its own (order or layout free); else the
            digest of all non-volatile files is the content digest.
        provenance: who made it: code version, times, MLflow spool id, determinism record.
        parts: artifacts that this one is made up of instead of copying them, such as the parts of a corpus.
        superseded: keys of the same stage whose unfinished work nobody needs once this is published.
    """

    path: Path
    key: str
    summary: dict[str, Any] = field(default_factory=dict)
    volatile: set[str] = field(default_factory=set)
    content_digest: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    parts: list[Artifact] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)


def publish(
    stage: Stage,
    inputs: Mapping[str, Artifact],
    spec: Mapping[str, Any],
    staging: Staging,
    fences: Sequence[Held],
) -> Artifact:
    """Make what lies in the staging folder the artifact at its address.

    Args:
        stage: what made it.
        inputs: by role, what it was made from.
        spec: the fields it was made by.
        staging: the folder and what the manifest says besides.
        fences: what a process holds that may publish.

    Raises:
        BusyError: a fence was taken away, or another process published meanwhile; nothing was published.
    """
    for fence in fences:
        _require_intact(fence, stage, staging.key)
    files = _files_on_disk(staging)
    content: dict[str, Any] = {name: entry["sha256"] for name, entry in files.items() if not entry.get("volatile")}
    if staging.parts:
        content["parts"] = [item.digest for item in staging.parts]
    manifest = {
        "format": FORMAT,
        "stage": stage.name,
        "stage_version": stage.version,
        "key": staging.key,
        "digest": staging.content_digest or digest_of(content),
        "attempt": staging.path.name,
        "inputs": {role: item.reference for role, item in inputs.items()},
        "parts": [item.reference for item in staging.parts],
        "spec": dict(spec),
        "files": files,
        "summary": staging.summary,
        "provenance": staging.provenance,
    }
    directory = staging.path.parent
    # Its first name lies in the attempt and stays there, so that at no instant there is anything to clean up.
    written = staging.path / MANIFEST
    written.write_text(json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    fsync(written)
    for fence in fences:
        _require_intact(fence, stage, staging.key)
    try:
        os.link(written, directory / MANIFEST)
    except FileExistsError:
        raise BusyError(
            f"Another process published {stage.name}/{staging.key} meanwhile: materialize again to use it."
        ) from None
    fsync(directory)
    fsync(directory.parent)
    return Artifact(directory, manifest)


def _files_on_disk(staging: Staging) -> dict[str, dict[str, Any]]:
    """Wait until all files are on the disk; their entries in the manifest."""
    files = {}
    for path in sorted(p for p in staging.path.rglob("*") if p.is_file()):
        fsync(path)
        name = path.relative_to(staging.path).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": digest_file(path)}
        if name in staging.volatile:
            files[name]["volatile"] = True
    for folder in [staging.path, *(p for p in staging.path.rglob("*") if p.is_dir())]:
        fsync(folder)
    return files


def _require_intact(fence: Held, stage: Stage, key: str) -> None:
    """A process whose lock or folder was taken away has outlived its right to publish.

    Raises:
        BusyError: it was.
    """
    if not fence.is_intact():
        raise BusyError(
            f"{fence.path} was removed while {stage.name}/{key} was being built, so another process may be building it"
            " now. Nothing was published: materialize it again."
        )
