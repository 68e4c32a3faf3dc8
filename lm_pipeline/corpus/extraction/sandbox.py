"""Parses what may be hostile in a child process that can be killed.

One child serves many records, so that its start (a tenth of a second) is paid once. A record that takes too long, needs
too much memory or takes the parser down is lost, and only that one: the child is killed and replaced, and a record that
failed in a child that others had used is tried once more in a fresh one, so that the verdict does not depend on them.
"""

import atexit
import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from lm_pipeline.corpus.extraction.worker import LENGTH
from lm_pipeline.errors import InputError
from lm_pipeline.launch import PARENT_VARIABLE

_BATCH_JOBS = 64
_BATCH_BYTES = 4 << 20
_START_SECONDS = 60.0
_SAMPLE_SECONDS = 0.02
_OUT_OF_MEMORY = (b"memory allocation of", b"bad_alloc", b"ut of memory", b"annot allocate memory", b"MemoryError")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one record may cost: seconds of wall time, bytes of address space over what the idle child has."""

    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Job:
    """One record to parse: the name of a parser in `parsers.PARSERS`, its input, its options (JSON values)."""

    parser: str
    payload: bytes = b""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record could not be parsed: a quarantine reason and what happened."""

    reason: str
    detail: str


Parsed = dict[str, Any]
"""A document as `parsers.py` makes it, a `parsed.Document` as JSON keeps it."""


def parse_all(
    jobs: Iterable[tuple[_T, Job | None]], limits: Limits
) -> Iterator[tuple[_T, list[Parsed] | Failure | None]]:
    """Parse jobs in a child, in order; each comes back with what it was handed in with.

    Args:
        jobs: pairs of anything and a job; where there is no job, None comes back. Read ahead by at most 64 pairs, or 4
            MB and one job.
        limits: what one job may cost.
    """
    with _borrowed(limits) as sandbox:
        batch: list[tuple[_T, Job | None]] = []
        num_bytes = 0
        for pair in jobs:
            batch.append(pair)
            num_bytes += len(pair[1].payload) if pair[1] else 0
            if len(batch) == _BATCH_JOBS or num_bytes >= _BATCH_BYTES:
                yield from _answered(sandbox, batch)
                batch, num_bytes = [], 0
        yield from _answered(sandbox, batch)


def _answered(
    sandbox: "_Sandbox", batch: Sequence[tuple[_T, Job | None]]
) -> Iterator[tuple[_T, list[Parsed] | Failure | None]]:
    answers = sandbox.parse([job for _, job in batch if job])
    return ((given, next(answers) if job else None) for given, job in batch)


