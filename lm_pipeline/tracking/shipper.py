"""The shipper: one process per home that tells MLflow what the spools say.

It runs beside the work (`python -m lm_pipeline ship`, started by `ensure_shipper`, alone under a lock), so
that a server that is down, slow or silent costs the work nothing.

- While MLflow does not answer, it is asked again after 0.5, 1, 2, ... at most 30 s, for ever while anybody writes to a
  spool, and for an hour after; then the process ends, and the next use of this home or `python -m lm_pipeline ship`
  goes on.
- A spool whose writers all died without a final status is shown as KILLED; written to again, as RUNNING.
- What MLflow refuses for good is listed in the spool's state (`refused`) and in `shipper.log`; the spool keeps it.
"""

import contextlib
import fcntl
import logging
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lm_pipeline.errors import LmPipelineError
from lm_pipeline.home import Home
from lm_pipeline.tracking.courier import Courier, TrackingLink, link, load_state
from lm_pipeline.tracking.spool_events import read_events
from lm_pipeline.tracking.spool_files import is_held, spool_path

if TYPE_CHECKING:
    from lm_pipeline.tracking.mlflow_store import MlflowStore

_POLL_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 30.0
log = logging.getLogger("lm_pipeline.shipper")


def ensure_shipper(home: Home) -> bool:
    """Start the home's shipper, detached, unless it runs already. Returns at once.

    Returns:
        Whether it was started.
    """
    home.spool.mkdir(parents=True, exist_ok=True)
    with (home.spool / "shipper.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    with (home.spool / "shipper.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lm_pipeline", "ship"],
            env={**os.environ, "LM_PIPELINE_HOME": str(home.root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # Reaped if this process outlives it (a Dagster daemon does), left alone if not.
    threading.Thread(target=process.wait, daemon=True).start()
    return True


def flush(home: Home, spool_id: str, timeout_seconds: float = 5.0) -> TrackingLink | None:
    """Wait until MLflow has been told everything that this spool says now.

    Returns:
        Where MLflow shows the run; None when it was not done in time: nothing is lost, it will be shipped later.
    """
    deadline = time.monotonic() + timeout_seconds
    asked = -math.inf
    with contextlib.suppress(OSError):
        end = spool_path(home, spool_id).stat().st_size
        while (now := time.monotonic()) < deadline:
            if load_state(home, spool_id).shipped_offset >= end:
                return link(home, spool_id)
            if now - asked > 2.0:  # a shipper that was just about to end may have held the lock when it was asked for
                asked = now
                ensure_shipper(home)
            time.sleep(0.05)
    return None


def pending_events(home: Home, spool_id: str) -> int:
    """Events of this spool that MLflow has not been told yet."""
    path = spool_path(home, spool_id)
    offset = load_state(home, spool_id).shipped_offset
    return sum(1 for _ in read_events(path, offset, max_bytes=2**62)) if path.is_file() else 0


def main(home: Home, once: bool = False, idle_seconds: float = 30.0, patience_seconds: float = 3600.0) -> int:
    """Ship until nothing is left to do.

    Args:
        home: whose spools.
        once: ship what is there and end, whether MLflow answered or not.
        idle_seconds: end after this long with everything shipped and no spool held by a writer.
        patience_seconds: end after this long without an answer from MLflow and without a writer.

    Returns:
        Exit code: 0 if everything was shipped or another shipper runs, 1 if work is left.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    home.spool.mkdir(parents=True, exist_ok=True)
    with (home.spool / "shipper.lock").open("a") as lock:
        for attempt in range(10):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == 9:
                    log.info("another shipper serves %s", home.spool)
                    return 0
                time.sleep(0.1)  # `ensure_shipper` holds it for a moment
        return _serve(home, once, idle_seconds, patience_seconds)


def _serve(home: Home, once: bool, idle_seconds: float, patience_seconds: float) -> int:
    shipper = _Shipper(home)
    useful = time.monotonic()
    pause = _POLL_SECONDS
    while home.spool.is_dir():
        failure, progressed, left = shipper.round()
        if once:
            if failure:
                log.warning("MLflow is silent (%s); the spools keep what is left", failure)
            return int(left)
        if failure:
            if pause <= _POLL_SECONDS:
                log.warning("%s; asking again until it answers", failure)
            pause = min(max(2 * pause, 0.5), _LONGEST_PAUSE_SECONDS)
        else:
            pause = _POLL_SECONDS
        if progressed or shipper.anybody_writes():
            useful = time.monotonic()
        if time.monotonic() - useful > (patience_seconds if left else idle_seconds):
            return int(left)
        time.sleep(pause)
    return 0


class _Shipper:
    """Goes round the spools of a home; knows which were done when it last looked: a round costs a `stat` each."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._store: MlflowStore | None = None
        self._done: dict[Path, int] = {}
        self._running: set[Path] = set()

    def round(self) -> tuple[Exception | None, bool, bool]:
        """Ship what there is.

        Returns:
            Why MLflow did not take something (None if it did), whether anything was shipped, whether anything is left.
        """
        from lm_pipeline.tracking.mlflow_store import MlflowStore

        failure, progressed, left = None, False, False
        for path in sorted(self.home.spool.glob("*.jsonl")):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size <= self._done.get(path, -1) and path not in self._running:
                    continue
                try:
                    self._store = self._store or MlflowStore(self.home)
                    progressed |= self._ship(self._store, path)
                except (LmPipelineError, OSError) as error:
                    failure, left = error, True
                    if not self._answers():
                        break
                    log.exception("%s cannot be shipped now", path.name)
                left |= path.stat().st_size > self._done.get(path, -1)
        return failure, progressed, left

    def anybody_writes(self) -> bool:
        """Whether a living process holds a spool."""
        return any(is_held(path) for path in self.home.spool.glob("*.jsonl"))

    def _answers(self) -> bool:
        from lm_pipeline.tracking.mlflow_store import UnreachableError

        try:
            if self._store is not None:
                self._store.ping()
        except UnreachableError:
            return False
        return self._store is not None

    def _ship(self, store: "MlflowStore", path: Path) -> bool:
        held = is_held(path)  # before reading: a writer that ends afterwards has its last words read next time
        courier = Courier(self.home, store, load_state(self.home, path.stem))
        progressed = False
        while courier.deliver(path):
            progressed = True
        state = courier.state
        if state.status == "RUNNING" and not held and state.shipped_offset >= path.stat().st_size:
            courier.abandon()
        self._done[path] = state.shipped_offset
        (self._running.add if state.status == "RUNNING" else self._running.discard)(path)
        return progressed
