import json
import platform
import sys
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw import python_source
from lm_pipeline.corpus.raw.raw_files import raw_files
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import PythonSource


def fetch(source: PythonSource, folder: Path) -> tuple[dict, dict[str, list[dict]]]:
    home = Home(folder / "data")
    folder.mkdir()
    summary = python_source.fetch(source, python_source.identify(source, home), home, folder)
    files = raw_files(folder / "files.parquet")
    return summary, {f.path: [json.loads(line) for line in f.location.read_bytes().splitlines()] for f in files}


def test_the_identity_is_versions(tmp_path: Path):
    import numpy as np

    identity = python_source.identify(PythonSource(packages=("stdlib", "numpy")), Home(tmp_path))
    assert identity["packages"] == {"stdlib": platform.python_version(), "numpy": np.__version__}
    assert identity["python"] == platform.python_version()
    assert identity["extraction"] == python_source.EXTRACTION


def test_every_topic_of_the_language_reference_is_a_document(tmp_path: Path):
    from pydoc_data.topics import topics

    summary, files = fetch(PythonSource(packages=()), tmp_path / "out")
    assert summary["num_documents"] == {"topics": len(topics)}
    assert [row["name"] for row in files["topics.jsonl"]] == sorted(topics)


def test_numpy_is_read_without_tests_and_with_what_is_attached_to_c(tmp_path: Path):
    summary, files = fetch(PythonSource(topics=False, packages=("numpy",)), tmp_path / "out")
    rows = files["numpy.jsonl"]
    assert summary["num_documents"] == {"numpy": len(rows)}
    assert summary["unparsed"] == []
    by_name = {row["name"]: row for row in rows}
    assert by_name["numpy.linalg._linalg.svd"]["group"] == "numpy.linalg"
    assert by_name["numpy.linalg._linalg.svd"]["text"].startswith("Singular Value Decomposition.")
    assert "iterator" in by_name["numpy._core.flatiter"]["text"]
    assert {row["label"] for row in rows} == {"numpy"}
    assert not any("tests" in row["name"].split(".") for row in rows)


def test_a_package_is_never_imported_and_a_broken_file_is_named(tmp_path: Path, monkeypatch):
    package = tmp_path / "site" / "frail"
    (package / "sub" / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text('"""Frail."""\nraise RuntimeError("imported")\n')
    (package / "sub" / "part.py").write_text('"""部分。"""\nBAD = "\\ud800"\ndef f(): "a \\ud800 b"\n')
    (package / "sub" / "tests" / "case.py").write_text('"""A test."""\n')
    (package / "old.py").write_text("print 'python 2'\n")
    information = tmp_path / "site" / "frail-1.5.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: frail\nVersion: 1.5\n")
    (information / "top_level.txt").write_text("frail\n")
    (information / "RECORD").write_text("frail/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    python_source._distributions.cache_clear()
    source = PythonSource(topics=False, packages=("frail",))
    assert python_source.identify(source, Home(tmp_path))["packages"] == {"frail": "1.5"}
    summary, files = fetch(source, tmp_path / "out")
    fetch(source, tmp_path / "again")
    one, two = (tmp_path / name / "files" / "frail.jsonl" for name in ("out", "again"))
    assert one.read_bytes() == two.read_bytes()
    python_source._distributions.cache_clear()
    assert [(row["name"], row["group"]) for row in files["frail.jsonl"]] == [
        ("frail", "frail"),
        ("frail.sub.part", "frail.sub"),
        ("frail.sub.part.f", "frail.sub"),
    ]
    assert len(summary["unparsed"]) == 1
    assert "frail.old" in summary["unparsed"][0]
    assert "frail" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_package", "not-a-name", "builtins"])
def test_a_package_that_is_not_installed_as_source_is_refused(tmp_path: Path, name):
    with pytest.raises(InputError, match=f"'{name}' is not installed as Python source"):
        python_source.identify(PythonSource(packages=(name,)), Home(tmp_path))


def test_the_standard_library_leaves_out_what_others_wrote():
    modules = [module for _, module in python_source._modules("stdlib")]
    assert {"json", "json.decoder", "asyncio.events", "typing"} <= set(modules)
    assert not any({"site-packages", "test", "idlelib"} & set(module.split(".")) for module in modules)
    assert modules == sorted(modules)
