"""Memory of the whole of a part's cleaning stays below 1 GB, whatever one record is: peaks of child processes."""

import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 16 * 1024 * 1024  # the default of cleaning.max_line_bytes
MEASURE = """
import re, sys
from pathlib import Path
from lm_pipeline.digests import digest_file
from lm_pipeline.corpus.documents import clean_part, plan_parts
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.specs.corpus import CorpusSpec, PathSource, SqliteFormat
path = Path(sys.argv[1])
spec = CorpusSpec(source=PathSource(path="x"))
if path.suffix == ".db":
    spec = spec.model_copy(update={"format": SqliteFormat(query="SELECT text FROM t")})
file = RawFile(path.name, path.stat().st_size, digest_file(path), path)
out = path.parent / "out"
out.mkdir()
(part,) = plan_parts([file], spec)
summary = clean_part("big", part, {path.name: file}, spec, out)
print(summary["documents"], summary["quarantined"])
from lm_pipeline.corpus.readers import apart
statuses = [Path("/proc/self/status"), *(Path(f"/proc/{child._process.pid}/status") for child in apart._idle)]
print(*(int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) // 1024 for status in statuses))
"""


def words() -> bytes:
    draw = random.Random(0)
    return " ".join(draw.choices(["the", "a", "of", "house", "walks", "green", "it"], k=4_400_000)).encode()[:LIMIT]


def han() -> bytes:
    draw = random.Random(0)
    return "".join(map(chr, draw.choices(range(0x4E00, 0x9FA5), k=LIMIT // 3))).encode()


def small_objects() -> bytes:
    line = b'{"text": "x", "a": [' + b'{"":0},' * 2_000_000 + b"{}]}\n"
    return line + b'{"text": "ok"}\n' * 2


def database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (text)")
    connection.executemany("INSERT INTO t VALUES (?)", [("one",), ("x" * 700_000_000,), ("二",)])
    connection.commit()
    connection.close()


CASES = [
    ("words.txt", words, "1 0"),
    pytest.param("han.txt", han, "1 0"),
    pytest.param("objects.jsonl", small_objects, "3 0", marks=pytest.mark.slow),
    pytest.param("han.jsonl", lambda: b'{"text": "' + han()[:-102] + b'"}\n', "1 0", marks=pytest.mark.slow),
    pytest.param("blob.db", None, "2 1", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "make", "expected"), CASES)
def test_a_part_with_the_longest_record_there_may_be(tmp_path, name, make, expected):
    path = tmp_path / name
    path.write_bytes(make()) if make else database(path)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True)
    found, peaks = done.stdout.splitlines()
    assert found == expected
    print(name, peaks)
    assert all(int(peak) < 1000 for peak in peaks.split()), peaks
