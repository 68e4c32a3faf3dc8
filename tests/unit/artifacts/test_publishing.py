import json

import pytest

from lm_pipeline.artifacts import MANIFEST, Store
from lm_pipeline.artifacts.publishing import publish
from lm_pipeline.errors import BusyError
from tests.unit.artifacts.written_files import STAGE, fill, manifests, write_files


def test_a_failing_writer_leaves_nothing(tmp_path):
    store = Store(tmp_path)

    def write(staging):
        write_files(staging)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.build(STAGE, {}, {"x": 1}, write)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert not store.build(STAGE, {}, {"x": 1}, write_files)[1]


def test_an_interrupt_right_after_publishing_does_not_take_the_files_away(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def interrupted(*arguments):
        publish(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("lm_pipeline.artifacts.store.publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.build(STAGE, {}, {"x": 1}, write_files)
    found = store.find("demo", STAGE.key({}, {"x": 1}))
    assert found is not None
    found.verify()


def test_a_writer_whose_lock_was_taken_away_cannot_publish(tmp_path):
    store = Store(tmp_path)

    def outlived(staging):
        write_files(staging)
        (tmp_path / "demo" / f"{staging.key}.lock").unlink()
        other, reused = Store(tmp_path).build(STAGE, {}, {"x": 1}, fill("other", b"1"))
        assert not reused
        assert other.digest

    with pytest.raises(BusyError, match=r"\.lock was removed while demo/.* was being built.*Nothing was published"):
        store.build(STAGE, {}, {"x": 1}, outlived)
    [manifest] = manifests(tmp_path)
    found = store.find("demo", manifest.parent.name)
    assert found is not None
    assert set(found.verify().manifest["files"]) == {"other"}
    assert {path.name for path in manifest.parent.iterdir()} == {MANIFEST, found.files_dir.name}


def test_a_writer_whose_staging_was_replaced_cannot_publish(tmp_path):
    def robbed(staging):
        write_files(staging)
        staging.path.rename(tmp_path / "elsewhere")
        staging.path.mkdir()
        (staging.path / "half").write_bytes(b"1")

    with pytest.raises(BusyError, match=r"attempt-.* was removed while"):
        Store(tmp_path).build(STAGE, {}, {"x": 1}, robbed)
    assert manifests(tmp_path) == []


def test_who_lost_a_race_past_the_fences_still_does_not_overwrite(tmp_path, monkeypatch):
    store = Store(tmp_path)
    monkeypatch.setattr("lm_pipeline.locks.Held.is_intact", lambda _: True)

    def outlived(staging):
        write_files(staging)
        (staging.path.parent / MANIFEST).write_text(
            json.dumps({"format": 1, "attempt": "attempt-other", "files": {}, "stage": "demo", "key": staging.key})
        )

    with pytest.raises(BusyError, match="Another process published demo/"):
        store.build(STAGE, {}, {"x": 1}, outlived)
    [manifest] = manifests(tmp_path)
    assert [path.name for path in manifest.parent.iterdir()] == [MANIFEST]
