"""Reads tables in a child process, so that a file that takes its reader down costs that file and not the corpus.

Parquet, Arrow and SQLite files are full of lengths and places that native code follows; no check of ours makes that
safe for every damaged file. One child serves file after file, reads ahead while the records before are cleaned, and
is replaced when it dies. What it handed over before it died is kept.
"""

import atexit
import contextlib
import fcntl
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lm_pipeline.corpus.readers import arrow
from lm_pipeline.corpus.readers.apart_worker import LENGTHS
from lm_pipeline.corpus.readers.compression import DamagedStreamError
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record
from lm_pipeline.errors import InputError
from lm_pipeline.launch import PARENT_VARIABLE
from lm_pipeline.scratch import scratch_folder

_START_SECONDS = 60.0
_PIPE_BYTES = 1 << 20


def read_parquet(file: Opened) -> Iterator[Record | Quarantined]:
    """What `parquet.read` yields, read in a child."""
    return _read("parquet", file)


def read_arrow(file: Opened) -> Iterator[Record | Quarantined]:
    """What `arrow.read` yields, read in a child."""
    return _read("arrow", file)


def read_sqlite(file: Opened) -> Iterator[Record | Quarantined]:
    """What `sqlite.read` yields, read in a child."""
    return _read("sqlite", file)


def _read(kind: str, file: Opened) -> Iterator[Record | Quarantined]:
    # Of a query nobody knows how long it takes to its first row.
    seconds = None if kind == "sqlite" else file.spec.extraction.time_limit_seconds
    given = 0
    with _on_disk(file) as (path, damage):
        if damage and (kind != "arrow" or file.head.startswith(arrow.FILE_MAGIC)):
            yield Quarantined(None, None, damage.reason, damage.detail)  # what is needed first stands at its end
            return
        request = {"kind": kind, "name": file.name, "path": str(path), "spec": file.spec.model_dump(mode="json")}
        while True:
            was_fresh = True
            try:
                with _borrowed() as child:
                    was_fresh = child.is_fresh
                    for item in itertools.islice(child.read(request, seconds), given, None):
                        given += 1
                        yield item
            except _DiedError as error:
                if not was_fresh:
                    continue  # once more, so that the verdict does not depend on the files before
                yield Quarantined(given or None, None, error.reason, f"row {given} and later: {error}")
            break
        if damage:
            yield Quarantined(given or None, None, damage.reason, damage.detail)


@contextmanager
def _on_disk(file: Opened) -> Iterator[tuple[Path, DamagedStreamError | None]]:
    """The file's bytes in a file; of a damaged stream those before the damage, and the damage."""
    if file.path is not None:
        yield file.path.absolute(), None
        return
    with scratch_folder() as folder:
        path, damage = folder / "content", None
        with path.open("wb") as copy:
            try:
                for chunk in file.content:
                    copy.write(chunk)
            except DamagedStreamError as error:
                damage = error
        yield path.absolute(), damage


class _DiedError(Exception):
    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class _Child:
    """The child process and the pipes to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.is_fresh = True
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lm_pipeline.corpus.readers.apart_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={
                **os.environ,
                PARENT_VARIABLE: str(os.getpid()),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve what the limit on memory would count
            },
        )
        assert self._process.stdout is not None
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # above what a user may have: then it is only slower
                fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        if self._receive(_START_SECONDS) is None:
            said = self._tail()
            self.close()
            raise InputError(f"The child process that reads tables did not start. The end of what it said:\n{said}")

    def read(self, request: dict[str, Any], seconds: float | None) -> Iterator[Record | Quarantined]:
        """Yield the items of a file.

        Raises:
            InputError: what the reader raised.
            _DiedError: the child is no more; or, with files before this one, it has too little memory.
        """
        was_fresh, self.is_fresh = self.is_fresh, False
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: the missing answer says so
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        while True:
            received = self._receive(seconds)
            if received is None:
                raise self._post_mortem(seconds)
            answer, texts = received
            if "error" in answer:
                raise InputError(answer["error"])
            if "end" in answer:
                return
            at = 0
            for record, size, *others in answer["items"]:
                if record is None:
                    bad = Quarantined(size, *others)
                    if bad.reason == "memory_limit" and not was_fresh:
                        raise _DiedError(bad.reason, bad.detail)
                    yield bad
                else:
                    *fields, removals = others
                    yield Record(
                        record, str(texts[at : at + size], "utf-8"), *fields, removals=tuple(map(tuple, removals))
                    )
                    at += size

    def close(self) -> None:
        """Kill the child."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait(30)
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # a full pipe to a dead child
                    stream.close()

    def _receive(self, seconds: float | None) -> tuple[dict[str, Any], memoryview] | None:
        """The next answer and the bytes of its texts; None if there is none, because it died or took too long."""
        deadline = None if seconds is None else time.monotonic() + seconds
        lengths = self._read(LENGTHS.size, deadline)
        if lengths is None:
            return None
        header_bytes, text_bytes = LENGTHS.unpack(lengths)
        data = self._read(header_bytes + text_bytes, deadline)
        return None if data is None else (json.loads(bytes(data[:header_bytes])), data[header_bytes:])

    def _read(self, size: int, deadline: float | None) -> memoryview | None:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        data = memoryview(bytearray(size))
        filled = 0
        while filled < size:
            left = 1.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return None
            if not poll.poll(1000 * min(left, 1.0)):  # short: a longer wait would not notice SIGINT
                continue
            read = os.readv(descriptor, [data[filled:]])
            if not read:
                return None
            filled += read
        return data

    def _post_mortem(self, seconds: float | None) -> _DiedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(5)
            if code < 0:
                return _DiedError("unreadable", f"killed its reader (signal {-code}, {signal.Signals(-code).name})")
            return _DiedError("unreadable", f"ended its reader (exit code {code}): {self._tail()[-300:]}")
        if seconds is None:
            return _DiedError("unreadable", "its reader said no more, without ending")
        return _DiedError("timeout", f"nothing read for {seconds:g} s; extraction.time_limit_seconds")

    def _tail(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4096))
        return self._stderr.read().decode("utf-8", "replace").strip()


_idle: list[_Child] = []


@contextmanager
def _borrowed() -> Iterator[_Child]:
    """A child: an idle one if there is one. One that was left in the midst of a file is killed."""
    child = None
    while child is None and _idle:
        candidate = _idle.pop()
        if candidate.owner == os.getpid():
            child = candidate
        else:
            candidate.close()
    child = child or _Child()
    try:
        yield child
    except InputError:  # the last that the child says of a file
        _idle.append(child)
        raise
    except BaseException:
        child.close()
        raise
    _idle.append(child)


@atexit.register
def close_idle() -> None:
    """Kill the children that wait for work."""
    while _idle:
        _idle.pop().close()
