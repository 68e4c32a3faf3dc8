"""The home folder: where raw text, artifacts and the two stores live."""

import os
from dataclasses import dataclass
from pathlib import Path

from lm_pipeline.errors import HomeError

_CLONE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Home:
    """Paths below the home folder. Nothing is created by looking."""

    root: Path

    @property
    def raw(self) -> Path:
        """Folders dropped here become corpora."""
        return self.root / "raw"

    @property
    def artifacts(self) -> Path:
        """Content-addressed artifacts and refs; `LM_PIPELINE_ARTIFACTS` moves it."""
        given = os.environ.get("LM_PIPELINE_ARTIFACTS")
        if given and "://" in given:
            raise HomeError(
                f"LM_PIPELINE_ARTIFACTS is {given!r}: expected a folder; object storage is not supported yet."
            )
        return Path(given).expanduser().resolve() if given else self.root / "artifacts"

    @property
    def cache(self) -> Path:
        """What can be made again at no loss: downloads, file digests, measurements."""
        return self.root / "cache"

    @property
    def mlflow(self) -> Path:
        """The default MLflow store."""
        return self.root / "mlflow"

    @property
    def spool(self) -> Path:
        """Tracking events; the source of truth for MLflow."""
        return self.root / "mlflow" / "spool"

    @property
    def dagster(self) -> Path:
        """`DAGSTER_HOME`."""
        return self.root / "dagster"

    @property
    def local_tracking_uri(self) -> str:
        """The SQLite store in this home."""
        return f"sqlite:///{self.mlflow / 'mlflow.db'}"

    @property
    def tracking_uri(self) -> str:
        """`MLFLOW_TRACKING_URI`, or the store in this home."""
        return os.environ.get("MLFLOW_TRACKING_URI") or self.local_tracking_uri

    @property
    def marker(self) -> Path:
        """Written last by `lm-pipeline init`."""
        return self.root / "initialised.json"

    def require_initialised(self) -> "Home":
        """Return self, or say what to run.

        Raises:
            HomeError: `lm-pipeline init` has not finished here.
        """
        if not self.marker.is_file():
            raise HomeError(f"The home {self.root} is not initialised. Run `lm-pipeline init` (or `make demo`) first.")
        return self


def find_home() -> Home:
    """The home: `LM_PIPELINE_HOME`, else `data/` of the clone, else `data/` of the current folder."""
    given = os.environ.get("LM_PIPELINE_HOME")
    if given:
        return Home(Path(given).expanduser().resolve())
    base = _CLONE if (_CLONE / "dagster_workspace.yaml").is_file() else Path.cwd()
    return Home(base / "data")


def definition_folders() -> list[Path]:
    """Folders of YAML declarations: the clone's `assets/defs` and those that `LM_PIPELINE_DEFS` names (`:` between).

    Raises:
        HomeError: a named folder does not exist.
    """
    folders = [_CLONE / "assets" / "defs"]
    for name in filter(None, os.environ.get("LM_PIPELINE_DEFS", "").split(os.pathsep)):
        folder = Path(name).expanduser().resolve()
        if not folder.is_dir():
            raise HomeError(
                f"LM_PIPELINE_DEFS names {name!r}, which is not a folder. Create it or correct the variable."
            )
        folders.append(folder)
    return folders
