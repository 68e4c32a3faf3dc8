"""Remote files onto this disk: several at a time, each once; what an earlier attempt has is linked.

A file is complete or it has another name: `.part` until its last byte is there.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fsspec import AbstractFileSystem

from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.digests import digest_file
from lm_pipeline.errors import InputError

NUM_THREADS = 16
"""Downloads at a time, where the file system allows several: they wait for the network, not for this machine."""

PAUSES_SECONDS = (0.3, 1.5)
"""Before another attempt at a file that a server did not give."""


@dataclass(frozen=True)
class Download:
    """One remote file that is wanted.

    Attributes:
        name: its name in the listing.
        path: its path in the remote file system.
        bytes: its size as the server states it, or None.
        key: digest of where it is and of its version; None where the server states no version.
    """

    name: str
    path: str
    bytes: int | None
    key: str | None


@dataclass(frozen=True)
class Kept:
    """A file on this disk that an earlier attempt has downloaded, and its digest if that is on record."""

    location: Path
    sha256: str | None = None


def download(
    system: AbstractFileSystem, wanted: Sequence[Download], kept: Mapping[str, Kept], work: Path, out: Path
) -> tuple[list[RawFile], int]:
    """Put the wanted files below `out`, by hard link where the disk can.

    Args:
        system: where they are.
        wanted: which.
        kept: what is on this disk already, by key.
        work: a folder on the same disk for what was downloaded, kept when this is killed.
        out: a folder.

    Returns:
        The files, and how many were downloaded.

    Raises:
        InputError: a file has not the size that was stated.
        Exception: whatever the file system raises.
    """
    work.mkdir(parents=True, exist_ok=True)

    def put(number: int) -> tuple[RawFile, bool]:
        item = wanted[number]
        target = out / item.name
        target.parent.mkdir(parents=True, exist_ok=True)
        known = kept.get(item.key) if item.key else None
        sha256 = _sha256_of(known, item.bytes) if known else None
        is_new = sha256 is None
        if known and sha256:
            _link(known.location, target)
        else:
            complete = work / (item.key or f"unversioned-{number}")
            sha256 = _get_patiently(system, item, complete)
            _link(complete, target)
        return RawFile(item.name, target.stat().st_size, sha256, target), is_new

    # Others than the asynchronous ones hold one connection, which threads must not share.
    parallel = getattr(system, "async_impl", False) or system.protocol == "hf"
    with ThreadPoolExecutor(NUM_THREADS if parallel else 1) as pool:
        try:
            done = list(pool.map(put, range(len(wanted))))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [file for file, _ in done], sum(is_new for _, is_new in done)


def _sha256_of(kept: Kept, num_bytes: int | None) -> str | None:
    """The digest of a kept file's bytes; None if they are not those that were downloaded, or gone meanwhile."""
    try:
        if num_bytes not in (None, kept.location.stat().st_size):
            return None  # the machine went down before all of it was on the disk
        sha256 = digest_file(kept.location)
    except FileNotFoundError:  # another process' download, which that has published since
        return None
    return sha256 if kept.sha256 in (None, sha256) else None


def _get_patiently(system: AbstractFileSystem, item: Download, complete: Path) -> str:
    """One refused or broken connection among a hundred thousand must not cost the others."""
    for pause in PAUSES_SECONDS:
        try:
            return _get(system, item, complete)
        except (InputError, FileNotFoundError, PermissionError, TimeoutError):
            raise  # it would be the same again
        except Exception:  # noqa: BLE001 - each file system has errors of its own; the last attempt raises its
            time.sleep(pause)
    return _get(system, item, complete)


def _get(system: AbstractFileSystem, item: Download, complete: Path) -> str:
    part = complete.with_name(f"{complete.name}.part")
    digest = hashlib.sha256()
    with system.open(item.path, "rb") as remote, part.open("wb") as local:
        while chunk := remote.read(1 << 20):
            assert isinstance(chunk, bytes)
            digest.update(chunk)
            local.write(chunk)
    size = part.stat().st_size
    if item.bytes not in (size, None):
        part.unlink()
        raise InputError(
            f"{item.name} has {size} bytes, but {item.bytes} when it was identified. The server's files changed"
            " meanwhile, or the download was cut: materialize again."
        )
    part.replace(complete)
    return digest.hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links, or another disk
        shutil.copyfile(source, target)
