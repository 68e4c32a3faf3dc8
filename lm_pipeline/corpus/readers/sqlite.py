"""Rows of a SELECT against an SQLite database, opened read-only."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import ROLES, Quarantined, Record, record_of
from lm_pipeline.errors import InputError
from lm_pipeline.specs.corpus import SqliteFormat

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every row of `format.query`; the record index is the row's.

    A damaged database is one quarantined record, after the rows that could be read.

    Raises:
        InputError: the query is no SELECT, names what does not exist, or lacks a column that `fields` names.
    """
    assert isinstance(file.spec.format, SqliteFormat)
    query = file.spec.format.query
    number = 0
    tables: list[str] = []
    # immutable: no lock and no journal file beside raw data, which never changes.
    with file.local() as path, closing(sqlite3.connect(_address(path), uri=True)) as connection:
        connection.text_factory = bytes  # SQLite does not check that text is UTF-8; record_of does
        try:
            tables = [name.decode("utf-8", "replace") for (name,) in connection.execute(_TABLES)]
            connection.set_authorizer(_authorise)
            cursor = connection.execute(query)
            columns = [entry[0] for entry in cursor.description or ()]
            _check_columns(file, columns, query)
            for row in cursor:
                yield record_of(dict(zip(columns, row, strict=True)), file.fields, number, file.max_bytes)
                number += 1
        except (sqlite3.Error, sqlite3.Warning) as error:
            if _is_damage(error):
                detail = f"not a sound SQLite database, row {number} and later: {error}"
                yield Quarantined(number or None, None, "unreadable", detail)
                return
            raise InputError(
                f"The query {query!r} failed on {file.name}: {error}. It must be one SELECT; the database has the"
                f" tables: {', '.join(tables) or 'none'}."
            ) from error


_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"


def _authorise(action: int, _first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    """Let a query read and compute, and nothing else: no writing, attaching, settings or loading of code."""
    if action in _ALLOWED and not (action == sqlite3.SQLITE_FUNCTION and second == "load_extension"):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _address(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro&immutable=1"


def _is_damage(error: Exception) -> bool:
    """Whether the file is at fault and not the query."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN)


def _check_columns(file: Opened, columns: list[str], query: str) -> None:
    missing = [name for role in ROLES if (name := getattr(file.fields, role)) is not None and name not in columns]
    if missing:
        raise InputError(
            f"The query {query!r} on {file.name} has no column {', '.join(missing)}, which `fields` names. Its columns"
            f" are: {', '.join(columns) or 'none'}. Name them with `AS` in the query, or change `fields`."
        )
