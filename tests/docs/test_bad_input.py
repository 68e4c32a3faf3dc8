"""Every row of docs/bad-input.md names a test that exists; what no other test shows is shown here."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, codes, rows

TABLE = rows("docs/bad-input.md", "# Bad input")


def messages(of: str) -> list[str]:
    """What the page says is in the message for an input."""
    (row,) = [row for row in TABLE if row[0].startswith(of)]
    return codes(row[2])


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of declarations beside the demo's; the home is empty."""
    monkeypatch.setenv("LM_PIPELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LM_PIPELINE_DEFS", str(tmp_path / "defs"))
    (tmp_path / "defs").mkdir()
    return tmp_path / "defs"


def declare(folder: Path, name: str, noun: str, attributes: dict) -> Path:
    path = folder / name / "defs.yaml"
    path.parent.mkdir()
    path.write_text(f"type: assets.{noun}\nattributes: {json.dumps(attributes)}\n", "utf-8")
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lm_pipeline", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=dict(os.environ), cwd=ROOT)


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_every_row_names_a_test_that_exists(row):
    (named,) = codes(row[4])
    path, _, name = named.partition("::")
    functions = [node.name for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))) if hasattr(node, "name")]
    assert name in functions


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_every_message_on_the_page_stands_in_the_code(row):
    """Literals that Python joins are joined here: line ends, quotes and indentation between them go."""
    files = [*(ROOT / "lm_pipeline").rglob("*.py"), *(ROOT / "assets").glob("*.py")]
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text("utf-8") for path in files))
    for words in codes(row[2]):
        assert words in code or words.endswith(".parquet"), words


def test_an_unknown_key_is_refused_with_file_line_and_nearest_name(folder):
    path = declare(folder, "trial", "Experiment", {"dataset": "python_docs", "model": {"family": "lstm", "widht": 8}})
    done = run("status")
    assert done.returncode == 2
    assert f"{path}:2: attributes.model.widht" in done.stderr
    assert all(words in done.stderr for words in messages("unknown key"))
    assert "Did you mean 'width'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_column_in_a_rule_of_ones_own_is_refused_before_anything_is_read(folder):
    rules = [{"name": "fine", "reject_if": "num_words > 3"}, {"name": "mine", "reject_if": "num_wordz > 3"}]
    attributes = {"source": {"kind": "path", "path": "nowhere"}, "cleaning": {"custom": rules}}
    path = declare(folder, "texts", "Corpus", attributes)
    done = run("status")
    assert done.returncode == 2
    assert f"{path}:2: attributes.cleaning.custom.1.reject_if" in done.stderr
    assert all(words in done.stderr for words in messages("a misspelt column in a rule of one's own"))
    assert "Did you mean 'num_words'?" in done.stderr
    assert done.stderr.count("num_stop_words") == 1


def test_a_misspelt_dataset_is_refused_with_the_nearest_name(folder):
    path = declare(folder, "trial", "Experiment", {"dataset": "python_docz", "model": {"family": "lstm"}})
    done = run("leaderboard")
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert all(words in done.stderr for words in messages("an experiment on a misspelt dataset"))
    assert "Did you mean 'python_docs'?" in done.stderr


def test_a_missing_corpus_is_named_with_those_there_are(folder):
    from lm_pipeline.errors import MissingArtifactError
    from lm_pipeline.graph import materialize
    from lm_pipeline.project import load_project

    declare(folder, "trial", "Dataset", {"corpora": ["python_dox"]})
    project = load_project()
    with pytest.raises(MissingArtifactError) as raised:
        materialize(project.graph, project.home, "trial/unique_documents", run_child=pytest.fail)
    assert all(words in str(raised.value) for words in messages("a dataset on a corpus that does not exist"))
    assert "'python_docs'" in str(raised.value)
    assert "data/raw" in str(raised.value) or "lm-pipeline new corpus" in str(raised.value)


def test_a_home_that_is_not_initialised_is_refused_with_what_to_run(folder):
    done = run("status")
    assert done.returncode == 3
    assert all(words in done.stderr for words in messages("a home that is not initialised"))
