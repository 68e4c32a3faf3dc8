"""zip and tar archives: their members one after the other, as streams; nothing is unpacked to where a name points.

A tar archive is read front to back, so it may itself be compressed and of any size. A zip archive keeps its table of
contents at its end, so a compressed one, or one inside another archive, is written to a temporary file first. So the
character set of names is told by all of them together in a zip archive, and in a tar archive by those up to the name.

What is wrong with a member (encrypted, damaged, of an unknown method) costs that member. Directories, links, devices
and the hidden and temporary files that archivers add are no members.
"""

import lzma
import os
import struct
import tarfile
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, Self
from zipfile import BadZipFile

import xxhash

from lm_pipeline.corpus.raw.patterns import is_temporary
from lm_pipeline.corpus.readers.compression import CHUNK, DamagedStreamError, is_disk_fault
from lm_pipeline.corpus.readers.name_charsets import NameCharsets
from lm_pipeline.corpus.readers.opened import Opened, open_stream
from lm_pipeline.corpus.readers.records import Quarantined
from lm_pipeline.corpus.readers.zip_entries import ZipEntry, open_entry, zip_entries

MAX_DEPTH = 4
"""Archives inside archives that are looked into."""

_EXTENSIONS: dict[str, Literal["zip", "tar"]] = {
    ".zip": "zip",
    ".tar": "tar",
    ".tgz": "tar",
    ".tbz2": "tar",
    ".txz": "tar",
    ".tzst": "tar",
}
_ZIP_FORMATS = ("docx", "epub")
"""Formats that are zip archives and are read as what they are."""
_ZIP_DAMAGE = (
    *(BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(NotImplementedError, RuntimeError, OSError, ValueError, LookupError, OverflowError),
)
"""What `zipfile` raises over damaged bytes."""
_ENCRYPTED = 0x1


def archive_kind(file: Opened, suffix: str, *, is_known: bool) -> Literal["zip", "tar"] | None:
    """Whether a file is an archive: by its extension, or else by its first bytes.

    Args:
        file: the file.
        suffix: its extension, that of a compression left out.
        is_known: whether the extension names a format that is no archive.
    """
    if file.spec.format.kind in _ZIP_FORMATS:
        return None
    if suffix in _EXTENSIONS or is_known:
        return _EXTENSIONS.get(suffix)
    if file.head.startswith(b"PK\x03\x04") and not file.head[30:].startswith((b"mimetype", b"[Content_Types].xml")):
        return "zip"
    return "tar" if file.head[257:262] == b"ustar" else None


def members(file: Opened, kind: Literal["zip", "tar"]) -> Iterator[tuple[str | None, Opened | Quarantined]]:
    """Every member's name and the member, or why it cannot be read; name None for the archive as a whole.

    A member can be read until the next one is asked for. A name that occurs twice gets a number.
    """
    names = _Names()
    found = _zip_members(file) if kind == "zip" else _tar_members(file)
    for name, member in found:
        if name is not None:
            name = names.unique(name)  # noqa: PLW2901 - the name under which it is known from here on
        yield name, member


def _name_key(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode()) or 1


class _Names:
    """Which names were there: of each a hash in an open table (16 to 32 bytes a name, a fourth of a set)."""

    def __init__(self) -> None:
        self._slots, self._num = array("Q", bytes(8 * 1024)), 0
        self._numbers: dict[int, int] = {}  # of names that were there twice, the last number given

    def unique(self, name: str) -> str:
        """The name, with a number where it was there before."""
        key = _name_key(name)
        if self._add(key):
            return name
        number = self._numbers.get(key, 1) + 1
        while not self._add(_name_key(f"{name};{number}")):
            number += 1
        self._numbers[key] = number
        return f"{name};{number}"

    def _add(self, key: int) -> bool:
        """Whether it is new."""
        at = self._slot(key)
        if self._slots[at] == key:
            return False
        self._slots[at] = key
        self._num += 1
        if 2 * self._num > len(self._slots):
            old, self._slots = self._slots, array("Q", bytes(16 * len(self._slots)))
            for held in old:
                if held:
                    self._slots[self._slot(held)] = held
        return True

    def _slot(self, key: int) -> int:
        """Where the key is, or would be."""
        at = key % len(self._slots)
        while self._slots[at] not in (0, key):
            at = (at + 1) % len(self._slots)
        return at


def _clean_name(name: str) -> str | None:
    """A member's name as a relative path with single slashes; None for what is not to be read."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or parts[0] == "__MACOSX" or is_temporary("/".join(part for part in parts if part != "..")):
        return None
    return "/".join(parts).encode("utf-8", "backslashreplace").decode()


def _zip_members(file: Opened) -> Iterator[tuple[str | None, Opened | Quarantined]]:
    with file.local() as path, path.open("rb") as archive:
        try:
            for entry in zip_entries(path):
                name = entry.name.decode(entry.charset, "backslashreplace")
                name = None if _is_folder(name, entry) else _clean_name(name)
                if not entry.name:
                    detail = f"a member without a name, at byte {entry.begin}"
                    yield None, Quarantined(None, None, "corrupt_zip", detail)
                elif name is not None:
                    yield name, _zip_member(archive, entry, name, file)
        except BadZipFile as error:
            detail = f"not a sound zip archive: {error}; its table of contents stands at its end"
            yield None, Quarantined(None, None, "corrupt_zip", detail)


def _is_folder(name: str, entry: ZipEntry) -> bool:
    """Whether a member is one, by its decoded name: 0x5C, the backslash, is half of a character in Big5, GBK, SJIS.

    Where the character set was taken for another, the name still ends in a backslash, but folders have no content.
    """
    return name.endswith("/") or (name.endswith("\\") and entry.size == 0)


def _zip_member(archive: BinaryIO, entry: ZipEntry, name: str, file: Opened) -> Opened | Quarantined:
    if entry.flags & _ENCRYPTED:
        return Quarantined(None, None, "encrypted", "an encrypted member of a zip archive; decrypt it first")
    if entry.damage:
        return Quarantined(None, None, "corrupt_zip", f"not a sound member of a zip archive: {entry.damage}")
    try:
        # The declared size is all that `zipfile` will hand out, so a bomb is known before it is opened.
        file.expansion.check(entry.compressed, entry.size)
        file.expansion.count(entry.size)
        return open_stream(_zip_chunks(archive, entry), name, file.spec, file.expansion)
    except DamagedStreamError as error:
        return Quarantined(None, None, error.reason, error.detail)


def _zip_chunks(archive: BinaryIO, entry: ZipEntry) -> Iterator[bytes]:
    try:
        with open_entry(archive, entry) as stream:
            # read1, because read() throws away what it has when the member turns out to be damaged.
            while chunk := stream.read1(CHUNK):  # pyright: ignore[reportAttributeAccessIssue]
                yield chunk
    except EOFError as error:
        raise DamagedStreamError("truncated_zip", "the member ends before its end marker") from error
    except _ZIP_DAMAGE as error:
        if is_disk_fault(error):
            raise
        raise DamagedStreamError("corrupt_zip", f"not a sound member of a zip archive: {error}") from error


@dataclass(slots=True)
class _Watch:
    """What went wrong in a tar stream; `tarfile` itself takes damage for the end and says nothing."""

    damage: DamagedStreamError | None = None
    """What the stream below raised."""
    bad_header: bool = False
    """Whether a damaged header was met since the last good one."""
    end_marker: bool = False
    """Whether the last header was the end marker."""
    is_over: bool = False
    """Whether a member was cut, so that nothing can follow."""

    def stream(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except DamagedStreamError as error:
            self.damage = error

    def header(self) -> type[tarfile.TarInfo]:
        """A class of headers that reports to this watch."""
        watch = self

        class Header(tarfile.TarInfo):
            @classmethod
            def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
                try:
                    header = super().fromtarfile(tarfile)
                except _InvalidHeaderError:
                    watch.bad_header = True
                    raise
                except _EndMarkerError:
                    watch.end_marker = True
                    raise
                watch.end_marker = False
                return header

        return Header

    def cut(self, what: str) -> DamagedStreamError:
        """The reason why a stream ended too early."""
        self.is_over = True
        return self.damage or DamagedStreamError("truncated_tar", f"the archive ends inside {what}")


_InvalidHeaderError: type[Exception] = tarfile.InvalidHeaderError  # pyright: ignore[reportAttributeAccessIssue]
_EndMarkerError: type[Exception] = tarfile.EOFHeaderError  # pyright: ignore[reportAttributeAccessIssue]


def _tar_members(file: Opened) -> Iterator[tuple[str | None, Opened | Quarantined]]:
    watch = _Watch()
    file.content = watch.stream(file.content)
    try:
        # ignore_zeros: after a damaged header read on at the next good one, and into archives that were put together.
        with tarfile.open(
            fileobj=file.stream(), mode="r|", tarinfo=watch.header(), ignore_zeros=True, bufsize=1 << 18
        ) as archive:
            yield from _tar_entries(archive, file, watch)
    except tarfile.TarError as error:
        if not watch.is_over:
            found = watch.damage or DamagedStreamError("corrupt_tar", f"not a sound tar archive: {error}")
            yield None, Quarantined(None, None, found.reason, found.detail)


def _tar_entries(
    archive: tarfile.TarFile, file: Opened, watch: _Watch
) -> Iterator[tuple[str | None, Opened | Quarantined]]:
    names = NameCharsets()
    while not watch.is_over:
        entry = archive.next()
        if watch.bad_header:
            detail = f"a damaged header before {entry.name if entry else 'the end'}; read on at the next good one"
            yield None, Quarantined(None, None, "corrupt_tar", detail)
            watch.bad_header = False
        if entry is None:
            break
        archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue] - tarfile remembers every member
        written = os.fsencode(entry.name)
        names.add(written)
        decoded = written.decode(names.charset_of(written), "backslashreplace")
        name = _clean_name(decoded) if entry.isreg() else None
        if name is not None:
            yield name, open_stream(_tar_chunks(archive, entry, watch), name, file.spec, file.expansion)
    if not watch.is_over and (watch.damage or not watch.end_marker):
        found = watch.cut("or before a header: the end marker is missing")
        yield None, Quarantined(None, None, found.reason, found.detail)


def _tar_chunks(archive: tarfile.TarFile, entry: tarfile.TarInfo, watch: _Watch) -> Iterator[bytes]:
    if entry.issparse():
        raise DamagedStreamError("unsupported_format", "a sparse member of a tar archive; pack it without holes")
    # Not `extractfile`, which throws away what it has when the member turns out to be cut.
    stream, remaining = archive.fileobj, entry.size
    assert stream is not None
    while remaining:
        chunk = stream.read(min(CHUNK, remaining))
        if not chunk:
            raise watch.cut("this member")
        remaining -= len(chunk)
        yield chunk
