"""Artifacts on a disk: found by address, built once by one process at a time, and followed back to what made them."""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lm_pipeline import locks
from lm_pipeline.artifacts.artifact import Artifact, Stage
from lm_pipeline.artifacts.publishing import Staging, publish
from lm_pipeline.artifacts.references import References
from lm_pipeline.disk import explaining_a_full_disk
from lm_pipeline.errors import BusyError, MissingArtifactError
from lm_pipeline.locks import Held

IN_USE = "in_use.lock"


class Store(References):
    """Artifacts on a local disk."""

    def find(self, stage: str, key: str) -> Artifact | None:
        """The published artifact at this address, or None.

        Raises:
            CorruptArtifactError: its manifest cannot be read.
        """
        return Artifact.read(self.root / stage / key)

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
        return locks.exclusive(self._lock_file(stage, key), f"{stage}/{key}", wait_seconds)

    def is_locked(self, stage: str, key: str) -> bool:
        """Whether a living process is building at this address."""
        return locks.is_held(self._lock_file(stage, key))

    def _lock_file(self, stage: str, key: str) -> Path:
        return self.root / stage / f"{key}.lock"

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
        path = self.unfinished(stage, key)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def unfinished(self, stage: str, key: str) -> Path:
        """Where `work_dir` is at this address, whether it is there or not."""
        return self.root / "work" / stage / key

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
                artifact = publish(stage, inputs, spec, staging, (held, pinned))
        except BaseException:
            # An interrupt may come between publishing and returning: what a manifest names is not touched any more.
            published = self.find(stage.name, key)
            if published is None or published.files_dir != staging.path:
                shutil.rmtree(staging.path, ignore_errors=True)
                with contextlib.suppress(OSError):
                    directory.rmdir()
            raise
        shutil.rmtree(self.unfinished(stage.name, key), ignore_errors=True)
        for other in staging.superseded:
            self._drop_work(stage.name, other)
        return artifact

    def _drop_work(self, stage: str, key: str) -> None:
        """Remove work that nobody needs any more, unless a living process is at it."""
        work = self.unfinished(stage, key)
        if work.exists():
            with contextlib.suppress(BusyError), self.lock(stage, key):
                shutil.rmtree(work, ignore_errors=True)

    def set_ref(self, asset: str, artifact: Artifact, note: Mapping[str, Any] | None = None) -> None:
        """Point an asset at its current artifact, atomically."""
        self._write_ref(asset, {**artifact.reference, **(note or {})})

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
