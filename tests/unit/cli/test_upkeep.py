import json
import re

from lm_pipeline.artifacts import Store


def test_a_damaged_checkpoint_exits_with_5_and_a_corrected_drop_mends_it(run, copy):
    artifact = Store(copy.home.artifacts).ref("tiny_ngram/checkpoint")
    artifact.path("config.json").write_text("{}")
    code, _, err = run("score", "tiny_ngram", "text")
    assert code == 5
    [command] = re.findall(r"`lm-pipeline (gc --drop \S+)`", err)
    assert run(*command.split()) == (0, f"Dropped checkpoint/{artifact.key}.\n", "")
    code, _, err = run("score", "tiny_ngram", "text")
    assert code == 4
    assert "Run `lm-pipeline materialize tiny_ngram` first." in err


def test_a_manifest_that_cannot_be_read_can_be_dropped(run, copy):
    artifact = Store(copy.home.artifacts).ref("tiny/leaderboard")
    (artifact.directory / "manifest.json").write_bytes(b"\xff")
    assert run("status")[0] == 5
    code, out, _ = run("gc", "--drop", f"leaderboard/{artifact.key}", "--json")
    assert code == 0
    assert json.loads(out) == {"dropped": [f"leaderboard/{artifact.key}"]}
    assert run("status")[0] == 0


def test_gc_dry_run_deletes_nothing_and_gc_only_what_nothing_needs(run, copy):
    copy.edit("tiny_ngram", "num_bootstrap: 10", "num_bootstrap: 12")
    old = Store(copy.home.artifacts).ref("tiny_ngram/evaluation")
    copy.materialize("tiny_ngram/evaluation")
    # The report was made from the old evaluation: it goes on needing it.
    code, out, _ = run("gc", "--dry-run", "--json")
    assert json.loads(out) == {"artifacts": 0, "bytes": 0, "busy": 0, "building": False, "dry_run": True}
    for asset in ("tiny_ngram/report", "tiny/leaderboard"):
        copy.materialize(asset)
    code, out, _ = run("gc", "--dry-run")
    assert code == 0
    assert re.fullmatch(r"Would delete 3 artifacts, \d+\.\d MB\. In use: 0\.\n", out)
    assert old.verify()
    code, out, _ = run("gc")
    assert code == 0
    assert out.startswith("Deleted 3 artifacts")
    assert not old.directory.exists()
    assert run("gc")[1].startswith("Deleted 0 artifacts")
    with Store(copy.home.artifacts).in_use():
        assert "Something is being built, so everything published was left alone." in run("gc")[1]


def test_doctor_for_people_and_as_json(run, copy):
    for path in copy.home.spool.glob("*"):
        path.unlink()
    code, out, _ = run("doctor", "--verify", "--json")
    assert code == 0
    assert all(item["ok"] for item in json.loads(out))
    copy.home.marker.unlink()
    code, out, _ = run("doctor")
    assert code == 1
    assert "BAD  home: " in out
    assert "ok   python: " in out
