"""What every reader yields: a record, or the reason why one could not be read."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from lm_pipeline.corpus.extraction.parsed import Removal
from lm_pipeline.specs.corpus import Fields

ROLES = ("text", "target", "label", "group", "title", "url", "date")
"""Fields of `specs.corpus.Fields`: what a record may bring besides its place."""

_TEXTUAL = ("text", "target")

_ABSENT = object()
"""What a record has at a place that it does not have; null is a value."""

EXCERPT_CHARACTERS = 200
"""Longest excerpt of a quarantined record, in characters."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a raw file, not cleaned yet.

    Attributes:
        record: its index in the file: the line, paragraph or row number from 0. Blank lines count, so that a byte
            range of a file gives the same indices as the whole.
        text: the text; valid Unicode without NUL and lone surrogates.
        target: text of the target field, if the spec names one.
        label: the label field as text.
        group: the group field as text.
        title: its title, where the field is named or the format brings one.
        url: the address that it came from, likewise.
        date: its date as written, likewise; ISO 8601 where the format says what it is.
        byte_offset: where the record begins in the (decompressed) file; None where the format has no such place.
        byte_length: its length there, line end left out.
        member: path of its file inside the raw file, where that is an archive; `record` and `byte_offset` are in it.
        removals: by rule, what was taken out of it when it was read.
    """

    record: int
    text: str
    target: str | None = None
    label: str | None = None
    group: str | None = None
    title: str | None = None
    url: str | None = None
    date: str | None = None
    byte_offset: int | None = None
    byte_length: int | None = None
    member: str | None = None
    removals: tuple[Removal, ...] = ()

    @property
    def num_characters(self) -> int:
        """Those of its text and those that were taken out of it."""
        return len(self.text) + sum(characters for _, _, characters in self.removals)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One record (or a whole file, or the unreadable rest of one) that could not be read.

    Attributes:
        record: its index in the file; None for the file as a whole.
        byte_offset: the bad byte, or where the record begins; None where the format has no such place.
        reason: a short code, see `docs/data-formats.md`.
        detail: what was found and what was expected.
        excerpt: at most 200 characters of it, control characters escaped.
        member: path of its file inside the raw file, where that is an archive.
    """

    record: int | None
    byte_offset: int | None
    reason: str
    detail: str
    excerpt: str = ""
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a value that is damaged, or that Python has no type for: why."""

    why: str


def excerpt(data: bytes | str, around: int = 0) -> str:
    r"""At most 200 printable characters of `data`, from a little before the index `around`.

    >>> excerpt(b"\xe4\xb8\xad\xff\n")
    '中\\xff\\n'
    """
    begin = max(0, around - EXCERPT_CHARACTERS // 4)
    part = data[begin : begin + 4 * EXCERPT_CHARACTERS]
    text = part.decode("utf-8", "backslashreplace") if isinstance(part, bytes) else part
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:EXCERPT_CHARACTERS])
    return shown[:EXCERPT_CHARACTERS]


def decode(data: bytes, record: int | None, byte_offset: int | None, charset: str = "utf-8") -> str | Quarantined:
    """Bytes to text, or the quarantined record that names the bad byte."""
    wide = charset.startswith(("utf-16", "utf-32"))  # UTF-8 by now, see `encodings.transcoded`
    try:
        text = data.decode("utf-8" if wide else charset)
    except UnicodeDecodeError as error:
        where = None if byte_offset is None else byte_offset + error.start
        detail = f"byte 0x{data[error.start]:02x} at {error.start} of the record: {error.reason}; expected {charset}"
        reason = "invalid_utf8" if charset == "utf-8" else "undecodable"
        return Quarantined(record, where, reason, detail, excerpt(data, error.start))
    if "\0" in text:
        index = data.index(0)
        where = None if byte_offset is None else byte_offset + index
        detail = f"a NUL character at byte {index} of the record; text has none"
        return Quarantined(record, where, "nul_character", detail, excerpt(data, index))
    return text


def record_of(
    values: Mapping[str, Any],
    fields: Fields,
    record: int,
    max_bytes: int,
    *,
    byte_offset: int | None = None,
    byte_length: int | None = None,
) -> Record | Quarantined:
    """Pick the fields of one row or JSON object.

    A field is the value of that name; else, where there are dots in it, that at the end of the path through nested
    objects. Text and target must be there; what else is not there is null, as JSON leaves out what is not known.

    Text and target must be text. The others may also be numbers, booleans, dates or identifiers, which become
    text, or null. Bytes (as SQLite and Parquet hand out unchecked text) must be UTF-8, of at most `max_bytes`; text
    that came in a line was bounded with its line.
    """
    picked: dict[str, str | None] = {}
    for role in ROLES:
        name = getattr(fields, role)
        if name is None:
            continue
        value = _value_of(values, name, _ABSENT if role in _TEXTUAL else None)
        if value is _ABSENT:
            detail = f"no field {name!r} for {role}; the record has: {', '.join(map(str, list(values)[:30])) or 'none'}"
            return Quarantined(record, byte_offset, "missing_field", detail, excerpt(str(dict(values))[:2000]))
        if isinstance(value, Unreadable):
            return Quarantined(record, byte_offset, "unreadable_value", f"field {name!r} for {role}: {value.why}")
        if isinstance(value, bytes):
            if len(value) > max_bytes:
                detail = f"field {name!r} has {len(value)} bytes; cleaning.max_line_bytes is {max_bytes}"
                return Quarantined(record, byte_offset, "too_long", detail, excerpt(value))
            value = decode(value, record, None)
            if isinstance(value, Quarantined):
                return value
        if role not in _TEXTUAL:
            value = _as_text(value)
        if value is None and role not in _TEXTUAL:
            continue
        if not isinstance(value, str):
            detail = f"field {name!r} for {role} is {type(value).__name__}; expected text"
            return Quarantined(record, byte_offset, "wrong_type", detail, excerpt(str(value)[:2000]))
        problem = _problem(value, name)
        if problem:
            return Quarantined(record, byte_offset, *problem, excerpt(value[:2000]))
        picked[role] = value
    text = picked.pop("text")
    assert text is not None
    return Record(record, text, byte_offset=byte_offset, byte_length=byte_length, removals=(), **picked)


def _value_of(values: Mapping[str, Any], name: str, absent: Any) -> Any:
    if name in values:
        return values[name]
    value: Any = values
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return absent
        value = value[part]
    return value


def _as_text(value: Any) -> Any:
    """Numbers, booleans, dates and identifiers as text; what is none of them unchanged."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.date | dt.time):  # a datetime is a date
        return value.isoformat()
    return str(value) if isinstance(value, int | float | Decimal | UUID | dt.timedelta) else value


def _problem(text: str, name: str) -> tuple[str, str] | None:
    """Reason and detail of what makes a string no storable text."""
    if "\0" in text:
        return "nul_character", f"field {name!r} has a NUL character at {text.index(chr(0))}; text has none"
    if text.isascii():
        return None
    for begin in range(0, len(text), 1 << 20):  # in pieces: no second copy of a long text
        try:
            text[begin : begin + (1 << 20)].encode()
        except UnicodeEncodeError as error:
            where = begin + error.start
            return (
                "lone_surrogate",
                f"field {name!r} has a lone surrogate U+{ord(text[where]):04X} at character {where}",
            )
    return None
