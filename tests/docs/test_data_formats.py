"""Columns, codes and keys of docs/data-formats.md against the code."""

import ast
import dataclasses
import re

import polars as pl
import pytest

from tests.docs.pages import ROOT, codes, rows, text

PAGE = "docs/data-formats.md"


def columns(heading: str) -> list[str]:
    return [row[0] for row in rows(PAGE, heading)]


def keys(heading: str) -> list[str]:
    return [code for row in rows(PAGE, heading) for code in codes(row[0])]


def test_tables_of_a_corpus():
    from lm_pipeline.corpus.document_tables import DECISIONS, TABLES
    from lm_pipeline.corpus.raw.raw_files import SCHEMA

    assert columns("### `files.parquet`") == SCHEMA.names
    for name, schema in TABLES.items():
        assert columns(f"### `{name}.parquet`") == schema.names()
    assert columns("### `decisions/<part>.parquet`") == DECISIONS.names()


def test_tables_of_a_dataset(tmp_path):
    from lm_pipeline.corpus.contamination.decontamination import TABLES as CONTAMINATION
    from lm_pipeline.corpus.division.cuts import CUTS
    from lm_pipeline.corpus.division.split_ledger import LEDGER_SCHEMA
    from lm_pipeline.corpus.division.splits import split_documents
    from lm_pipeline.corpus.quality.quality_model import SCORES
    from lm_pipeline.corpus.similarity.duplicates import UNIQUE, Part, find_duplicates
    from lm_pipeline.corpus.similarity.minhash import write_signatures
    from lm_pipeline.corpus.similarity.near_duplicates import VERDICTS
    from lm_pipeline.corpus.similarity.repeated_text import (
        COUNTS,
        REPEATED,
        UNITS,
        UnitFiles,
        find_repeated_text,
        write_units,
    )
    from lm_pipeline.specs.dataset import Duplicates, NearDuplicates, RepeatedText, Split
    from lm_pipeline.tokenization.shards import SCHEMA as SHARD

    texts = ["one two three four five six", "eins zwei drei", "一二三四五六七"]
    places = {
        "document_id": [f"{row:032x}" for row in range(3)],
        "corpus": "x",
        "file": "f",
        "record": [0, 1, 2],
        "date": "2024",
    }
    frame = pl.DataFrame({**places, "text": texts, "target": "x", "kept": True})
    frame = frame.with_columns(group=pl.lit(None, dtype=pl.String), num_bytes=pl.col("text").str.len_bytes())
    frame.write_parquet(tmp_path / "documents.parquet")
    frame.select("kept").write_parquet(tmp_path / "decisions.parquet")
    write_signatures(tmp_path / "documents.parquet", NearDuplicates(), tmp_path)
    write_units(tmp_path / "documents.parquet", RepeatedText(), tmp_path)
    part = Part(*(tmp_path / f"{name}.parquet" for name in ("documents", "decisions", "signatures")))
    unique = find_duplicates({"x": [part]}, Duplicates(), tmp_path)
    units = UnitFiles(*(tmp_path / f"{name}.parquet" for name in ("units", "counts", "decisions")))
    unique |= find_repeated_text([[units]], tmp_path)
    repeated = tmp_path / "repeated_units.parquet"
    splits = split_documents(
        tmp_path / "unique.parquet", frame.lazy(), None, Split(), None, tmp_path, repeated=repeated
    )

    signatures = pl.read_parquet_schema(tmp_path / "signatures.parquet").names()
    bands = [name for name in signatures if name.startswith("band_")]
    assert columns("### `signatures.parquet`") == [*signatures[: -len(bands)], f"{bands[0]} … {bands[-1]}"]
    schemas = {
        "unique": UNIQUE,
        "verdicts": VERDICTS,
        "repeated_units": REPEATED,
        "repeated": CUTS,
        "units": UNITS,
        "counts": COUNTS,
    }
    for name, schema in {**schemas, "scores": SCORES}.items():
        assert columns(f"### `{name}.parquet`") == schema.names()
    for name in (*schemas, "splits"):
        assert columns(f"### `{name}.parquet`") == pl.read_parquet_schema(tmp_path / f"{name}.parquet").names()
    for name, schema in CONTAMINATION.items():
        assert columns(f"### `{name}.parquet`") == schema.names()
    assert columns("### `ledger.parquet`") == list(LEDGER_SCHEMA)
    assert columns("### `<split>.documents.parquet`") == SHARD.names
    for summary in (unique, splits):
        assert all(f"`{key}`" in text(PAGE) for key in summary), sorted(summary)


