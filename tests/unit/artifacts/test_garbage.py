import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lm_pipeline.artifacts import MANIFEST, Artifact, Stage, Staging, Store
from lm_pipeline.artifacts.garbage import collect_garbage, drop
from lm_pipeline.errors import BusyError, CorruptArtifactError

ROOT = Path(__file__).resolve().parents[3]

HOLDER = """
import sys, time
from pathlib import Path
from lm_pipeline.artifacts import Store
with Store(Path(sys.argv[1])).lock(sys.argv[2], sys.argv[3]):
    print("held", flush=True)
    time.sleep(120)
"""
BUILDER = """
import sys, time
from pathlib import Path
from lm_pipeline.artifacts import Stage, Store
store = Store(Path(sys.argv[1]))
def write(staging):
    (staging.path / "half").write_bytes(b"1" * 1000)
    (store.work_dir("slow", staging.key) / "step").write_bytes(b"7")
    print("writing", flush=True)
    time.sleep(120)
store.build(Stage("slow", 1), {}, {}, write)
"""


def make(store: Store, stage: str, number: int = 0, parts: tuple[Artifact, ...] = (), **inputs: Artifact) -> Artifact:
    def write(staging: Staging) -> None:
        (staging.path / "file").write_bytes(f"{stage} {number}".encode())
        staging.parts = list(parts)

    return store.build(Stage(stage, 1), inputs, {"number": number}, write)[0]


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_what_refs_need_stays_and_orphans_go(tmp_path):
    store = Store(tmp_path)
    raw = make(store, "raw")
    part = make(store, "part", raw=raw)
    whole = make(store, "whole", parts=(part,), raw=raw)
    store.set_ref("asset", whole)
    orphan = make(store, "whole", 1, raw=raw)
    kept = make(store, "whole", 2)
    collected = collect_garbage(store, keep={("whole", kept.key)})
    assert (collected.artifacts, collected.busy, collected.building) == (1, 0, False)
    assert collected.bytes > len("whole 1")
    for artifact in (raw, part, whole, kept):
        store.open(artifact.stage, artifact.key)
    assert store.find("whole", orphan.key) is None
    assert not orphan.directory.exists()
    assert list(tmp_path.glob("*/*.lock")) == []
    assert collect_garbage(store, keep={("whole", kept.key)}).artifacts == 0


def test_a_dry_run_says_the_same_and_deletes_nothing(tmp_path):
    store = Store(tmp_path)
    store.set_ref("asset", make(store, "kept"))
    make(store, "orphan")
    (store.work_dir("orphan", "1" * 40) / "step").write_bytes(b"1" * 500)
    before = snapshot(tmp_path)
    said = collect_garbage(store, dry_run=True, unfinished=True)
    assert snapshot(tmp_path) == before
    done = collect_garbage(store, unfinished=True)
    assert said == done
    assert done.artifacts == 1
    assert snapshot(tmp_path).keys() == {key for key in before if key.startswith(("kept/", "refs/"))}


def test_what_killed_processes_left_goes_and_the_published_attempt_stays(tmp_path):
    store = Store(tmp_path)
    process = start(BUILDER, str(tmp_path))
    process.kill()
    process.communicate(timeout=10)
    assert list(tmp_path.glob("slow/*/attempt-*/half"))
    artifact = make(store, "kept")
    store.set_ref("asset", artifact)
    (artifact.directory / "attempt-dead").mkdir()
    (artifact.directory / "attempt-dead" / "half").write_bytes(b"1")
    (artifact.directory / "attempt-dead.manifest").write_text("{")
    collected = collect_garbage(store)
    assert collected.artifacts == 0
    assert collected.bytes >= 1000
    assert list((tmp_path / "slow").iterdir()) == []
    assert len(list((tmp_path / "work").rglob("step"))) == 1, "an interrupted training goes on from its work"
    collect_garbage(store, unfinished=True)
    assert list((tmp_path / "work").rglob("step")) == []
    assert {path.name for path in artifact.directory.iterdir()} == {MANIFEST, artifact.files_dir.name}
    artifact.verify()


def test_what_a_living_process_holds_is_left_alone(tmp_path):
    store = Store(tmp_path)
    orphan, other = make(store, "orphan"), make(store, "orphan", 1)
    process = start(HOLDER, str(tmp_path), "orphan", orphan.key)
    try:
        collected = collect_garbage(store)
        assert (collected.artifacts, collected.busy) == (1, 1)
        store.open("orphan", orphan.key)
        assert store.find("orphan", other.key) is None
        with pytest.raises(BusyError, match=f"orphan/{orphan.key} is in use by process {process.pid}"):
            drop(store, "orphan", orphan.key)
    finally:
        process.kill()
        process.communicate(timeout=10)
    assert collect_garbage(store).artifacts == 1


