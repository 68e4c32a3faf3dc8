"""The code location: it loads in a moment without heavy libraries, `dg` works on it, and wrong YAML is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.assets import tiny

ROOT = Path(__file__).resolve().parents[2]
LOAD = """
import sys, time
start = time.process_time()
from assets.definitions import defs
found = defs()
seconds = time.process_time() - start
print(seconds, len(list(found.resolve_all_asset_specs())), *sorted(sys.modules))
"""


def run(*argv: str, defs: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"LM_PIPELINE_DEFS": str(defs)} if defs else {})}
    if defs is None:
        environment.pop("LM_PIPELINE_DEFS", None)
    return subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )


def dg_command(*arguments: str, defs: Path | None = None) -> subprocess.CompletedProcess[str]:
    return run(str(Path(sys.executable).parent / "dg"), *arguments, defs=defs)


def test_it_loads_in_a_moment_without_heavy_libraries(tmp_path):
    tiny.declare_tiny(tmp_path / "defs", tmp_path / "text")
    outcomes = [run(sys.executable, "-c", LOAD, defs=tmp_path / "defs") for _ in range(2)]
    assert [outcome.returncode for outcome in outcomes] == [0, 0], outcomes[0].stderr
    lines = [outcome.stdout.split() for outcome in outcomes]
    loaded = set(lines[0][2:])
    for heavy in ("torch", "mlflow", "polars", "pyarrow", "numpy", "matplotlib", "scipy", "numba", "sentencepiece"):
        assert heavy not in loaded, heavy
    assert min(float(line[0]) for line in lines) < 3  # processor time, about 1 s, whatever else the machine does


def test_dg_checks_and_lists_the_declarations():
    assert (checked := dg_command("check", "yaml")).returncode == 0, checked.stdout + checked.stderr
    assert (checked := dg_command("check", "defs")).returncode == 0, checked.stdout + checked.stderr
    listed = dg_command("list", "defs", "--json")
    assert listed.returncode == 0, listed.stderr
    for name in ("python_docs/splits", "chinese_law_lstm/checkpoint", "raw_documents", "clean_corpus", "raw_files"):
        assert name in listed.stdout


def test_dg_list_shows_declarations_outside_the_clone(tmp_path):
    tiny.declare_tiny(tmp_path / "defs", tmp_path / "text")
    listed = dg_command("list", "defs", "--json", defs=tmp_path / "defs")
    assert listed.returncode == 0, listed.stderr
    assert "tiny_gru/report" in listed.stdout
    assert "tiny/leaderboard" in listed.stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (tiny.neural().replace("learning_rate", "learning_rat"), ["learning_rat", "Did you mean 'learning_rate'?"]),
        (tiny.neural(dataset="tinny"), ["there is no dataset 'tinny'", "Did you mean 'tiny'?"]),
        (tiny.neural().replace("family: gru", "family: gruu"), ["'gruu' is unknown", "Did you mean 'gru'?"]),
        (tiny.neural(num_steps="many"), ["num_steps", "'many'"]),
        ("type: assets.Experimnt\nattributes: {}\n", ["Did you mean 'assets.Experiment'?"]),
        ("type: [", ["this is not YAML"]),
    ],
    ids=["key", "dataset", "family", "type of a value", "noun", "yaml"],
)
def test_wrong_yaml_is_refused_at_load_by_file_and_key(tmp_path, monkeypatch, text, expected):
    from assets.definitions import defs
    from lm_pipeline.errors import SpecError

    tiny.declare_tiny(tmp_path / "defs", tmp_path / "text")
    path = tiny.declare(tmp_path / "defs", "tiny_gru", text)
    monkeypatch.setenv("LM_PIPELINE_DEFS", str(tmp_path / "defs"))
    monkeypatch.setenv("LM_PIPELINE_HOME", str(tmp_path / "data"))
    with pytest.raises(SpecError) as caught:
        defs()
    for words in (str(path), *expected):
        assert words in str(caught.value)


def test_wrong_yaml_is_what_dg_shows(tmp_path):
    tiny.declare_tiny(tmp_path / "defs", tmp_path / "text")
    tiny.declare(tmp_path / "defs", "tiny_gru", tiny.neural().replace("learning_rate", "learning_rat"))
    checked = dg_command("check", "defs", defs=tmp_path / "defs")
    assert checked.returncode != 0
    assert "Did you mean 'learning_rate'?" in checked.stdout + checked.stderr
