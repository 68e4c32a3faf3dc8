"""One commit primitive: an artifact is a directory that is written once, found by its address and verified when opened.

On disk, below `Store.root`:

    <stage>/<key>/manifest.json            created exclusively: the act of publishing
    <stage>/<key>/<attempt>/...            the files, and the manifest by its other name; it says which attempt won
    <stage>/<key>.lock                     flock held by whoever is building
    in_use.lock                            flock shared by all builds, so that gc takes nothing that they found
    work/<stage>/<key>/...                 resumable work in progress (training), under the same lock
    refs/...                               the only mutable files: asset -> stage and key (see `references`)

The *key* (address) is the digest of the content digests of the inputs, the spec fields that the stage reads and the
stage-version literal. The *digest* is that of the content: it is what downstream keys and Dagster's data versions use.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_pipeline import locks
from lm_pipeline.digests import digest_file, digest_of
from lm_pipeline.disk import explaining_a_full_disk, fsync
from lm_pipeline.errors import BusyError, CorruptArtifactError, MissingArtifactError
from lm_pipeline.locks import Held
from lm_pipeline.references import References

MANIFEST = "manifest.json"
IN_USE = "in_use.lock"
FORMAT = 1


@dataclass(frozen=True)
class Stage:
    """A step that produces artifacts.

    `version` is a literal that whoever changes the step's result raises by one; golden-output tests hold it to that.
    """

    name: str
    version: int

    def key(self, inputs: Mapping[str, str], spec: Mapping[str, Any]) -> str:
        """The address (40 hex digits) of the result for these input digests and spec fields."""
        address = {"stage": self.name, "version": self.version, "inputs": dict(inputs), "spec": dict(spec)}
        return digest_of(address)[:40]


@dataclass(frozen=True)
class Artifact:
    """A published artifact, as its manifest describes it."""

    directory: Path
    manifest: dict[str, Any]

    @property
    def stage(self) -> str:
        """Name of the stage that made it."""
        return self.manifest["stage"]

    @property
    def key(self) -> str:
        """Its address."""
        return self.manifest["key"]

    @property
    def digest(self) -> str:
        """Digest of its content: Dagster's data version."""
        return self.manifest["digest"]

    @property
    def summary(self) -> dict[str, Any]:
        """What the stage said about its result: counts, tables, measurements."""
        return self.manifest["summary"]

    @property
    def inputs(self) -> dict[str, dict[str, str]]:
        """By role: `{"stage", "key", "digest"}` of each input artifact."""
        return self.manifest["inputs"]

    @property
    def parts(self) -> list[dict[str, str]]:
        """`{"stage", "key", "digest"}` of the artifacts it is made up of, in order."""
        return self.manifest["parts"]

    @property
    def files_dir(self) -> Path:
        """The folder of its files."""
        return self.directory / self.manifest["attempt"]

    def path(self, name: str) -> Path:
        """Path of a file that the manifest lists.

        Raises:
            MissingArtifactError: the manifest lists no such file.
        """
        if name not in self.manifest["files"]:
            listed = ", ".join(self.manifest["files"]) or "none"
            raise MissingArtifactError(f"Artifact {self.stage}/{self.key} has no file {name!r}. It has: {listed}.")
        return self.files_dir / name

    def verify(self, *names: str) -> "Artifact":
        """Compare files, of no name all of them, with the manifest's sizes and hashes.

        Raises:
            CorruptArtifactError: a file is missing or its bytes differ.
        """
        for name, entry in self.manifest["files"].items():
            if names and name not in names:
                continue
            path = self.files_dir / name
            problem = None
            if not path.is_file():
                problem = "is missing"
            elif path.stat().st_size != entry["bytes"]:
                problem = f"has {path.stat().st_size} bytes, not {entry['bytes']}"
            elif digest_file(path) != entry["sha256"]:
                problem = "has other bytes than were committed (SHA-256 differs)"
            if problem:
                raise CorruptArtifactError(
                    f"{path} {problem}. The artifact {self.stage}/{self.key} is damaged: run"
                    f" `lm-pipeline gc --drop {self.stage}/{self.key}` and materialize it again."
                )
        return self


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


