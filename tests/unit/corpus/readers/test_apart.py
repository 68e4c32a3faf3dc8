"""Tables are read in a child, which may die."""

import gzip
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.corpus.readers import apart
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.errors import InputError
from lm_pipeline.specs.corpus import SqliteFormat

TEXTS = [f"第{n}行 row {n}" * 500 for n in range(5000)]


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": TEXTS}), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def readers() -> list[int]:
    """Process ids of this process' children that read tables."""
    children = " ".join(task.read_text() for task in Path("/proc/self/task").glob("*/children")).split()
    return [int(child) for child in children if b"apart_worker" in Path("/proc", child, "cmdline").read_bytes()]


@pytest.fixture
def in_a_fresh_child():
    apart.close_idle()
    yield
    apart.close_idle()


@pytest.mark.usefixtures("in_a_fresh_child")
def test_a_file_that_kills_its_reader_costs_the_rest_of_itself_and_the_next_one_is_read(reading):
    file = reading.file("a.parquet", parquet())
    items = read_records(file, reading.spec())
    read = [next(items)]
    (reader,) = readers()
    os.kill(reader, signal.SIGSEGV)  # as a length that leads nowhere does
    read += items
    assert read[-1].reason == "unreadable"
    assert read[-1].record == len(read) - 1
    assert "killed its reader (signal 11, SIGSEGV)" in read[-1].detail
    assert [item.text for item in read[:-1]] == TEXTS[: len(read) - 1]
    assert len(read) < len(TEXTS)
    assert [item.text for item in read_records(file, reading.spec())] == TEXTS


@pytest.mark.usefixtures("in_a_fresh_child")
def test_a_reader_that_other_files_wore_out_is_replaced(reading):
    file = reading.file("a.parquet", parquet())
    assert len(list(read_records(file, reading.spec()))) == len(TEXTS)
    items = read_records(file, reading.spec())
    read = [next(items)]
    os.kill(readers()[0], signal.SIGKILL)
    assert [item.text for item in [*read, *items]] == TEXTS


@pytest.mark.usefixtures("in_a_fresh_child")
def test_what_a_killed_process_unpacked_goes_when_the_file_is_read_again(reading, monkeypatch):
    file = reading.file("a.parquet.gz", gzip.compress(parquet()))
    temporary = reading.folder / "tmp"
    temporary.mkdir()
    program = (
        "import sys; from pathlib import Path; from lm_pipeline.corpus.raw.raw_files import RawFile;"
        " from lm_pipeline.corpus.readers.read import read_records; from lm_pipeline.specs.corpus import *;"
        " path = Path(sys.argv[1]); spec = CorpusSpec(source=PathSource(path='.'));"
        " items = read_records(RawFile(path.name, path.stat().st_size, '', path), spec); next(items);"
        " print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(file.location)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"ready\n"
        killed.kill()
    assert list(temporary.glob("*/content"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert [item.text for item in read_records(file, reading.spec())] == TEXTS
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("in_a_fresh_child")
def test_a_file_that_is_left_early_leaves_no_reader_behind(reading):
    items = read_records(reading.file("a.parquet", parquet()), reading.spec())
    next(items)
    items.close()
    assert not readers()


def test_of_a_compressed_stream_that_is_cut_what_is_whole_is_read(reading):
    sink = pa.BufferOutputStream()
    table = pa.table({"text": TEXTS})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=500)
    items = reading("a.arrow.gz", gzip.compress(sink.getvalue().to_pybytes())[:-50_000])
    texts = [item.text for item in items if not hasattr(item, "reason")]
    assert texts == TEXTS[: len(texts)]
    assert texts
    assert items[-1].reason == "truncated_gzip"


def test_a_wrong_query_is_said_as_if_it_were_read_here(reading):
    with pytest.raises(InputError, match="must be one SELECT"):
        reading("a.db", b"", SqliteFormat(query="SELECT nothing AS text FROM nowhere"))


@pytest.mark.slow
def test_a_file_that_needs_more_memory_than_it_may_costs_itself(reading):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a" * (400 << 20)]}), sink, use_dictionary=False)
    path = reading.folder / "a.parquet"
    path.write_bytes(sink.getvalue().to_pybytes())
    spec = reading.spec()
    spec = spec.model_copy(update={"extraction": spec.extraction.model_copy(update={"memory_limit_bytes": 256 << 20})})
    (bad,) = read_records(RawFile("a.parquet", path.stat().st_size, "", path), spec)
    assert (bad.reason, bad.record) == ("memory_limit", None)
