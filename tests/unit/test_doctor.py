import pytest

from lm_pipeline import doctor
from lm_pipeline.artifacts import MANIFEST, Store
from lm_pipeline.doctor import examine
from lm_pipeline.home import Home
from lm_pipeline.tracking.spool import SpoolWriter


def bad(findings) -> dict[str, str]:
    return {item["name"]: item["detail"] for item in findings if not item["ok"]}


@pytest.fixture
def copy(tiny_copy, environment_of):
    for path in tiny_copy.home.spool.glob("*"):
        path.unlink()
    return environment_of(tiny_copy)


def test_a_healthy_home_has_no_bad_finding(copy):
    findings = examine(copy.home, verify=True)
    assert [item["name"] for item in findings] == [
        "python", "torch", "disk", "home", "declarations", "raw folder", "tracking", "artifacts",
    ]  # fmt: skip
    assert bad(findings) == {}
    assert findings[-1]["detail"] == "20 assets and all their ancestors are intact"


def test_looking_creates_nothing(tmp_path):
    findings = examine(Home(tmp_path / "none"), verify=True)
    assert bad(findings) == {"home": f"{tmp_path / 'none'} is not initialised: run `lm-pipeline init`"}
    assert list(tmp_path.iterdir()) == []


def test_damage_is_found_in_every_asset_that_is_made_from_it(copy):
    store = Store(copy.home.artifacts)
    tokenizer = store.ref("tiny/tokenizer")
    content = bytearray(tokenizer.path("tokenizer.model").read_bytes())
    content[100] ^= 1
    tokenizer.path("tokenizer.model").write_bytes(content)
    assert bad(examine(copy.home, verify=False)) == {}
    found = bad(examine(copy.home, verify=True))
    assert {"tiny/tokenizer", "tiny/token_shards", "tiny_gru/checkpoint", "tiny_ngram/report"} <= found.keys()
    assert "tiny/splits" not in found
    assert all(f"gc --drop tokenizer/{tokenizer.key}" in detail for detail in found.values())


def test_a_damaged_manifest_and_a_damaged_ref_are_findings_like_others(copy):
    store = Store(copy.home.artifacts)
    (store.ref("tiny/leaderboard").directory / MANIFEST).write_bytes(b"\xff")
    (copy.home.artifacts / "refs" / "tiny_gru" / "report.json").write_bytes(b"{")
    found = bad(examine(copy.home, verify=True))
    assert set(found) == {"tiny/leaderboard", "tiny_gru/report"}
    assert "is not a manifest" in found["tiny/leaderboard"]
    assert "does not name an artifact" in found["tiny_gru/report"]


def test_each_artifact_is_hashed_once(copy, monkeypatch):
    from lm_pipeline.artifacts import Artifact

    hashed = []
    verify = Artifact.verify
    monkeypatch.setattr(Artifact, "verify", lambda self: hashed.append(self.directory) or verify(self))
    examine(copy.home, verify=True)
    assert len(hashed) == len(set(hashed)) >= 19


def test_a_wrong_declaration_is_a_finding(copy):
    copy.edit("tiny_gru", "learning_rate", "learning_rat")
    assert "Did you mean 'learning_rate'?" in bad(examine(copy.home, verify=False))["declarations"]


def test_what_lies_in_the_raw_folder_and_is_no_corpus_is_named(tmp_path):
    home = Home(tmp_path)
    (home.raw / "My-Notes").mkdir(parents=True)
    (home.raw / "notes").mkdir()
    (home.raw / "loose.txt").write_text("text")
    found = next(item for item in examine(home, verify=False) if item["name"] == "raw folder")
    assert not found["ok"]
    assert "My-Notes, loose.txt" in found["detail"]


@pytest.mark.parametrize("declared", ["raw/novels.zip", "raw/*.zip", "raw"])
def test_what_lies_loose_in_the_raw_folder_and_is_declared_is_read(tmp_path, monkeypatch, declared):
    home = Home(tmp_path / "home")
    home.raw.mkdir(parents=True)
    for name in ("novels.zip", "小说.txt"):
        (home.raw / name).write_text("从前有一座山")
    defs = tmp_path / "defs" / "novels"
    defs.mkdir(parents=True)
    source = f"{{kind: path, path: home/{declared}, include: ['*.zip']}}"
    (defs / "defs.yaml").write_text(f"type: assets.Corpus\nattributes:\n  source: {source}\n")
    monkeypatch.setenv("LM_PIPELINE_DEFS", str(defs.parent))
    detail = bad(examine(home, verify=False))["raw folder"]
    assert f"{home.raw} holds 小说.txt, which no corpus reads" in detail
    (home.raw / "小说.txt").unlink()
    assert "raw folder" not in bad(examine(home, verify=False))


def test_events_that_wait_for_mlflow_are_counted(copy):
    with SpoolWriter(copy.home.spool / "checkpoint-0123456789abcdef-1.jsonl") as spool:
        spool.open("tiny", run_name="x")
        spool.status("FINISHED")
    assert (
        "2 events wait to be shipped: run `python -m lm_pipeline ship --once`"
        in bad(examine(copy.home, False))["tracking"]
    )


def test_a_disk_that_is_nearly_full_is_a_finding(copy, monkeypatch):
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 10**18)
    assert "lm-pipeline gc" in bad(examine(copy.home, verify=False))["disk"]