class Store(References):
    """Artifacts on a local disk."""

    def find(self, stage: str, key: str) -> Artifact | None:
        """The published artifact at this address, or None.

        Raises:
            CorruptArtifactError: its manifest cannot be read.
        """
        directory = self.root / stage / key
        try:
            data = (directory / MANIFEST).read_bytes()
        except FileNotFoundError:
            return None
        try:
            manifest = json.loads(data)
            version = manifest["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                f"{directory / MANIFEST} is not a manifest ({error!r}). The artifact is damaged: run"
                f" `lm-pipeline gc --drop {stage}/{key}` and materialize it again."
            ) from error
        if version != FORMAT:
            raise CorruptArtifactError(
                f"{directory / MANIFEST} has format {version}; this version reads {FORMAT}. Use the version of"
                f" lm_pipeline that wrote it, or run `lm-pipeline gc --drop {stage}/{key}` and materialize it again."
            )
        return Artifact(directory, manifest)

    def open(self, stage: str, key: str) -> Artifact:
        """The published artifact at this address, its bytes verified.

        Raises:
            MissingArtifactError: nothing was published there.
            CorruptArtifactError: the bytes are not those that were committed.
        """
        artifact = self.find(stage, key)
        if artifact is None:
            raise MissingArtifactError(f"There is no artifact {stage}/{key} in {self.root}.")
        return artifact.verify()

    def lock(self, stage: str, key: str, wait_seconds: float = 0.0) -> contextlib.AbstractContextManager[Held]:
        """Hold the build lock of an address. The kernel frees it when the holder dies.

        Raises:
            BusyError: another living process holds it after `wait_seconds`.
        """
        return locks.exclusive(self.root / stage / f"{key}.lock", f"{stage}/{key}", wait_seconds)

    def in_use(self) -> contextlib.AbstractContextManager[Held]:
        """While this is held, gc deletes nothing that is published: what was found stays."""
        return locks.shared(self.root / IN_USE)

    def addresses(self) -> list[tuple[str, str]]:
        """Stage and key of everything there is: artifacts, attempts, locks and work in progress."""
        folders = [path for path in self.root.glob("*") if path.name not in ("refs", "work")]
        folders += (self.root / "work").glob("*")
        return sorted({(f.name, p.name.removesuffix(".lock")) for f in folders if f.is_dir() for p in f.iterdir()})

    def work_dir(self, stage: str, key: str) -> Path:
        """Folder for resumable work at this address, kept until the artifact is published. Use it under the lock."""
        path = self.root / "work" / stage / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    def build(
        self,
        stage: Stage,
        inputs: Mapping[str, Artifact],
        spec: Mapping[str, Any],
        write: Callable[[Staging], None],
        wait_seconds: float = 0.0,
    ) -> tuple[Artifact, bool]:
        """The artifact for these inputs and this spec: found, or written by `write` and published.

        Returns:
            The artifact, and whether it was reused.

        Raises:
            BusyError: another process is building it.
            OSError: the disk refused; nothing was published and earlier artifacts are untouched.
        """
        key = stage.key({role: item.digest for role, item in inputs.items()}, spec)
        with explaining_a_full_disk(stage.name, self.root), self.in_use():
            found = self.find(stage.name, key)
            if found is not None:
                self._drop_work(stage.name, key)  # of a process that was killed between publishing and dropping it
                return found, True
            with self.lock(stage.name, key, wait_seconds) as held:
                found = self.find(stage.name, key)
                if found is not None:
                    return found, True
                return self._write(stage, key, inputs, spec, write, held), False

    def _write(
        self,
        stage: Stage,
        key: str,
        inputs: Mapping[str, Artifact],
        spec: Mapping[str, Any],
        write: Callable[[Staging], None],
        held: Held,
    ) -> Artifact:
        directory = self.root / stage.name / key
        for left in directory.glob("attempt-*"):  # we hold the lock: its process was killed, or may not publish it
            shutil.rmtree(left, ignore_errors=True)
        staging = Staging(directory / f"attempt-{uuid.uuid4().hex[:12]}", key)
        staging.path.mkdir(parents=True)
        try:
            with locks.pinned(staging.path) as pinned:
                write(staging)
                artifact = self._publish(stage, inputs, spec, staging, (held, pinned))
        except BaseException:
            # An interrupt may come between publishing and returning: what a manifest names is not touched any more.
            published = self.find(stage.name, key)
            if published is None or published.files_dir != staging.path:
                shutil.rmtree(staging.path, ignore_errors=True)
                with contextlib.suppress(OSError):
                    directory.rmdir()
            raise
        shutil.rmtree(self.root / "work" / stage.name / key, ignore_errors=True)
        for other in staging.superseded:
            self._drop_work(stage.name, other)
        return artifact

    def _drop_work(self, stage: str, key: str) -> None:
        """Remove work that nobody needs any more, unless a living process is at it."""
        work = self.root / "work" / stage / key
        if work.exists():
            with contextlib.suppress(BusyError), self.lock(stage, key):
                shutil.rmtree(work, ignore_errors=True)

    def _publish(
        self,
        stage: Stage,
        inputs: Mapping[str, Artifact],
        spec: Mapping[str, Any],
        staging: Staging,
        fences: tuple[Held, ...],
    ) -> Artifact:
        for fence in fences:
            _require_intact(fence, stage, staging.key)
        files = {}
        for path in sorted(p for p in staging.path.rglob("*") if p.is_file()):
            fsync(path)
            name = path.relative_to(staging.path).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": digest_file(path)}
            if name in staging.volatile:
                files[name]["volatile"] = True
        for folder in [staging.path, *(p for p in staging.path.rglob("*") if p.is_dir())]:
            fsync(folder)
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
            "inputs": {role: _address(item) for role, item in inputs.items()},
            "parts": [_address(item) for item in staging.parts],
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

    def set_ref(self, asset: str, artifact: Artifact, note: Mapping[str, Any] | None = None) -> None:
        """Point an asset at its current artifact, atomically."""
        value = {"stage": artifact.stage, "key": artifact.key, "digest": artifact.digest, **(note or {})}
        self._write_ref(asset, value)

    def ref(self, asset: str) -> Artifact | None:
        """The asset's current artifact, or None when it was never materialized (or was collected)."""
        address = self.ref_address(asset)
        return self.find(*address) if address else None

    def refs(self) -> dict[str, Artifact]:
        """Every asset's current artifact."""
        found = {asset: self.ref(asset) for asset in self.assets()}
        return {asset: artifact for asset, artifact in found.items() if artifact is not None}

    def ancestors(self, artifact: Artifact) -> Iterator[Artifact]:
        """The artifact, its parts and all it was made from, each once, following manifest digests only.

        Raises:
            MissingArtifactError: an ancestor was deleted.
        """
        seen: set[tuple[str, str]] = set()
        pending = [artifact]
        while pending:
            current = pending.pop()
            if (current.stage, current.key) in seen:
                continue
            seen.add((current.stage, current.key))
            yield current
            for entry in (*current.inputs.values(), *current.parts):
                parent = self.find(entry["stage"], entry["key"])
                if parent is None or parent.digest != entry["digest"]:
                    raise MissingArtifactError(
                        f"{current.stage}/{current.key} was made from {entry['stage']}/{entry['key']}, which is gone or"
                        " no longer the same. Its lineage cannot be followed further."
                    )
                pending.append(parent)

    def open_parts(self, artifact: Artifact) -> list[Artifact]:
        """The artifacts that this one is made up of, verified, in order."""
        return [self.open(entry["stage"], entry["key"]) for entry in artifact.parts]


def _address(artifact: Artifact) -> dict[str, str]:
    return {"stage": artifact.stage, "key": artifact.key, "digest": artifact.digest}


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
