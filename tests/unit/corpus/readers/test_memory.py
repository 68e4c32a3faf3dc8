"""Memory is set by a batch and by `cleaning.max_line_bytes`, not by a file or a line: peaks of child processes."""

import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

MEASURE = """
import re, sys
from collections import Counter
from pathlib import Path
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.specs.corpus import CorpusSpec, PathSource, TextFormat
path = Path(sys.argv[1])
spec = CorpusSpec(source=PathSource(path="x"))
if ".txt" in path.name:
    spec = spec.model_copy(update={"format": TextFormat(unit="line")})
found = Counter(
    getattr(item, "reason", "read") for item in read_records(RawFile(path.name, path.stat().st_size, "", path), spec)
)
print(*(f"{reason}={count}" for reason, count in sorted(found.items())))
# Not getrusage: its maximum includes the process that forked this one.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""
ALWAYS_AND_FULL_SIZE = [pytest.param(1, id="small"), pytest.param(20, id="full", marks=pytest.mark.slow)]


def measured(path: Path) -> tuple[str, int]:
    """What was found, and the peak in megabytes."""
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True)
    found, peak = done.stdout.splitlines()
    return found, int(peak)


@pytest.mark.parametrize("scale", ALWAYS_AND_FULL_SIZE)
@pytest.mark.parametrize("name", ["line.txt", "line.jsonl", "line.json", "line.csv", "line.txt.zst"])
def test_one_endless_line(tmp_path: Path, name, scale):
    """75 MB, above the limit of 64; 1.5 GB at full size."""
    path = tmp_path / name
    draw = random.Random(0)
    with path.open("wb") as raw, zstandard.open(raw, "wb") if name.endswith("zst") else raw as file:
        file.write(b"text\nshort\n" if "csv" in name else b'{"text": "a"}\n')
        file.write(b'{"text": "' if name.endswith("json") else b"")
        for _ in range(70 * scale):
            file.write("一个没有尽头的行".encode() + draw.randbytes(540_000).hex().encode())
        file.write(b'"}\n{"text": "b"}\n' if name.endswith("json") else b'\n{"text": "b"}\n')
    found, peak = measured(path)
    assert found == "read=2 too_long=1"
    assert peak < 500


@pytest.mark.parametrize("scale", ALWAYS_AND_FULL_SIZE)
@pytest.mark.parametrize("name", ["lines.txt", "lines.jsonl"])
def test_a_file_of_very_many_lines(tmp_path: Path, name, scale):
    """250,000 lines; 50 million at full size."""
    num_lines = 250_000 if scale == 1 else 50_000_000
    path = tmp_path / name
    block = '{"text": "行"}\n'.encode() * 50_000
    with path.open("wb") as file:
        for _ in range(num_lines // 50_000):
            file.write(block)
    found, peak = measured(path)
    assert found == f"read={num_lines}"
    assert peak < 300


@pytest.mark.parametrize("scale", ALWAYS_AND_FULL_SIZE)
@pytest.mark.parametrize("indent", [None, pytest.param(1, marks=pytest.mark.slow)], ids=["on one line", "indented"])
def test_an_array_of_very_many_objects(tmp_path: Path, indent, scale):
    """60 MB; 1.2 GB at full size."""
    path = tmp_path / "array.json"
    value = json.dumps({"text": "一个数组 an array of objects " * 25, "n": [1, {}]}, ensure_ascii=False, indent=indent)
    num = 0
    with path.open("wb") as file:
        file.write(b"[")
        while file.tell() < scale * 60_000_000:
            file.write(", ".join([value] * 1000).encode() + b", ")
            num += 1000
        file.write(value.encode() + b"]")
    found, peak = measured(path)
    assert found == f"read={num + 1}"
    assert peak < 500


@pytest.mark.parametrize("num", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_an_archive_of_very_many_members(tmp_path: Path, num):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(num):
            archive.writestr(
                zipfile.ZipInfo(f"folder {number % 1000}/a member with a long name 法律 {number}.txt"), b"x"
            )
    found, peak = measured(path)
    assert found == f"read={num}"
    assert peak < 300


@pytest.mark.parametrize("scale", ALWAYS_AND_FULL_SIZE)
@pytest.mark.parametrize("name", ["bomb.txt.zst", "bomb.jsonl.zst", "bomb.parquet.zst"])
def test_a_zstd_bomb(tmp_path: Path, name, scale):
    """It expands some thirty thousand times, to 500 MB; 10 GB at full size."""
    path = tmp_path / name
    with path.open("wb") as raw, zstandard.ZstdCompressor(level=19).stream_writer(raw, closefd=False) as file:
        for _ in range(5 * scale):
            file.write(b"a" * (100 << 20))
    assert 500 * (1 << 20) * scale / path.stat().st_size > 5000
    found, peak = measured(path)
    assert found == "bomb=1"
    assert peak < 1000


def test_a_row_group_of_long_rows(tmp_path: Path):
    path = tmp_path / "a.parquet"
    texts = [f"{number} " + "long text " * 200_000 for number in range(60)]
    pq.write_table(pa.table({"text": texts}), path, compression="zstd", use_dictionary=False)
    found, peak = measured(path)
    assert found == "read=60"
    assert peak < 500
