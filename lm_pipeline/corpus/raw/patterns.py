"""Which files of a source count: `include`, `exclude`, and what editors and programs leave behind."""

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase, translate
from functools import cache

from lm_pipeline.errors import InputError

_TEMPORARY = (".*", "*~", "~$*", "#*#", "*.tmp", "*.temp", "*.part", "*.partial", "*.crdownload", "*.swp", "Thumbs.db")
"""What editors, browsers and file managers leave: never text of the corpus."""


def is_temporary(name: str) -> bool:
    """Whether a file is hidden or temporary, or in a folder that is."""
    return any(_IS_TEMPORARY(part) for part in name.split("/"))


# One expression: a hundred thousand files are looked at often.
_IS_TEMPORARY = re.compile("|".join(map(translate, _TEMPORARY))).match


_LOGS = re.compile(r"(?P<database>.+)-(?:wal|journal|shm)")
"""What SQLite keeps beside a database that is in use."""


def is_log(name: str) -> bool:
    """Whether a file may be an SQLite database's own."""
    return _LOGS.fullmatch(name) is not None


_DATABASE = b"SQLite format 3\0"
NUM_HEAD_BYTES = len(_DATABASE)
"""First bytes of a file that `is_database` wants."""


def is_database(head: bytes) -> bool:
    """Whether a file is an SQLite database: a new one may be empty, and all its rows in its log."""
    return head in (_DATABASE, b"")


def without_logs(names: Iterable[str], logs: Mapping[str, int | None], read_head: Callable[[str], bytes]) -> list[str]:
    """The files of a source that are not a database's own.

    Args:
        names: paths of the files that count.
        logs: of all files there are, wanted or not, those that `is_log` holds for: bytes by path, None if not known.
        read_head: gives a file's first `NUM_HEAD_BYTES`; asked only of files beside which there may be a log, and of a
            database's logs whose bytes are not known.

    Raises:
        InputError: rows of a database stand in its log alone, or half of what the log would undo in the database.
    """
    counted = dict.fromkeys(names)
    may_be = {log: match["database"] for log in {**logs, **counted} if (match := _LOGS.fullmatch(log))}
    databases = {name for name in {*may_be.values()} & counted.keys() if is_database(read_head(name))}
    of = {log: name for log, name in may_be.items() if name in databases}
    for log, size in logs.items():
        if of.get(log) not in counted or log.endswith("-shm"):
            continue
        if read_head(log) if size is None else size:
            raise InputError(
                f"The database {of[log]} has changes in a log of its own, {log}: it is in use, or its program was"
                f" killed. Close the program, run `sqlite3 {of[log]} 'PRAGMA wal_checkpoint(TRUNCATE)'` and materialize"
                " again; or exclude it (`source.exclude`)."
            )
    return [name for name in counted if of.get(name) not in counted]


def is_wanted(name: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    """Whether a file counts: it matches one of `include` and none of `exclude`, and is not temporary.

    Args:
        name: its path, relative to the source.
        include: patterns, see `matches`.
        exclude: patterns that win over `include`.
    """
    if is_temporary(name):
        return False
    return any(matches(name, pattern) for pattern in include) and not any(matches(name, pattern) for pattern in exclude)


def matches(name: str, pattern: str) -> bool:
    """Whether a path matches a pattern, as a whole or by its last part.

    `*` stands for anything, slashes too. Where `**` occurs it is as in a shell: `**` crosses slashes, `*` does not.

    >>> matches("en/books/a.txt", "*.txt"), matches("en/books/a.txt", "en/*"), matches("en/a.txt", "zh/*")
    (True, True, False)
    >>> matches("a.txt", "**/*.txt"), matches("en/books/a.txt", "en/*.txt/**"), matches("en/books/a.txt", "en/**")
    (True, False, True)
    """
    if "**" in pattern:
        return matches_path(name, pattern)
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern)


def matches_path(name: str, pattern: str) -> bool:
    """Whether a whole path matches a pattern as in a shell: `**` crosses slashes, `*` does not."""
    return _compiled(pattern).fullmatch(name) is not None


_WILD = re.compile(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = []
    for piece in _WILD.split(pattern):
        if piece.startswith("[") and piece.endswith("]"):
            pieces.append("[^" + piece[2:] if piece.startswith("[!") else piece)
        else:
            pieces.append(meaning.get(piece) or re.escape(piece))
    return re.compile("".join(pieces), re.DOTALL)
