"""SHA-256 of local files, computed once per state of a file."""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lm_pipeline.digests import digest_file
from lm_pipeline.errors import HomeError, InputError
from lm_pipeline.home import Home

_RECENT_NS = 2_000_000_000
"""A file changed in the last two seconds is not remembered: it may change again within one tick of its clock."""

_WRITE_SECONDS = 1.0
"""How often new digests are written; a run that is killed loses no more than that."""

_State = tuple[int, int, int, int, int]


def digest_files(paths: Iterable[Path], home: Home) -> list[tuple[int, str]]:
    """Size in bytes and hex SHA-256 of each file, in the order given.

    A file whose device, inode, size and times are those of an earlier call is not read again. Any number of processes
    may share the cache (`<home>/cache/digests.sqlite`).

    Raises:
        InputError: a file cannot be read, or changes while it is read.
        HomeError: the cache is damaged.
    """
    digests: list[tuple[int, str]] = []
    fresh: list[tuple[_State, str]] = []
    with _open(home) as connection:
        written = time.monotonic()
        try:
            for path in paths:
                digests.append(_digest(path, connection, fresh))
                if time.monotonic() - written > _WRITE_SECONDS:
                    _write(fresh, connection)
                    written = time.monotonic()
        finally:  # what was hashed before a file could not be read stays known
            _write(fresh, connection)
    return digests


def _write(fresh: list[tuple[_State, str]], connection: sqlite3.Connection) -> None:
    """Remember new digests in one short transaction: nobody waits while files are hashed."""
    if not fresh:
        return
    connection.execute("BEGIN IMMEDIATE")
    rows = ((*state, digest) for state, digest in fresh)
    connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.execute("COMMIT")
    fresh.clear()


@contextmanager
def _open(home: Home) -> Iterator[sqlite3.Connection]:
    home.cache.mkdir(parents=True, exist_ok=True)
    path = home.cache / "digests.sqlite"
    try:
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # losing entries costs a second reading, nothing else
            connection.execute(
                "CREATE TABLE IF NOT EXISTS digests (device, inode, size, mtime_ns, ctime_ns, sha256,"
                " PRIMARY KEY (device, inode)) WITHOUT ROWID"
            )
            yield connection
    except sqlite3.DatabaseError as error:
        raise HomeError(f"The digest cache {path} cannot be used: {error}. Delete it; it is made again.") from error


def _digest(path: Path, connection: sqlite3.Connection, fresh: list[tuple[_State, str]]) -> tuple[int, str]:
    state = _state(path)
    size = state[2]
    found = connection.execute(
        "SELECT sha256 FROM digests WHERE (device, inode, size, mtime_ns, ctime_ns) = (?, ?, ?, ?, ?)", state
    ).fetchone()
    if found:
        return size, found[0]
    try:
        digest = digest_file(path)
    except OSError as error:
        raise InputError(
            f"Cannot read the raw file {path}: {error.strerror}. Make it readable or exclude it."
        ) from error
    if _state(path) != state:
        raise InputError(f"The raw file {path} changes while it is read. Try again when its writer is done.")
    if time.time_ns() - max(state[3], state[4]) > _RECENT_NS:
        fresh.append((state, digest))
    return size, digest


def _state(path: Path) -> _State:
    """What changes when a file's bytes do; ctime too, because tools that restore mtime cannot restore it."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"Cannot read the raw file {path}: {error.strerror}. Restore it or exclude it.") from error
    # Inode numbers may need all 64 bits, SQLite's integers are signed.
    return status.st_dev, status.st_ino & (2**63 - 1), status.st_size, status.st_mtime_ns, status.st_ctime_ns
