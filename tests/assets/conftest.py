"""A real Dagster instance and a real MLflow store, made once, and a tiny project materialized in them once."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from lm_pipeline.home import Home
from tests.assets import tiny


@dataclass(frozen=True)
class Tiny:
    """A home and the folder of its declarations.

    Attributes:
        text: the folder of raw text, `en` and `zh`.
        built: what the first build said, where there was one.
    """

    home: Home
    defs: Path
    text: Path
    built: object = None


@pytest.fixture(scope="session")
def ready_home(tmp_path_factory) -> Path:
    """An initialised home to copy: initialising takes seconds."""
    from assets.instance import initialise

    home = Home(tmp_path_factory.mktemp("ready") / "data")
    with _environment(home, None):
        assert initialise(home)
    return home.root


@pytest.fixture(scope="session")
def new_project(ready_home, tmp_path_factory) -> Callable[[], Tiny]:
    """Makes a home of one's own with the tiny project declared and nothing materialized."""

    def make() -> Tiny:
        folder = tmp_path_factory.mktemp("project")
        home = Home(folder / "data")
        shutil.copytree(ready_home, home.root)
        config = home.dagster / "dagster.yaml"
        config.write_text(config.read_text("utf-8").replace(str(ready_home), str(home.root)), "utf-8")
        tiny.declare_tiny(folder / "defs", folder / "text")
        return Tiny(home, folder / "defs", folder / "text")

    return make


@pytest.fixture(scope="session")
def _built(new_project) -> Iterator[Tiny]:
    from assets.building import build_names

    project = new_project()
    with _environment(project.home, project.defs):
        built = build_names(project.home, ["tiny_en", "tiny_zh", "tiny", "tiny_gru", "tiny_ngram"], quiet=True)
    yield Tiny(project.home, project.defs, project.text, built)
    tiny.end_shipper(project.home.root)


@pytest.fixture
def built(_built) -> Iterator[Tiny]:
    """The tiny project, materialized once for all tests: leave it as it is."""
    with _environment(_built.home, _built.defs):
        yield _built


@pytest.fixture
def project(new_project) -> Iterator[Tiny]:
    """A tiny project of the test's own, nothing materialized."""
    made = new_project()
    with _environment(made.home, made.defs):
        yield made
    tiny.end_shipper(made.home.root)


@pytest.fixture
def instance(built) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of the built project."""
    from assets.instance import open_instance

    with open_instance(built.home) as opened:
        yield opened


@contextlib.contextmanager
def _environment(home: Home, defs: Path | None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "LM_PIPELINE_MLFLOW_URL", "LM_PIPELINE_DAGSTER_URL"):
            patch.delenv(name, raising=False)
        for name in ("LM_PIPELINE_ARTIFACTS", "LM_PIPELINE_ECHO", "LM_PIPELINE_DEFS"):
            patch.delenv(name, raising=False)
        patch.setenv("LM_PIPELINE_HOME", str(home.root))
        patch.setenv("DAGSTER_HOME", str(home.dagster))
        if defs is not None:
            patch.setenv("LM_PIPELINE_DEFS", str(defs))
        yield
