"""JSON Lines (.jsonl, .ndjson): one object a line.

Lines are cut and measured here and parsed one by one with the standard library: a bad line costs itself. (polars fails
the whole file and turns a lone surrogate into NUL; pyarrow's JSON reader crashes on deeply nested lines.)
"""

import json
from collections.abc import Iterator

from lm_pipeline.corpus.readers.encodings import UTF8_BOM
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt, record_of


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every line that is not blank; the record index is the line number."""
    for line in file.lines():
        where = line.offset if file.has_offsets else None
        if line.reason:
            yield Quarantined(line.number, where, line.reason, line.detail, excerpt(line.data))
            continue
        data = line.data.removeprefix(UTF8_BOM) if line.number == 0 else line.data
        if where is not None:
            where += len(line.data) - len(data)
        length = len(data) - (2 if data.endswith(b"\r\n") else data.endswith(b"\n"))
        if data.isspace() or not data:
            continue
        # The line end stays on: JSON allows it, and cutting it off would copy a line that may be long.
        text = file.decode(data, line.number, where)
        yield text if isinstance(text, Quarantined) else parse(file, text, line.number, where, length)


def parse(file: Opened, text: str, number: int, where: int | None, length: int) -> Record | Quarantined:
    """The record that a JSON object is, or why it is none.

    Args:
        file: what is read.
        text: the object.
        number: its record index.
        where: its place in the file, in bytes; None where it has none.
        length: its length in bytes.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        detail = "objects or lists are nested deeper than the JSON parser goes (about 1000 levels)"
        return Quarantined(number, where, "too_deep", detail, excerpt(text[:1000]))
    except ValueError as error:
        return Quarantined(number, where, "invalid_json", str(error), excerpt(text[:1000]))
    if not isinstance(value, dict):
        detail = f"a JSON {type(value).__name__}; expected an object with the field {file.fields.text!r}"
        return Quarantined(number, where, "not_an_object", detail, excerpt(text[:1000]))
    length_known = None if where is None else length
    return record_of(value, file.fields, number, file.max_bytes, byte_offset=where, byte_length=length_known)
