import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_pipeline.artifacts import MANIFEST, Stage, Staging, Store
from lm_pipeline.errors import BusyError, CorruptArtifactError, LmPipelineError, MissingArtifactError
from lm_pipeline.garbage import collect_garbage

ROOT = Path(__file__).resolve().parents[2]
STAGE = Stage("demo", 1)
FILES = {"a.bin": b"a" * 50_000, "nested/b.bin": b"b" * 70_000, "c.txt": "Gesetz 法律\n".encode()}

# A builder in a process of its own. It writes in small steps, so that a kill can come between any two of them.
BUILDER = """
import sys, time
from pathlib import Path
from lm_pipeline.artifacts import Stage, Store
from lm_pipeline.errors import LmPipelineError

root, pause, wait = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
FILES = {"a.bin": b"a" * 50_000, "nested/b.bin": b"b" * 70_000, "c.txt": "Gesetz \\u6cd5\\u5f8b\\n".encode()}

def write(staging):
    print("writing", flush=True)
    for name, content in FILES.items():
        path = staging.path / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for start in range(0, len(content), 5000):
                file.write(content[start : start + 5000])
                file.flush()
                time.sleep(pause)
    staging.summary = {"bytes": sum(map(len, FILES.values()))}

try:
    artifact, reused = Store(root).build(Stage("demo", 1), {}, {"x": 1}, write, wait)
    print("reused" if reused else "built", artifact.digest, flush=True)
except LmPipelineError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def write_files(staging: Staging) -> None:
    for name, content in FILES.items():
        path = staging.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def fill(name: str, content: bytes):
    return lambda staging: (staging.path / name).write_bytes(content) and None


def start_builder(root: Path, pause: float = 0.0, wait: float = 0.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(root), str(pause), str(wait)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def started(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def manifests(root: Path) -> list[Path]:
    return sorted(root.glob(f"*/*/{MANIFEST}"))


def test_address_depends_on_stage_version_inputs_and_spec():
    keys = {
        Stage("demo", 1).key({"in": "d"}, {"x": 1}),
        Stage("demo", 2).key({"in": "d"}, {"x": 1}),
        Stage("other", 1).key({"in": "d"}, {"x": 1}),
        Stage("demo", 1).key({"in": "e"}, {"x": 1}),
        Stage("demo", 1).key({"on": "d"}, {"x": 1}),
        Stage("demo", 1).key({"in": "d"}, {"x": 2}),
    }
    assert len(keys) == 6
    assert all(len(key) == 40 for key in keys)


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


def test_volatile_files_have_no_say_in_the_digest_but_are_verified(tmp_path):
    def write(seconds: bytes):
        def inner(staging):
            (staging.path / "weights").write_bytes(b"w")
            (staging.path / "timing.json").write_bytes(seconds)
            staging.volatile.add("timing.json")

        return inner

    first, _ = Store(tmp_path / "1").build(STAGE, {}, {}, write(b"1.0"))
    second, _ = Store(tmp_path / "2").build(STAGE, {}, {}, write(b"2.0"))
    assert first.digest == second.digest
    second.path("timing.json").write_bytes(b"3.0")
    with pytest.raises(CorruptArtifactError, match=r"timing\.json"):
        second.verify()


def test_the_digest_follows_files_their_names_and_parts(tmp_path):
    store = Store(tmp_path)
    parts = [store.build(Stage("part", 1), {}, {"n": n}, fill("p", str(n).encode()))[0] for n in range(2)]

    def whole(n, name, content, parts):
        def write(staging):
            (staging.path / name).write_bytes(content)
            staging.parts = parts

        return store.build(STAGE, {}, {"n": n}, write)[0]

    digests = [
        whole(0, "a", b"1", parts).digest,
        whole(1, "a", b"2", parts).digest,
        whole(2, "b", b"1", parts).digest,
        whole(3, "a", b"1", parts[::-1]).digest,
        whole(4, "a", b"1", parts[:1]).digest,
        whole(5, "a", b"1", []).digest,
    ]
    assert len(set(digests)) == 6
    assert whole(6, "a", b"1", parts).digest == digests[0]
    assert [part.key for part in store.open_parts(store.find("demo", whole(0, "a", b"1", parts).key))] == [
        part.key for part in parts
    ]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_found_and_the_error_says_what_to_do(tmp_path, damage):
    store = Store(tmp_path)
    artifact, _ = store.build(STAGE, {}, {}, write_files)
    path = artifact.path("nested/b.bin")
    if damage == "flip":
        content = bytearray(path.read_bytes())
        content[12345] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        os.truncate(path, 69_999)
    else:
        path.unlink()
    for read in (lambda: store.open("demo", artifact.key), artifact.verify):
        with pytest.raises(CorruptArtifactError) as caught:
            read()
        assert str(path) in str(caught.value)
        assert f"lm-pipeline gc --drop demo/{artifact.key}" in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1', b"\xff\xfe", b'{"stage": "demo"}'])
def test_a_damaged_manifest_is_named_with_what_to_do(tmp_path, content):
    store = Store(tmp_path)
    artifact, _ = store.build(STAGE, {}, {}, write_files)
    (artifact.directory / MANIFEST).write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=f"is not a manifest.*gc --drop demo/{artifact.key}"):
        store.find("demo", artifact.key)


def test_a_manifest_of_another_format_is_refused(tmp_path):
    store = Store(tmp_path)
    artifact, _ = store.build(STAGE, {}, {}, write_files)
    path = artifact.directory / MANIFEST
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(CorruptArtifactError, match="has format 99; this version reads 1"):
        store.find("demo", artifact.key)


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
    publish = store._publish

    def interrupted(*arguments):
        publish(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.build(STAGE, {}, {"x": 1}, write_files)
    found = store.find("demo", STAGE.key({}, {"x": 1}))
    assert found is not None
    found.verify()


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


def test_of_two_processes_one_builds_and_the_impatient_other_is_told_who(tmp_path):
    first = started(start_builder(tmp_path, pause=0.05))
    second = start_builder(tmp_path)
    out, err = second.communicate(timeout=30)
    assert second.returncode == BusyError.exit_code
    assert out == ""
    assert f"is in use by process {first.pid} since" in err
    out, _ = first.communicate(timeout=30)
    assert out.startswith("built ")
    assert len(manifests(tmp_path)) == 1


def test_of_two_processes_one_builds_and_the_patient_other_reuses(tmp_path):
    racers = [start_builder(tmp_path, pause=0.01, wait=30) for _ in range(2)]
    said = [racer.communicate(timeout=60)[0].splitlines()[-1].split() for racer in racers]
    assert sorted(words[0] for words in said) == ["built", "reused"]
    assert len({words[1] for words in said}) == 1
    [manifest] = manifests(tmp_path)
    assert len([path for path in manifest.parent.iterdir() if path.is_dir()]) == 1


def test_a_killed_holder_blocks_nobody_and_what_it_left_goes(tmp_path):
    first = started(start_builder(tmp_path, pause=5))
    first.kill()
    first.communicate(timeout=10)
    assert manifests(tmp_path) == []
    assert len(list(tmp_path.glob("demo/*/attempt-*"))) == 1
    artifact, reused = Store(tmp_path).build(STAGE, {}, {"x": 1}, write_files)
    assert not reused
    assert {path.name for path in artifact.directory.iterdir()} == {MANIFEST, artifact.files_dir.name}
    artifact.verify()


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


def _kill_at_random_instants(folder: Path, count: int) -> None:
    """Kill a builder `count` times, at instants spread over its whole life; whatever it left must be all or nothing."""
    expected, _ = Store(folder / "expected").build(STAGE, {}, {"x": 1}, write_files)
    draw = random.Random(20)
    killed = published = 0
    for number in range(count):
        root = folder / str(number)
        process = started(start_builder(root, pause=0.002))
        time.sleep(draw.uniform(0, 0.09))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        killed += process.returncode == -signal.SIGKILL
        store = Store(root)
        found = store.find("demo", expected.key)
        published += found is not None
        if found is not None:
            found.verify()
        again, reused = store.build(STAGE, {}, {"x": 1}, write_files)
        assert reused == (found is not None)
        again.verify()
        assert again.digest == expected.digest
        assert again.manifest["files"] == expected.manifest["files"]
    assert killed > count / 3, "the kills came too late to mean anything"
    assert published < count


def test_kill_9_at_thirty_instants_leaves_all_or_nothing(tmp_path):
    _kill_at_random_instants(tmp_path, 30)


@pytest.mark.slow
def test_kill_9_at_two_hundred_instants_leaves_all_or_nothing(tmp_path):
    _kill_at_random_instants(tmp_path, 200)


FILLER = """
import sys
from pathlib import Path
from lm_pipeline.artifacts import Stage, Store
from lm_pipeline.errors import LmPipelineError

