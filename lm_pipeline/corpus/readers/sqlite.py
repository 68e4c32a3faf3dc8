"""Rows of a SELECT against an SQLite database, opened read-only."""

import contextlib
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
            for row in _rows(file, connection, query):
                if row is None:
                    detail = f"a value of more than {_MAX_VALUES} times cleaning.max_line_bytes ({file.max_bytes})"
                    yield Quarantined(number, None, "too_long", detail)
                else:
                    yield record_of(row, file.fields, number, file.max_bytes)
                number += 1
        except sqlite3.DataError as error:  # where a query sorts, every row of it fails
            detail = (
                f"row {number} and later: {error}; let the query leave out what is longer than {file.max_bytes} bytes"
            )
            yield Quarantined(number or None, None, "too_long", detail)
        except (sqlite3.Error, sqlite3.Warning) as error:
            if _is_damage(error):
                detail = f"not a sound SQLite database, row {number} and later: {error}"
                yield Quarantined(number or None, None, "unreadable", detail)
                return
            raise InputError(
                f"The query {query!r} failed on {file.name}: {error}. It must be one SELECT; the database has the"
                f" tables: {', '.join(tables) or 'none'}."
            ) from error


def _rows(file: Opened, connection: sqlite3.Connection, query: str) -> Iterator[dict[str, object] | None]:
    """The rows of a query; None for one with a value so long that SQLite does not even load it.

    Such a row ends the statement, and takes the row before it along, because Python steps ahead. So what follows is
    asked for anew: all of it, else the next row alone.

    Raises:
        sqlite3.DataError: the next row cannot be asked for alone, or a hundred were too long one after the other.
    """
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUES * file.max_bytes)
    inner = f"({query.strip().rstrip(';')}\n)"
    number = failed = 0
    total = 1
    while number < total:
        for limit in (-1, 1):
            rest = f"SELECT * FROM {inner} LIMIT {limit} OFFSET {number}"  # noqa: S608 (the user's own, read-only)
            with contextlib.suppress(sqlite3.DataError):  # "string or blob too big"
                cursor = connection.execute(rest if number or limit == 1 else query)
                names = [entry[0] for entry in cursor.description or ()]
                _check_columns(file, names, query)
                for row in cursor:
                    number, failed = number + 1, 0
                    yield dict(zip(names, row, strict=True))
                if limit == -1:
                    return
                break
            total = connection.execute(f"SELECT count(*) FROM {inner}").fetchone()[0]  # noqa: S608 - the query of a declaration
        else:
            number, failed = number + 1, failed + 1
            yield None
            if failed == _MAX_FAILED:
                raise sqlite3.DataError(f"each of {failed} rows is too long, one after the other")


_MAX_FAILED = 100
_MAX_VALUES = 4  # times the longest record: what is beyond is not even loaded
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
