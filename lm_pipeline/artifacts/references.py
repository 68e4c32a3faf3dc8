"""Which artifact an asset stands for now: the only files of a store that change.

<root>/refs/<asset>.json               asset -> stage, key and digest
<root>/refs/failed/<asset>.json        why its next version could not be built
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_pipeline import locks
from lm_pipeline.digests import canonical_json
from lm_pipeline.disk import explaining_a_full_disk, fsync
from lm_pipeline.errors import CorruptArtifactError


class References:
    """The references of a store; each is replaced atomically."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def set_failure(self, asset: str, message: str) -> None:
        """Record that building the asset's next version failed; cleared by `clear_failure`."""
        self._write_ref(f"failed/{asset}", {"message": message, "time": time.time()})

    def clear_failure(self, asset: str) -> None:
        """Forget the asset's recorded failure, if any."""
        self._ref_path(f"failed/{asset}").unlink(missing_ok=True)

    def failure(self, asset: str) -> str | None:
        """Message of the asset's last failure, if it has not been built since."""
        try:
            return json.loads(self._ref_path(f"failed/{asset}").read_text("utf-8"))["message"]
        except FileNotFoundError:
            return None

    def ref_address(self, asset: str) -> tuple[str, str] | None:
        """Stage and key of the asset's current artifact, whether it still exists or not.

        Raises:
            CorruptArtifactError: the ref cannot be read.
        """
        path = self._ref_path(asset)
        try:
            value = json.loads(path.read_bytes())
            return value["stage"], value["key"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                f"{path} does not name an artifact ({error!r}). Delete it and run `lm-pipeline materialize {asset}`."
            ) from error

    def assets(self) -> list[str]:
        """Names of all assets that were ever materialized."""
        folder = self.root / "refs"
        names = [path.relative_to(folder).as_posix().removesuffix(".json") for path in sorted(folder.rglob("*.json"))]
        return [name for name in names if not name.startswith("failed/")]

    def _ref_path(self, asset: str) -> Path:
        return self.root / "refs" / f"{asset}.json"

    def _write_ref(self, asset: str, value: Mapping[str, Any]) -> None:
        path = self._ref_path(asset)
        temporary = path.with_suffix(".tmp")  # always the same: what a killed process left is written over
        what = f"the ref of {asset}"
        with explaining_a_full_disk(what, self.root), locks.exclusive(temporary, what, wait_seconds=60):
            try:
                temporary.write_text(canonical_json(value) + "\n", "utf-8")
                fsync(temporary)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            fsync(path.parent)
