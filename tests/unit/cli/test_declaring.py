import json
import re

import pytest

from lm_pipeline.specs.declarations import load_declarations


def test_new_declarations_load_and_follow_each_other(run, copy):
    for noun, name, of in (
        ("corpus", "fresh", None),
        ("dataset", "fresh_data", "fresh"),
        ("experiment", "try", "fresh_data"),
    ):
        code, out, _ = run("new", noun, name, *(["--of", of] if of else []))
        assert code == 0
        assert out.endswith(f"Edit it, then run `lm-pipeline materialize {name}`.\n")
    found = load_declarations([copy.defs])
    assert found.experiments["try"].dataset == "fresh_data"
    assert found.datasets["fresh_data"].corpora == ("fresh",)
    assert found.corpora["fresh"].source.path == "data/raw/fresh"
    assert run("status")[0] == 0


def test_a_declaration_elsewhere_is_found_by_the_command_that_is_said(run, copy, tmp_path, monkeypatch):
    code, out, _ = run("new", "corpus", "fresh", "--folder", str(tmp_path / "elsewhere"))
    assert code == 0
    [folders] = re.findall(r"then run `LM_PIPELINE_DEFS=(\S+) lm-pipeline materialize fresh`", out)
    monkeypatch.setenv("LM_PIPELINE_DEFS", folders)
    assert {"documents/fresh", "tiny/splits"} <= json.loads(run("status", "--json")[1])["assets"].keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment", "more", "--of", "tinny"], "--of: there is no dataset 'tinny'. Did you mean 'tiny'?"),
        (["dataset", "more", "--of", "tiny_englisch"], "Did you mean 'tiny_english'?"),
        (["experiment", "tiny"], "'tiny' is a dataset's name already"),
        (["experiment", "python_docs_lstm"], "is declared already in"),
        (["experiment", "tiny_gru"], "exists already"),
        (["corpus", "Big"], "'Big' cannot be a name"),
    ],
)
def test_new_refuses_what_would_break_every_later_command(run, copy, arguments, message):
    before = sorted(copy.defs.rglob("*"))
    code, _, err = run("new", *arguments)
    assert code == 2
    assert message in err
    assert sorted(path for path in copy.defs.rglob("*") if path.is_file()) == [
        path for path in before if path.is_file()
    ]
    assert run("status")[0] == 0


def test_schemas_are_written_and_new_points_at_them(run, copy):
    code, out, _ = run("schema")
    assert code == 0
    assert set(json.loads(out)) == {"corpus", "dataset", "experiment"}
    code, out, _ = run("schema", "--out", str(copy.defs / "schemas"))
    assert code == 0
    assert out.count("Wrote ") == 3
    run("new", "experiment", "try", "--of", "tiny")
    text = (copy.defs / "experiments" / "try" / "defs.yaml").read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=../../schemas/experiment.json\n")
    assert run("status")[0] == 0