class _Sandbox:
    """A child process and the pipes to it; started when needed."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.owner = os.getpid()
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._num_parsed = 0
        self._start_bytes = self._peak_bytes = 0

    def parse(self, jobs: Sequence[Job]) -> Iterator[list[Parsed] | Failure]:
        """Answer the jobs in order, however often the child has to be replaced."""
        left = list(jobs)
        while left:
            self._submit(left)
            while left:
                answer = self._next_answer()
                worn = self._num_parsed > 0
                self._num_parsed += 1
                if isinstance(answer, Failure) and answer.reason in {"memory_limit", "parser_crash", "timeout"}:
                    self.close()
                    if worn and answer.reason != "timeout":
                        break  # once more, in a fresh child
                    left.pop(0)
                    yield answer
                    break
                left.pop(0)
                yield answer

    def close(self) -> None:
        """Kill the child."""
        child, self._child = self._child, None
        if child is None:
            return
        if self.owner == os.getpid():
            child.kill()
            child.wait(30)
        for stream in (child.stdin, child.stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # a full pipe to a dead child
                    stream.close()

    def _submit(self, jobs: Sequence[Job]) -> None:
        child = self._child or self._start()
        header = json.dumps([(job.parser, job.options, len(job.payload)) for job in jobs]).encode()
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: the missing answer says so
            child.stdin.write(LENGTH.pack(len(header)) + header)
            for job in jobs:
                child.stdin.write(job.payload)
            child.stdin.flush()

    def _start(self) -> subprocess.Popen[bytes]:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "lm_pipeline.corpus.extraction.worker", str(self.limits.bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=1 << 16,
            env={
                **os.environ,
                PARENT_VARIABLE: str(os.getpid()),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )
        self._num_parsed = 0
        ready = self._receive(time.monotonic() + _START_SECONDS)
        if not isinstance(ready, dict):
            tail = self._tail()
            self.close()
            raise InputError(
                "The child process that parses web pages and documents did not start. The end of what it said:\n"
                + tail.decode("utf-8", "replace")
            )
        self._start_bytes = self._peak_bytes = ready["mapped"]
        return self._child

    def _next_answer(self) -> list[Parsed] | Failure:
        answer = self._receive(time.monotonic() + self.limits.seconds)
        if answer == "timeout":
            return Failure("timeout", f"not parsed after {self.limits.seconds:g} s; extraction.time_limit_seconds")
        if answer is None:
            return self._post_mortem()
        assert isinstance(answer, dict)
        if "parsed" in answer:
            return answer["parsed"]
        detail = answer["detail"]
        if answer["reason"] == "memory_limit":
            detail = self._over_memory()
        return Failure(answer["reason"], detail)

    def _receive(self, deadline: float) -> Any:
        """The child's next answer; `timeout`, or None if it died instead."""
        length = self._read(LENGTH.size, deadline)
        if not isinstance(length, bytes):
            return length
        data = self._read(LENGTH.unpack(length)[0], deadline)
        return json.loads(data) if isinstance(data, bytes) else data

    def _read(self, size: int, deadline: float) -> bytes | str | None:
        assert self._child is not None
        assert self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        data = bytearray()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout"
            if not poll.poll(1000 * min(left, _SAMPLE_SECONDS)):
                self._sample_memory()
                continue
            piece = os.read(descriptor, min(1 << 20, size - len(data)))
            if not piece:
                return None
            data += piece
        return bytes(data)

    def _sample_memory(self) -> None:
        assert self._child is not None
        with contextlib.suppress(OSError, IndexError):  # it ends just now
            pages = int(Path(f"/proc/{self._child.pid}/statm").read_bytes().split()[0])
            self._peak_bytes = max(self._peak_bytes, pages * resource.getpagesize())

    def _post_mortem(self) -> Failure:
        assert self._child is not None
        code = self._child.wait(30)
        tail = self._tail()
        # Few parsers say that they ran out of memory; having had a quarter of it before the end says it for them: a
        # buffer that is doubled needs three times what it holds.
        if 4 * (self._peak_bytes - self._start_bytes) > self.limits.bytes or any(s in tail for s in _OUT_OF_MEMORY):
            return Failure("memory_limit", self._over_memory())
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        said = tail.decode("utf-8", "replace").strip().splitlines()
        return Failure("parser_crash", f"the parser ended with {how}" + (f": {said[-1][:300]}" if said else ""))

    def _over_memory(self) -> str:
        return f"needs more than {self.limits.bytes} bytes of memory; extraction.memory_limit_bytes"

    def _tail(self) -> bytes:
        assert self._stderr is not None
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4096))
        return self._stderr.read()


_idle: list[_Sandbox] = []


@contextlib.contextmanager
def _borrowed(limits: Limits) -> Iterator[_Sandbox]:
    """A sandbox with these limits: an idle one if there is one, which keeps its child from file to file."""
    found = None
    for index in reversed(range(len(_idle))):
        with contextlib.suppress(IndexError):  # another thread took it
            candidate = _idle.pop(index)
            if candidate.limits == limits and candidate.owner == os.getpid():
                found = candidate
                break
            candidate.close()
    sandbox = found or _Sandbox(limits)
    try:
        yield sandbox
    except BaseException:
        sandbox.close()  # answers may still be on their way
        raise
    _idle.append(sandbox)


@atexit.register
def close_idle() -> None:
    """Kill the children that wait for work."""
    while _idle:
        _idle.pop().close()
