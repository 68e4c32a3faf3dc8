"""Starts and supervises child processes: whatever imports torch runs in one.

A child runs in a session of its own, is never waited for without a time limit (once polars is imported, a bare `wait`
no longer notices SIGINT: pola-rs/polars #21739), and does not outlive whoever started it:

- it asks the kernel to be killed with its parent (`die_with_parent`, the first call of its main function);
- a watcher, a shell of a few kilobytes, holds the other end of a pipe: when the parent is gone, however it went, the
  pipe closes and the watcher kills the child's whole process group, grandchildren included.
"""

import collections
import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from lm_pipeline.errors import ChildError

PARENT_VARIABLE = "LM_PIPELINE_PARENT_PID"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TAIL_LINES = 40
_LONGEST_LINE = 65536  # characters; longer lines come in pieces
_WATCHER = 'read -r _ || kill -s KILL -- "-$1"'  # the one form that every POSIX shell takes
OnLine = Callable[[str], None]


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, and take SIGINT as Python does by default.

    To be called first in the main function of every command that `supervise` starts. SIGINT needs it because a
    process started in the background of a shell script hands "ignored" down to its children, which then cannot save
    when they are cancelled. Without `supervise` as parent (a person typed the command) it does nothing but that.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun stands between: it is the parent, and puts us in another session
        parent = str(os.getppid())
    if parent is None:
        return
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def torchrun(arguments: Sequence[str], num_processes: int) -> list[str]:
    """The command that runs `python -m lm_pipeline ARGUMENTS` in so many processes of this machine, under torchrun.

    When one fails the others are told to save and leave, and killed after 10 s. Nothing is restarted: whoever started
    the command decides about that.
    """
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_processes}",
        "--max-restarts=0",
        "--shutdown-timeout=10",
        "-m",
        "lm_pipeline",
        *arguments,
    ]


def supervise(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    on_line: OnLine | None = None,
    *,
    grace_seconds: float = 10.0,
    poll_seconds: float = 0.1,
    cwd: Path | None = None,
) -> None:
    """Run a command to its end; when it returns or raises, nothing of the command is left running.

    Whatever is raised here meanwhile (KeyboardInterrupt, Dagster's cancellation, an error of `on_line`) is passed on
    after the child's process group got SIGINT, had `grace_seconds` to save and leave, and then got SIGKILL.

    Args:
        argv: program and arguments.
        env: the whole environment; this process' own if None.
        on_line: called in this thread with each line of the child's stdout and stderr, without its end of line.
        grace_seconds: how long the child may take to save after SIGINT.
        poll_seconds: longest time between two looks at the child.
        cwd: working directory of the child.

    Raises:
        ChildError: the child failed; the text has its exit code or signal and the last 40 lines of its stderr.

    >>> supervise([sys.executable, "-c", "print('hello')"], on_line=print)
    hello
    """
    environment = {**(os.environ if env is None else env), PARENT_VARIABLE: str(os.getpid())}
    process = subprocess.Popen(
        argv,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    output = _Output(process, on_line)
    try:
        with _watcher(process.pid):
            try:
                while not _has_ended(process):
                    output.pass_on(poll_seconds)
                _kill_group(process)
                output.finish(seconds=5.0)
            except BaseException:
                _interrupt(process, output, grace_seconds)
                raise
            finally:
                _reap(process, output)
    finally:
        _reap(process, output)
    if process.returncode != 0:
        raise ChildError(_describe(argv, process.returncode, output.tail))


class _Output:
    """Both streams of a child, read by threads so that it never blocks, passed on in the caller's thread."""

    def __init__(self, process: subprocess.Popen[str], on_line: OnLine | None) -> None:
        self.tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._on_line = on_line
        self._lines: queue.Queue[str] = queue.Queue(maxsize=10_000)
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(process.stdout, False), daemon=True),
            threading.Thread(target=self._read, args=(process.stderr, True), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], keep: bool) -> None:
        with stream:
            while line := stream.readline(_LONGEST_LINE):
                text = line.rstrip("\n")
                if keep:
                    self.tail.append(text[:2000])
                if self._on_line is not None:
                    self._lines.put(text)

    def pass_on(self, seconds: float) -> None:
        """Pass on what has come, for about this long at most; return early when nothing more comes."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(queue.Empty):
            while (left := deadline - time.monotonic()) > 0:
                line = self._lines.get(timeout=left)
                if self._on_line is not None:
                    self._on_line(line)

    def finish(self, seconds: float) -> None:
        """Pass on the rest. A process that left the group may hold the pipes: it is not waited for any longer."""
        deadline = time.monotonic() + seconds
        while any(reader.is_alive() for reader in self._readers) and time.monotonic() < deadline:
            self.pass_on(0.01)
        while not self._lines.empty():
            self.pass_on(0.01)

    def mute(self) -> None:
        """Pass nothing on any more, but keep the child from blocking."""
        self._on_line = None


@contextlib.contextmanager
def _watcher(group: int) -> Iterator[None]:
    """While this is open, the death of this process kills the group."""
    with subprocess.Popen(
        ["/bin/sh", "-c", _WATCHER, "watcher", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as watcher:
        try:
            yield
        finally:
            # Killed, not told: it must not act on the pipe that closes here.
            watcher.kill()


def _has_ended(process: subprocess.Popen[str]) -> bool:
    """Whether the child has ended; it is not reaped, so that its process group cannot become another's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _interrupt(process: subprocess.Popen[str], output: _Output, grace_seconds: float) -> None:
    """SIGINT to the group, and time to save."""
    if process.returncode is not None:
        return
    deadline = time.monotonic() + grace_seconds
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    while time.monotonic() < deadline and not _has_ended(process):
        try:
            output.pass_on(0.05)
        except Exception:  # noqa: BLE001 - the first failure is the one that is reported
            output.mute()
    output.mute()


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _reap(process: subprocess.Popen[str], output: _Output) -> None:
    """Leave nothing of the group running and no zombie."""
    if process.returncode is None:
        output.mute()
        _kill_group(process)
        output.finish(seconds=5.0)
        process.wait(timeout=5.0)


def _describe(argv: Sequence[str], returncode: int, tail: Sequence[str]) -> str:
    how = f"exited with code {returncode}"
    if returncode < 0:
        how = f"was killed by {signal.Signals(-returncode).name}"
        if returncode == -signal.SIGKILL:
            how += " (from outside: the machine may have run out of memory)"
    said = "\n".join(tail) if tail else "(nothing)"
    return f"The command `{' '.join(argv)}` {how}. The last lines of its stderr:\n{said}"
