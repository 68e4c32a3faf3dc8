import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_pipeline.artifacts import Artifact, Stage, Store
from lm_pipeline.errors import CorruptArtifactError, LmPipelineError

ROOT = Path(__file__).resolve().parents[3]
STAGE = Stage("demo", 1)


def built(store: Store, x: int) -> Artifact:
    return store.build(STAGE, {}, {"x": x}, lambda staging: (staging.path / "a").write_bytes(b"1") and None)[0]


WRITER = """
import sys
from pathlib import Path
from lm_pipeline.artifacts import Store
store = Store(Path(sys.argv[1]))
artifacts = [store.find("demo", key) for key in sys.argv[2:]]
print("ready", flush=True)
while True:
    for artifact in artifacts:
        store.set_ref("a/asset", artifact)
"""


def test_refs_are_replaced_atomically_also_under_kill_9(tmp_path):
    store = Store(tmp_path)
    both = [built(store, x) for x in range(2)]
    store.set_ref("a/asset", both[0])
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), *(item.key for item in both)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    seen = set()
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        found = store.ref("a/asset")
        assert found is not None
        seen.add(found.key)
    process.kill()
    process.communicate(timeout=10)
    assert seen == {item.key for item in both}
    store.set_ref("a/asset", both[0])  # writes over what the killed one may have left
    assert [path.name for path in tmp_path.glob("refs/a/*")] == ["asset.json"]
    assert store.assets() == ["a/asset"]
    assert store.refs().keys() == {"a/asset"}


def test_a_damaged_ref_is_named_with_what_to_do(tmp_path):
    store = Store(tmp_path)
    store.set_ref("a/asset", built(store, 0))
    (tmp_path / "refs" / "a" / "asset.json").write_bytes(b"\x00\xff")
    with pytest.raises(CorruptArtifactError, match=r"asset\.json does not name an artifact.*materialize a/asset"):
        store.ref("a/asset")


def test_failures_are_remembered_until_cleared_and_are_no_refs(tmp_path):
    store = Store(tmp_path)
    assert store.failure("a/asset") is None
    store.set_failure("a/asset", "ValueError: no")
    assert store.failure("a/asset") == "ValueError: no"
    assert store.assets() == []
    store.clear_failure("a/asset")
    store.clear_failure("a/asset")
    assert store.failure("a/asset") is None


def test_a_ref_that_cannot_be_written_keeps_its_old_value(tiny_disk):
    store = Store(tiny_disk)
    first, second = built(store, 1), built(store, 2)
    store.set_ref("asset", first)
    with contextlib.suppress(OSError), (tiny_disk / "filling").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with pytest.raises(LmPipelineError, match="No disk space left while writing the ref of asset"):
        store.set_ref("asset", second)
    found = store.ref("asset")
    assert found is not None
    assert found.key == first.key
    assert list(tiny_disk.rglob("*.tmp")) == []
    (tiny_disk / "filling").unlink()
    store.set_ref("asset", second)
    assert store.refs()["asset"].key == second.key
