"""The `python` source: text that is installed with Python itself.

The language reference comes from `pydoc_data.topics`; docstrings come from the `.py` files of installed packages, which
are parsed and never imported. One JSON Lines file each, the same bytes whenever the same versions are installed.
"""

import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lm_pipeline.corpus.raw.docstrings import find_docstrings
from lm_pipeline.corpus.raw.raw_files import RawFile, write_files
from lm_pipeline.digests import digest_file
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import PythonSource

EXTRACTION = 1
"""Raised by whoever changes what is extracted: part of the source's identity."""

_SKIPPED_FOLDERS = {
    *("test", "tests", "_tests", "testing", "idle_test", "idlelib", "lib2to3", "turtledemo"),
    *("site-packages", "dist-packages", "lib-dynload", "__pycache__", "_bundled", "_vendor", "_vendored_packages"),
}
"""Tests, text written by others and what is no Python."""


def identify(source: PythonSource, home: Home) -> dict[str, Any]:
    """Versions of Python and of every named package.

    Raises:
        InputError: a package is not installed.
    """
    packages = {name: _version(name) for name in source.packages}
    python = platform.python_version()
    return {"kind": "python", "python": python, "topics": source.topics, "packages": packages, "extraction": EXTRACTION}


def fingerprint(source: PythonSource, home: Home) -> dict[str, Any]:
    """The identity itself: it is cheap."""
    return identify(source, home)


def fetch(source: PythonSource, identity: dict[str, Any], home: Home, out: Path) -> dict[str, Any]:
    """Write `files/<package>.jsonl` with the fields text, group, label, name, and `files.parquet`.

    `group` is the module path down to two levels (`torch.nn`), so that a split never divides a module; `label` is the
    package, `name` the qualified name. The summary counts documents and names the files that cannot be parsed.

    Raises:
        InputError: a package is not installed, or a source file cannot be read.
    """
    folder = out / "files"
    folder.mkdir()
    counts: dict[str, int] = {}
    unparsed: list[str] = []
    if source.topics:
        counts["topics"] = _write(folder / "topics.jsonl", _topics())
    for name in source.packages:
        counts[name] = _write(folder / f"{name}.jsonl", _docstrings(name, unparsed))
    files = [RawFile(path.name, path.stat().st_size, digest_file(path), path) for path in sorted(folder.iterdir())]
    return write_files(files, out) | {"num_documents": counts, "unparsed": unparsed}


def _version(name: str) -> str:
    if name == "stdlib":
        return platform.python_version()
    _location(name)
    for distribution in _distributions().get(name, []):
        return importlib.metadata.version(distribution)
    raise InputError(
        f"The package {name!r} was not installed by pip, so its version is unknown. Name packages that"
        " `pip list` shows, or use a `path` source."
    )


@functools.cache
def _distributions() -> dict[str, list[str]]:
    """Importable names to distributions; read once a process, since it opens every installed package's metadata."""
    return {name: sorted(found) for name, found in importlib.metadata.packages_distributions().items()}


def _location(name: str) -> Path:
    """The package's folder, or its file if it is a single module; found without importing it."""
    if name == "stdlib":
        return Path(sysconfig.get_paths()["stdlib"])
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise InputError(
            f"The package {name!r} is not installed as Python source. Install it (`pip install {name}`), correct"
            " `packages`, or name its importable module instead of its distribution."
        )
    return Path(found.submodule_search_locations[0]) if found.submodule_search_locations else Path(found.origin)


def _topics() -> Iterator[dict[str, str]]:
    from pydoc_data.topics import topics

    for topic, text in sorted(topics.items()):
        yield {"text": text.strip(), "group": f"topics.{topic}", "label": "topics", "name": topic}


def _docstrings(package: str, unparsed: list[str]) -> Iterator[dict[str, str]]:
    for path, module in _modules(package):
        group = ".".join(module.split(".")[:2])
        try:
            for found in find_docstrings(path.read_bytes(), module):
                yield {"text": found.text, "group": group, "label": package, "name": found.name}
        except (SyntaxError, ValueError) as error:
            unparsed.append(f"{module}: {error}")
        except OSError as error:
            raise InputError(f"Cannot read {path} of the package {package!r}: {error.strerror}.") from error


def _modules(package: str) -> list[tuple[Path, str]]:
    """The package's source files and their dotted names, sorted by name; tests left out."""
    location = _location(package)
    if location.is_file():
        return [(location, package)]
    prefix = () if package == "stdlib" else (package,)
    found = []
    for folder, names, files in os.walk(location):
        names[:] = [name for name in names if name not in _SKIPPED_FOLDERS and name.isidentifier()]
        inner = Path(folder).relative_to(location).parts
        for file in files:
            stem = file.removesuffix(".py")
            if stem == file or not stem.isidentifier() or stem == "conftest" or stem.startswith("test_"):
                continue
            module = ".".join([*prefix, *inner, *([] if stem == "__init__" else [stem])])
            found.append((Path(folder) / file, module))
    return sorted(found, key=lambda entry: entry[1])


def _write(path: Path, documents: Iterator[dict[str, str]]) -> int:
    """Write JSON lines and count them; a lone surrogate, which UTF-8 cannot hold, is written as its JSON escape."""
    number = 0
    with path.open("wb") as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False, sort_keys=True).encode("utf-8", "backslashreplace"))
            file.write(b"\n")
            number += 1
    return number
