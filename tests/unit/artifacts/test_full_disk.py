import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from lm_pipeline.artifacts import Store
from lm_pipeline.artifacts.garbage import collect_garbage
from lm_pipeline.errors import LmPipelineError
from tests.unit.artifacts.written_files import ROOT, STAGE, fill, manifests, write_files

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
