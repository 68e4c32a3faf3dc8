"""Members of zip files in memory, bounded: what Word documents and electronic books are made of."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lm_pipeline.corpus.extraction.parsed import BadRecordError


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file.

    Raises:
        BadRecordError: `unreadable` for what is no sound zip file, `encrypted` for one with a password.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(info.flag_bits & 1 for info in archive.infolist()):
                raise BadRecordError("encrypted", "the file has a password")
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BadRecordError("unreadable", f"not a sound zip file: {error}") from error


def read_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """A member's bytes.

    Raises:
        BadRecordError: `bomb` for more than `max_bytes`, whatever its header says; `unreadable` if there is none.
    """
    try:
        with archive.open(name) as member:
            data = member.read(max_bytes + 1)
    except KeyError as error:
        raise BadRecordError("unreadable", f"no member {name!r} in the file") from error
    if len(data) > max_bytes:
        raise BadRecordError("bomb", f"its member {name!r} expands to more than {max_bytes} bytes")
    return data
