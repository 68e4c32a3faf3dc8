import polars as pl

from lm_pipeline.artifacts import Store
from lm_pipeline.corpus.documents import clean_parts, read_documents, read_rejected
from lm_pipeline.overview import CORPUS_PARTS, DATASET_PARTS, account, overview
from lm_pipeline.project import Project
from lm_pipeline.reports.terminal import status_text


def look(project) -> dict:
    return overview(Project(project.home, project.declarations, project.graph))


def test_both_accounting_identities_hold_and_every_fate_occurs(tiny_project):
    value = look(tiny_project)
    assert set(value["corpora"]) == {"tiny_english", "tiny_chinese"}
    for row in value["corpora"].values():
        assert row["holds"]
        assert row == {"records_in": 64, "kept": 62, "rejected": 1, "quarantined": 1, "holds": True}
    row = value["datasets"]["tiny"]
    assert row["holds"]
    assert row["documents_in"] == sum(row[name] for name in DATASET_PARTS)
    assert row["documents_in"] == sum(corpus["kept"] for corpus in value["corpora"].values())
    assert all(row[name] > 0 for name in ("train", "validation", "test", "exact", "near"))


def test_the_identities_hold_of_the_tables_themselves(tiny_project):
    store = Store(tiny_project.home.artifacts)
    value = look(tiny_project)
    for corpus, row in value["corpora"].items():
        artifact = store.ref(f"documents/{corpus}")
        [part] = store.open_parts(artifact)
        clean = clean_parts(artifact, [part])
        counted = [len(frame.collect()) for frame in (read_documents(clean), read_rejected(clean))]
        counted.append(len(pl.read_parquet(part.path("quarantine.parquet"))))
        assert counted == [row[name] for name in CORPUS_PARTS]
        raw = (tiny_project.text / corpus.removeprefix("tiny_") / "a.jsonl").read_text("utf-8")
        assert len(raw.splitlines()) == row["records_in"]
    splits = pl.read_parquet(store.ref("tiny/splits").path("splits.parquet"))
    fates = dict(splits.select(pl.coalesce("split", "exclusion").alias("fate")).to_series().value_counts().iter_rows())
    row = value["datasets"]["tiny"]
    assert fates == {name: row[name] for name in DATASET_PARTS if row[name]}


def test_what_does_not_add_up_is_said(tiny_project):
    artifact = Store(tiny_project.home.artifacts).ref("documents/tiny_english")
    assert account(artifact, "records_in", CORPUS_PARTS)["holds"]
    artifact.summary["kept"] -= 1
    assert not account(artifact, "records_in", CORPUS_PARTS)["holds"]
    value = look(tiny_project)
    value["corpora"]["tiny_english"]["holds"] = False
    assert "DOES NOT ADD UP" in status_text(value)


def test_the_state_of_every_asset_is_there(tiny_project):
    value = look(tiny_project)
    assert value["home"] == str(tiny_project.home.root)
    assert value["counts"] == {"current": 19}
    assert set(value["assets"]) == set(tiny_project.graph)
    state = value["assets"]["tiny/splits"]
    assert (state["status"], state["reason"], state["stage"]) == ("current", "", "splits")
    assert len(state["key"]) == 40
    assert len(state["digest"]) == 64
    text = status_text(value)
    assert "19 current" in text
    assert text.count("  exact") >= 3


def test_nothing_materialized_has_no_accounts(tiny_fresh):
    value = look(tiny_fresh)
    assert value["counts"] == {"missing": 19}
    assert value["corpora"] == value["datasets"] == {}
    assert value["assets"]["tiny/splits"]["key"] is None
