"""What a stage makes and where it is found: addresses, manifests, and files that are compared with them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_pipeline.digests import digest_file, digest_of
from lm_pipeline.errors import CorruptArtifactError, MissingArtifactError

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Stage:
    """A step that produces artifacts.

    `version` is a literal that whoever changes the step's result raises by one; golden-output tests hold it to that.
    `parts` are the steps that make the artifacts which the result is made up of: their versions stand in its address.
    """

    name: str
    version: int
    parts: tuple["Stage", ...] = ()

    def key(self, inputs: Mapping[str, str], spec: Mapping[str, Any]) -> str:
        """The address (40 hex digits) of the result for these input digests and spec fields."""
        address = {"stage": self.name, "version": self.version, "inputs": dict(inputs), "spec": dict(spec)}
        if self.parts:
            address["parts"] = {part.name: part.version for part in self.parts}
        return digest_of(address)[:40]


@dataclass(frozen=True)
class Artifact:
    """A published artifact, as its manifest describes it."""

    directory: Path
    manifest: dict[str, Any]

    @classmethod
    def read(cls, directory: Path) -> "Artifact | None":
        """What is published in a folder `<stage>/<key>`, or None.

        Raises:
            CorruptArtifactError: its manifest cannot be read.
        """
        stage, key = directory.parent.name, directory.name
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
        return cls(directory, manifest)

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
    def reference(self) -> dict[str, str]:
        """`{"stage", "key", "digest"}`: how manifests and references name it."""
        return {"stage": self.stage, "key": self.key, "digest": self.digest}

    @property
    def summary(self) -> dict[str, Any]:
        """What the stage said about its result: counts, tables, measurements."""
        return self.manifest["summary"]

    @property
    def inputs(self) -> dict[str, dict[str, str]]:
        """By role: the reference of each input artifact."""
        return self.manifest["inputs"]

    @property
    def parts(self) -> list[dict[str, str]]:
        """The references of the artifacts it is made up of, in order."""
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
