import pytest

from lm_pipeline.artifacts import MANIFEST, Stage, Store
from lm_pipeline.errors import MissingArtifactError
from tests.unit.artifacts.written_files import FILES, STAGE, fill, write_files


def test_what_is_published_has_every_file_and_verifies(tmp_path):
    store = Store(tmp_path)
    artifact, reused = store.build(STAGE, {}, {"x": 1}, write_files)
    assert not reused
    opened = store.open(artifact.stage, artifact.key)
    assert opened.manifest == artifact.manifest
    assert {name: opened.path(name).read_bytes() for name in opened.manifest["files"]} == FILES
    with pytest.raises(MissingArtifactError, match=r"has no file 'd\.bin'\. It has: a\.bin, c\.txt, nested/b\.bin"):
        opened.path("d.bin")


def test_building_what_exists_does_nothing(tmp_path):
    store = Store(tmp_path)
    first, _ = store.build(STAGE, {}, {"x": 1}, write_files)
    again, reused = store.build(STAGE, {}, {"x": 1}, lambda _: pytest.fail("written again"))
    assert reused
    assert again == first


def test_an_input_with_other_content_is_another_address(tmp_path):
    store = Store(tmp_path)
    first, _ = store.build(STAGE, {}, {"x": 1}, fill("a", b"1"))
    second, _ = store.build(STAGE, {}, {"x": 2}, fill("a", b"2"))
    one, _ = store.build(Stage("next", 1), {"in": first}, {}, fill("b", b"1"))
    two, reused = store.build(Stage("next", 1), {"in": second}, {}, fill("b", b"1"))
    assert not reused
    assert one.key != two.key
    assert one.digest == two.digest
    assert one.inputs == {"in": {"stage": "demo", "key": first.key, "digest": first.digest}}


def test_nothing_published_is_missing(tmp_path):
    assert Store(tmp_path).find("demo", "0" * 40) is None
    with pytest.raises(MissingArtifactError, match="There is no artifact demo/0000"):
        Store(tmp_path).open("demo", "0" * 40)


def test_work_in_progress_outlives_a_failure_and_goes_when_published(tmp_path):
    store = Store(tmp_path)

    def write(fail):
        def inner(staging):
            work = store.work_dir("demo", staging.key)
            assert (work / "step").exists() != fail
            (work / "step").write_text("7")
            if fail:
                raise ValueError("killed")
            write_files(staging)

        return inner

    with pytest.raises(ValueError, match="killed"):
        store.build(STAGE, {}, {"x": 1}, write(fail=True))
    artifact, _ = store.build(STAGE, {}, {"x": 1}, write(fail=False))
    assert list((tmp_path / "work" / "demo").iterdir()) == []
    store.work_dir("demo", artifact.key)  # as a process leaves it that is killed right after publishing
    assert store.build(STAGE, {}, {"x": 1}, write_files) == (artifact, True)
    assert list((tmp_path / "work" / "demo").iterdir()) == []


def test_superseded_work_goes_when_what_supersedes_it_is_published_unless_somebody_is_at_it(tmp_path):
    store = Store(tmp_path)
    for key in ("idle", "busy", "another"):
        (store.work_dir("demo", key) / "file").write_text(key)

    def write(staging):
        assert (tmp_path / "work/demo/idle/file").exists()
        staging.superseded = ["idle", "busy", "gone"]
        write_files(staging)

    with store.lock("demo", "busy"):
        store.build(STAGE, {}, {"x": 1}, write)
    assert sorted(path.name for path in (tmp_path / "work/demo").iterdir()) == ["another", "busy"]


def test_ancestors_are_followed_through_inputs_and_parts_and_a_gap_is_named(tmp_path):
    store = Store(tmp_path)
    raw, _ = store.build(Stage("raw", 1), {}, {}, fill("r", b"1"))
    part, _ = store.build(Stage("part", 1), {"raw": raw}, {}, fill("p", b"1"))

    def write(staging):
        staging.parts = [part]

    whole, _ = store.build(STAGE, {"raw": raw}, {}, write)
    assert {item.stage for item in store.ancestors(whole)} == {"demo", "part", "raw"}
    (raw.directory / MANIFEST).unlink()
    with pytest.raises(MissingArtifactError, match=f"was made from raw/{raw.key}, which is gone"):
        list(store.ancestors(whole))
