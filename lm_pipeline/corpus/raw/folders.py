"""Files below folders of this machine: links are followed, and each folder is entered once, so that loops end."""

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from lm_pipeline.corpus.raw.patterns import is_wanted, matches_path
from lm_pipeline.errors import InputError


def walk(folder: Path, exclude: Iterable[str]) -> list[str]:
    """All files below a folder, excluded ones among them, in a name each.

    Raises:
        InputError: a folder that is not excluded cannot be read.
    """

    def refuse(error: OSError) -> None:
        inside = Path(error.filename, "file").as_posix().removeprefix(f"{folder}/")
        if is_wanted(inside, ("*",), exclude):
            raise InputError(
                f"Cannot read the folder {error.filename}: {error.strerror}. Make it readable or exclude it."
            ) from error

    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    pending = [str(folder)]
    while pending:
        links = []
        for start in pending:
            for parent, folders, names in os.walk(start, onerror=refuse):
                status = Path(parent).stat()
                if (status.st_dev, status.st_ino) in seen:
                    folders.clear()
                    continue
                seen.add((status.st_dev, status.st_ino))
                found += [f"{parent}/{name}" for name in names]
                links += [path for name in folders if os.path.islink(path := f"{parent}/{name}")]
        pending = sorted(links)  # after all that is really there, so that no file gets its name from a link to it
    return found


def glob_files(base: Path, pattern: Path, exclude: Iterable[str]) -> list[str]:
    """The files that a pattern names; its `**` enters each folder once, so that a loop of links ends."""
    parts = [part if part == "**" else re.sub(r"\*+", "*", part) for part in pattern.relative_to(base).parts]
    if "**" not in parts or not base.is_dir():
        return glob.glob(str(pattern), recursive=True)  # as deep as the pattern, loops or not
    prefix, inner = os.path.join(base, ""), "/".join(parts)
    return [path for path in walk(base, exclude) if matches_path(path.removeprefix(prefix), inner)]


def is_dangling(path: str) -> bool:
    """Whether a path is a link that leads nowhere."""
    return os.path.islink(path) and not os.path.exists(path)