def test_rules_are_those_of_the_filters():
    from lm_pipeline.corpus.quality.filters import GENERAL_RULES, RULES

    listed = re.search(r"^Rules: (.*?)\n\n", text(PAGE), re.MULTILINE | re.DOTALL)
    assert listed
    assert codes(listed[1].replace("\n", " ")) == [*GENERAL_RULES, *(rule.name for rule in RULES)]


def test_quarantine_reasons_are_those_of_the_readers():
    """Those of compressed streams are formed from the compression's name."""
    folders = (ROOT / "lm_pipeline/corpus/readers", ROOT / "lm_pipeline/corpus/extraction")
    trees = [ast.parse(path.read_text("utf-8")) for folder in folders for path in folder.glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    place = {"Quarantined": 2, "DamagedStreamError": 0, "BadRecordError": 0, "Failure": 0}
    given = [
        call.args[place[call.func.id]]
        for call in calls
        if call.func.id in place and not isinstance(call.args[-1], ast.Starred)
    ]
    raised = {node.value for node in given if isinstance(node, ast.Constant)}
    formed = {f"{how}_{name}" for how in ("truncated", "corrupt") for name in ("gzip", "bzip2", "xz", "zstd")}
    spelt = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)} | formed
    table = rows(PAGE, "### Quarantine reasons")
    listed = {code for row in table for code in [*codes(row[0]), *re.findall(r"`((?:truncated|corrupt)_\w+)`", row[1])]}
    assert len(raised) > 8
    assert raised | formed <= listed <= spelt


def test_every_quarantine_reason_is_expected_by_a_test():
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests/unit/corpus").rglob("*.py"))
    listed = [code for row in rows(PAGE, "### Quarantine reasons") for code in codes(row[0])]
    assert len(listed) > 30
    assert [code for code in listed if f'"{code}"' not in sources] == []


def test_keys_of_a_manifest(tmp_path):
    from lm_pipeline.artifacts import Stage, Store

    store = Store(tmp_path)
    artifact, _ = store.build(Stage("trial", 1), {}, {}, lambda staging: (staging.path / "file").write_text("x"))
    assert sorted(keys("## Manifest")) == sorted(artifact.manifest)


def test_events_of_a_spool():
    from lm_pipeline.tracking.spool import SpoolWriter

    events = {"open", "params", "metrics", "rollback", "tags", "input", "artifact", "note", "status"}
    events |= {"model", "model_metrics"}
    assert events <= set(vars(SpoolWriter))
    assert set(keys("## Spool")) == events


def test_keys_of_the_leaderboard():
    from lm_pipeline.reports.leaderboard import Row

    assert set(keys("### `lm-pipeline leaderboard --json`")) == {field.name for field in dataclasses.fields(Row)}


def test_keys_of_the_status(tmp_path, monkeypatch):
    from lm_pipeline.overview import CORPUS_PARTS, DATASET_PARTS, overview
    from lm_pipeline.project import load_project

    monkeypatch.setenv("LM_PIPELINE_HOME", str(tmp_path))
    value = overview(load_project())
    table = {codes(row[0])[0]: row[1] for row in rows(PAGE, "### `lm-pipeline status --json`")}
    assert set(table) == set(value)
    assert codes(table["assets"]) == list(next(iter(value["assets"].values())))
    assert codes(table["corpora"]) == ["records_in", *CORPUS_PARTS, "holds"]
    assert codes(table["datasets"]) == ["documents_in", *DATASET_PARTS, "holds"]


@pytest.mark.parametrize(
    ("module", "functions", "name"),
    [
        ("training/request.py", ("_write_outputs", "_count"), "training.json"),
        ("training/request.py", ("_config",), "config.json"),
        ("evaluation/perplexity.py", ("_measure_part",), "evaluation.json"),
    ],
)
def test_json_keys_of_models_are_on_the_page(module, functions, name):
    tree = ast.parse((ROOT / "lm_pipeline" / module).read_text("utf-8"))
    bodies = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in functions]
    literals = [node for body in bodies for node in ast.walk(body) if isinstance(node, ast.Dict)]
    written = {key.value for node in literals for key in node.keys if isinstance(key, ast.Constant)}
    (line,) = [line for line in text(PAGE).splitlines() if line.startswith(f"| `{name}`")]
    assert len(written) > 5
    assert written - {"numpy", "step", "validation_loss", "context_length"} <= set(codes(line))
