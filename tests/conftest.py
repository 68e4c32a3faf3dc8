"""Fixtures that every test may use."""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from lm_pipeline import mkl
from lm_pipeline.freshness import State, status
from lm_pipeline.graph import Graph, Outcome, materialize, topological, upstream
from lm_pipeline.home import Home
from lm_pipeline.launch import supervise
from lm_pipeline.project import build_graph
from lm_pipeline.specs.declarations import Declarations, load_declarations

ROOT = Path(__file__).resolve().parents[1]

# How long an example takes says nothing on a machine that others use as well.
hypothesis.settings.register_profile("shared_machine", deadline=None)
hypothesis.settings.load_profile("shared_machine")

# Who starts the tests in the background of a script has SIGINT ignored, and so would every process that a test starts
# and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As in the processes that compute, and before any test imports torch.
mkl.use_avx2_kernels()

# Models in tests are tiny: more threads only wait for each other. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real corpora beside the checkout; skipped where they are absent, except in CI, where that is a failure."""
    folder = Path(os.environ.get("LM_PIPELINE_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        message = f"no real corpora at {folder}; set LM_PIPELINE_TEST_DATA to a folder that has them"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@dataclass(frozen=True)
class TinyProject:
    """A home, the folder of its declarations and the folder of raw text, each file of which is a few kilobytes.

    Two corpora (`tiny_english`, `tiny_chinese`), the dataset `tiny` of both, the experiments `tiny_ngram` and
    `tiny_gru` (5 steps). Each corpus has kept, rejected, quarantined, repeated and nearly repeated documents.
    """

    home: Home
    defs: Path
    text: Path

    @property
    def declarations(self) -> Declarations:
        """As the files have them now; those of the clone are left out."""
        return load_declarations([self.defs], self.home.raw)

    @property
    def graph(self) -> Graph:
        return build_graph(self.declarations)

    def materialize(self, asset: str) -> Outcome:
        """Build one asset with the real child processes, without Dagster."""
        return materialize(self.graph, self.home, asset, supervise, log=lambda _: None)

    def states(self) -> dict[str, State]:
        return status(self.graph, self.home)

    def not_current(self) -> dict[str, tuple[str, str]]:
        """Status and reason of every asset that is not current."""
        found = self.states().items()
        return {asset: (state.status, state.reason) for asset, state in found if state.status != "current"}

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in the declaration of an experiment, a dataset or a corpus."""
        [path] = self.defs.glob(f"*/{name}/defs.yaml")
        text = path.read_text("utf-8")
        assert old in text, text
        path.write_text(text.replace(old, new), "utf-8")


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory) -> TinyProject:
    """A materialized project, built once: read it, do not change it (see `tiny_copy`)."""
    folder = tmp_path_factory.mktemp("tiny")
    project = TinyProject(Home(folder / "data"), folder / "defs", folder / "text")
    _write_texts(project.text)
    _declare(project)
    project.home.raw.mkdir(parents=True)
    project.home.marker.write_text("{}\n", "utf-8")
    graph = project.graph
    models = [asset for asset in topological(graph) if asset.startswith(("tiny_gru/", "tiny_ngram/"))]
    for asset in topological(graph):
        if asset not in models and asset != "tiny/leaderboard":
            project.materialize(asset)
    # Most of the time goes into child processes that import torch: one experiment a core.
    failures: list[BaseException] = []

    def build(experiment: str) -> None:
        try:
            for asset in models:
                if graph[asset].owner == experiment:
                    project.materialize(asset)
        except BaseException as error:  # noqa: BLE001 - it is raised in the main thread
            failures.append(error)

    threads = [threading.Thread(target=build, args=(name,)) for name in project.declarations.experiments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    project.materialize("tiny/leaderboard")
    assert upstream(graph, set(graph)) == list(project.states())
    return project


@pytest.fixture
def tiny_copy(tiny_project, tmp_path) -> TinyProject:
    """The materialized project again, for tests that change declarations or artifacts; the raw text is shared."""
    copy = TinyProject(Home(tmp_path / "data"), tmp_path / "defs", tiny_project.text)
    shutil.copytree(tiny_project.home.root, copy.home.root)
    shutil.copytree(tiny_project.defs, copy.defs)
    return copy


@pytest.fixture
def tiny_fresh(tmp_path) -> TinyProject:
    """The same project with nothing materialized and raw text of its own."""
    project = TinyProject(Home(tmp_path / "data"), tmp_path / "defs", tmp_path / "text")
    _write_texts(project.text)
    _declare(project)
    project.home.raw.mkdir(parents=True)
    project.home.marker.write_text("{}\n", "utf-8")
    return project


@pytest.fixture
def environment_of(monkeypatch) -> Iterator[object]:
    """Makes a project the one that commands in this process and its children work on."""

    def use(project: TinyProject) -> TinyProject:
        for name in ("MLFLOW_TRACKING_URI", "LM_PIPELINE_ARTIFACTS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("LM_PIPELINE_HOME", str(project.home.root))
        monkeypatch.setenv("LM_PIPELINE_DEFS", str(project.defs))
        return project

    return use


def english_text(number: int) -> str:
    """A text of which no other number's is a near copy."""
    draw = random.Random(number)
    nouns = ("model", "corpus", "token", "law", "reader", "page", "river", "engine", "bridge", "garden", "window")
    verbs = ("reads", "keeps", "follows", "opens", "carries", "measures")

    def sentence() -> str:
        subject, other, whose = (draw.choice(nouns) for _ in range(3))
        return f"The {subject} {draw.choice(verbs)} the {other} of {whose} {draw.randrange(99)}."

    return " ".join(sentence() for _ in range(8))


def chinese_text(number: int) -> str:
    """The same in Chinese."""
    draw = random.Random(number)
    characters = "法律条文规定人民国家公司合同责任义务权利财产机关工作社会经济管理"
    return "".join("".join(draw.choice(characters) for _ in range(18)) + "。" for _ in range(3))


def _write_texts(folder: Path) -> None:
    for name, text in (("english", english_text), ("chinese", chinese_text)):
        (folder / name).mkdir(parents=True)
        records = [{"text": text(number), "book": f"book {number // 3}"} for number in range(60)]
        records.append({"text": text(0), "book": "a copy"})
        records.append({"text": text(1) + " " + text(1)[:10], "book": "nearly a copy"})
        records.append({"text": "short", "book": "a leaflet"})
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        (folder / name / "a.jsonl").write_text("\n".join([*lines, "{not json"]) + "\n", "utf-8")


def _declare(project: TinyProject) -> None:
    for corpus in ("english", "chinese"):
        _write_declaration(
            project.defs / "corpora" / f"tiny_{corpus}",
            f"""\
type: assets.Corpus
attributes:
  description: Tiny.
  source: {{kind: path, path: {project.text / corpus}}}
  fields: {{group: book}}
  cleaning: {{profile: none, min_characters: 20}}
""",
        )
    _write_declaration(
        project.defs / "datasets" / "tiny",
        """\
type: assets.Dataset
attributes:
  description: Both languages.
  corpora: [tiny_english, tiny_chinese]
  split: {validation_fraction: 0.15, test_fraction: 0.15}
  tokenizer: {algorithm: bpe, vocab_size: 400}
""",
    )
    evaluation = "  evaluation: {num_bootstrap: 10, samples: {num_per_prompt: 1, max_tokens: 5}}\n"
    _write_declaration(
        project.defs / "experiments" / "tiny_ngram",
        "type: assets.Experiment\nattributes:\n  dataset: tiny\n  model: {family: ngram, order: 3}\n" + evaluation,
    )
    _write_declaration(
        project.defs / "experiments" / "tiny_gru",
        """\
type: assets.Experiment
attributes:
  description: Five steps.
  dataset: tiny
  model: {family: gru, num_layers: 1, width: 16}
  training:
    num_steps: 5
    batch_size: 2
    context_length: 16
    learning_rate: 0.01
    warmup_steps: 0
    validation_interval: 5
    validation_batches: 1
    log_interval: 1
    precision: float32
    device: cpu
    num_threads: 1
"""
        + evaluation,
    )


def _write_declaration(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(text, "utf-8")


@pytest.fixture
def tiny_disk(tmp_path):
    """A real file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