def test_while_something_is_built_only_stale_attempts_go(tmp_path):
    store = Store(tmp_path)
    orphan = make(store, "orphan")
    (orphan.directory / "attempt-dead").mkdir()
    process = start(BUILDER, str(tmp_path))
    try:
        collected = collect_garbage(store)
        assert collected.building
        assert (collected.artifacts, collected.busy) == (0, 1)
        store.open("orphan", orphan.key)
        assert not (orphan.directory / "attempt-dead").exists()
        assert list(tmp_path.glob("slow/*/attempt-*/half"))
        assert list(tmp_path.glob("work/slow/*/step"))
    finally:
        process.kill()
        process.communicate(timeout=10)
    assert collect_garbage(store).artifacts == 1


def test_parts_that_a_build_has_made_but_not_yet_published_stay(tmp_path):
    store = Store(tmp_path)

    def write(staging: Staging) -> None:
        staging.parts = [make(store, "part", number) for number in range(3)]
        collect_garbage(store)

    whole, _ = store.build(Stage("whole", 1), {}, {}, write)
    assert len(store.open_parts(whole)) == 3


def test_builds_and_collections_side_by_side_lose_nothing(tmp_path):
    store = Store(tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=lambda: [collect_garbage(store) for _ in iter(stop.is_set, True)])
    thread.start()
    try:
        for number in range(30):
            with store.in_use():
                raw = make(store, "raw", number)
                store.set_ref("asset", make(store, "whole", number, parts=(make(store, "part", raw=raw),), raw=raw))
            found = store.ref("asset")
            assert found is not None
            assert {item.stage for item in store.ancestors(found)} == {"whole", "part", "raw"}
    finally:
        stop.set()
        thread.join()


def test_a_missing_ancestor_does_not_stop_the_collection(tmp_path):
    store = Store(tmp_path)
    raw = make(store, "raw")
    middle = make(store, "middle", raw=raw)
    store.set_ref("asset", make(store, "whole", middle=middle))
    store.set_ref("gone", make(store, "gone"))
    drop(store, "middle", middle.key)
    drop(store, "gone", store.refs()["gone"].key)
    make(store, "orphan")
    collected = collect_garbage(store)
    assert store.ref("asset") is not None
    assert store.ref("gone") is None
    assert collected.artifacts == 2  # the orphan, and the raw data that nothing leads to any more


def test_a_damaged_manifest_that_is_needed_stops_the_collection_and_an_orphan_goes(tmp_path):
    store = Store(tmp_path)
    needed, orphan = make(store, "needed"), make(store, "orphan")
    store.set_ref("asset", needed)
    (orphan.directory / MANIFEST).write_bytes(b"\xff")
    assert collect_garbage(store).artifacts == 1
    assert not orphan.directory.exists()
    ancestor = make(store, "other")
    (needed.directory / MANIFEST).write_bytes(b"\xff")
    with pytest.raises(CorruptArtifactError, match=f"gc --drop needed/{needed.key}"):
        collect_garbage(store)
    store.open("other", ancestor.key)
    assert drop(store, "needed", needed.key) == [f"needed/{needed.key}"]
    assert collect_garbage(store).artifacts == 1


def test_a_dropped_artifact_is_built_again_with_the_same_content(tmp_path):
    store = Store(tmp_path)
    first = make(store, "stage")
    store.set_ref("asset", first)
    first.path("file").write_bytes(b"damage")
    assert drop(store, "stage", first.key) == [f"stage/{first.key}"]
    assert store.ref("asset") is None
    again = make(store, "stage")
    assert again.digest == first.digest
    assert store.ref("asset") == again


def test_a_dropped_part_takes_what_it_is_a_part_of_with_it(tmp_path):
    store = Store(tmp_path)
    part, other = make(store, "part", 0), make(store, "part", 1)
    whole = make(store, "whole", parts=(part, other))
    outer = make(store, "outer", parts=(whole,))
    below = make(store, "below", whole=whole)
    dropped = drop(store, "part", part.key)
    assert set(dropped) == {f"{item.stage}/{item.key}" for item in (part, whole, outer)}
    store.open("part", other.key)
    store.open("below", below.key)


def test_only_artifacts_can_be_dropped(tmp_path):
    store = Store(tmp_path)
    artifact = make(store, "stage")
    store.set_ref("a/asset", artifact)
    before = snapshot(tmp_path)
    for stage, key in (("stage", "0" * 40), ("refs", "a"), ("stage", ""), ("", ""), ("..", tmp_path.name)):
        assert drop(store, stage, key) == []
    assert snapshot(tmp_path) == before