store = Store(Path(sys.argv[1]))

def write(staging):
    how = sys.argv[2]
    if how == "python":
        (staging.path / "big").write_bytes(bytes(2_000_000))
    elif how == "polars":
        import numpy, polars
        numbers = numpy.random.default_rng(0).integers(0, 2**62, 400_000)
        polars.DataFrame({"x": numbers}).write_parquet(staging.path / "big")
    elif how == "pyarrow":
        import numpy, pyarrow, pyarrow.parquet
        numbers = numpy.random.default_rng(0).integers(0, 2**62, 400_000)
        pyarrow.parquet.write_table(pyarrow.table({"x": numbers}), staging.path / "big")
    elif how == "manifest":
        staging.summary = {"long": "x" * 2_000_000}

try:
    store.build(Stage("demo", 1), {}, {"x": 2}, write)
except LmPipelineError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def fill_up(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@pytest.mark.parametrize("how", ["python", "polars", "pyarrow", "manifest"])
def test_a_full_disk_leaves_what_was_there_and_says_what_to_do(tiny_disk, how):
    store = Store(tiny_disk)
    earlier, _ = store.build(STAGE, {}, {"x": 1}, write_files)
    store.set_ref("asset", earlier)
    process = subprocess.run(
        [sys.executable, "-c", FILLER, str(tiny_disk), how], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert process.returncode == LmPipelineError.exit_code, process.stderr
    assert "No disk space left while writing demo" in process.stderr
    assert "`lm-pipeline gc` may help" in process.stderr
    assert "Traceback" not in process.stderr
    assert len(manifests(tiny_disk)) == 1
    found = store.ref("asset")
    assert found is not None
    assert found.verify().digest == earlier.digest
    assert [path for path in tiny_disk.rglob("*") if path.is_file() and path.stat().st_size > 100_000] == []
    again, _ = store.build(STAGE, {}, {"x": 2}, fill("small", b"1"))
    again.verify()


def test_a_file_size_limit_fails_like_a_full_disk_without_harm(tmp_path):
    store = Store(tmp_path)
    earlier, _ = store.build(STAGE, {}, {"x": 1}, write_files)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n" + FILLER
    process = subprocess.run(
        [sys.executable, "-c", limited, str(tmp_path), "python"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert process.returncode != 0
    assert "File too large" in process.stderr
    assert [path.parent.name for path in manifests(tmp_path)] == [earlier.key]
    earlier.verify()


def test_garbage_can_be_collected_on_a_full_disk(tiny_disk):
    store = Store(tiny_disk)
    kept, _ = store.build(STAGE, {}, {"x": 1}, fill("a", b"1"))
    store.set_ref("asset", kept)
    store.build(STAGE, {}, {"x": 2}, write_files)
    fill_up(tiny_disk / "filling")
    assert collect_garbage(store).artifacts == 1
    kept.verify()


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
