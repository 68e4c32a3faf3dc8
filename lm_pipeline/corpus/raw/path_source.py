"""The `path` source: files on this machine, left where they are."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lm_pipeline.corpus.raw.digest_cache import digest_files
from lm_pipeline.corpus.raw.folders import glob_files, is_dangling, walk
from lm_pipeline.corpus.raw.patterns import NUM_HEAD_BYTES, is_log, is_wanted, without_logs
from lm_pipeline.corpus.raw.raw_files import RawFile, write_files
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import PathSource
from lm_pipeline.specs.declarations import ignored_in_raw


def identify(source: PathSource, home: Home) -> dict[str, Any]:
    """The folder and `[path, bytes, sha256]` of every file, sorted by path relative to the folder.

    Where there are links that lead nowhere, their paths are told too, as `dangling_links`.

    Raises:
        InputError: nothing is there, nothing matches, or a file cannot be read.
    """
    base, names, dangling = _matching(source, home)
    digests = digest_files([base / name for name in names], home)
    files = [[name, size, sha256] for name, (size, sha256) in zip(names, digests, strict=True)]
    told = {"dangling_links": dangling} if dangling else {}
    return {"kind": "path", "base": str(base), "files": files, **told}


def has_files(source: PathSource, home: Home) -> bool:
    """Whether there is anything to read yet: a folder is often made before its files are copied."""
    try:
        return bool(_matching(source, home)[1])
    except InputError:
        return False


def fingerprint(source: PathSource, home: Home) -> dict[str, Any]:
    """Names, sizes and times: changes whenever a file appears, goes or is written. Nothing is read."""
    try:
        base, names, _ = _matching(source, home)
    except InputError as error:
        return {"kind": "path", "error": str(error)}
    states = []
    for name in names:
        try:
            status = (base / name).stat()
        except OSError:
            continue  # went away meanwhile
        states.append([name, status.st_size, status.st_mtime_ns])
    return {"kind": "path", "base": str(base), "files": states}


def unread_in_raw(home: Home, sources: Iterable[object]) -> list[str]:
    """What stands in the raw folder, is no corpus's folder and is read by none of these corpora's sources."""
    strays = ignored_in_raw(home.raw)
    if not strays:
        return []
    prefix = os.path.join(os.path.abspath(home.raw), "")
    ours = [source for source in sources if isinstance(source, PathSource) and _may_read(source, home, strays)]
    seen = [fingerprint(source, home) for source in ours]
    paths = (os.path.join(each["base"], name) for each in seen for name, *_ in each.get("files", []))
    read = {path.removeprefix(prefix).split(os.sep)[0] for path in paths if path.startswith(prefix)}
    return [name for name in strays if name not in read]


def fetch(source: PathSource, identity: dict[str, Any], home: Home, out: Path) -> dict[str, Any]:
    """Write `files.parquet`; the files stay where they are. `dangling_links` of the result were not read."""
    base = Path(identity["base"])
    files = (RawFile(name, size, sha256, base / name) for name, size, sha256 in identity["files"])
    told = {"dangling_links": identity["dangling_links"]} if "dangling_links" in identity else {}
    return {**write_files(files, out), **told}


def _may_read(source: PathSource, home: Home, strays: Iterable[str]) -> bool:
    """Whether a source's place holds one of these entries of the raw folder, or lies in one; nothing is listed."""
    start = home.root.parent / Path(source.path).expanduser()
    place = os.path.abspath(_fixed_part(start) if glob.has_magic(str(start)) else start)
    paths = [os.path.join(os.path.abspath(home.raw), name) for name in strays]
    return any(os.path.commonpath([place, path]) in {place, path} for path in paths)


def _matching(source: PathSource, home: Home) -> tuple[Path, list[str], list[str]]:
    """The folder that names are relative to, and the sorted names of the files that match and of dangling links."""
    start = home.root.parent / Path(source.path).expanduser()
    if start.is_file():
        base, found = start.parent, [str(start)]
    elif start.is_dir():
        base, found = start, walk(start, source.exclude)
    elif glob.has_magic(str(start)):
        base = _fixed_part(start)
        found = glob_files(base, start, source.exclude)
    else:
        raise InputError(
            f"There is no {start} (source path {source.path!r}; relative paths start at {home.root.parent})."
            " Put the text there or correct `path`."
        )
    base = Path(os.path.normpath(base))
    prefix = os.path.join(base, "")  # with a slash at its end
    names, dangling = [], []
    for path in map(os.path.normpath, found):  # strings: there may be a hundred thousand files
        name = path.removeprefix(prefix)
        if not is_wanted(name, source.include, source.exclude):
            continue
        if os.path.isfile(path):
            names.append(_checked(name, path))
        elif is_dangling(path):
            dangling.append(_checked(name, path))
    if not names:
        raise InputError(
            f"No file matches in {start}{_told(dangling)} (include {list(source.include)}, exclude"
            f" {list(source.exclude)}; hidden and temporary files do not count). Put the text there or"
            " correct the patterns."
        )
    if not start.is_dir():
        found = [f"{path}-{log}" for path in found for log in ("wal", "journal")]
    logs = {path.removeprefix(prefix): _size(path) for path in map(os.path.normpath, found) if is_log(path)}
    return base, without_logs(sorted(set(names)), logs, lambda name: _head(base / name)), sorted(set(dangling))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(NUM_HEAD_BYTES)


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _told(dangling: list[str]) -> str:
    return f", where {len(dangling)} links lead nowhere ({', '.join(dangling[:3])})" if dangling else ""


def _fixed_part(pattern: Path) -> Path:
    """The folder before a glob's first wildcard."""
    parts = pattern.parts
    wild = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:wild])


def _checked(name: str, path: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"The name of the raw file {os.fsencode(path)!r} is not UTF-8. Rename or exclude it."
        ) from error
    return name
