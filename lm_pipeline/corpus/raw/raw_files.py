"""The listing of a corpus's raw files: which bytes were seen, and where they lie."""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import Any
from zipfile import BadZipFile, ZipFile

import pyarrow as pa
import pyarrow.parquet as pq

from lm_pipeline.errors import InputError
from lm_pipeline.scratch import scratch_folder

SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # relative, "/" between parts; unique in the listing
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("location", pa.string()),  # absolute, or relative to the listing's own folder for a snapshot
        ("member", pa.string()),  # path inside the archive at `location`, or null
    ]
)


_SEPARATOR = "//"
"""Between the path of an archive and the path inside it. No path of a file has two slashes."""


def member_path(path: str, member: str | None) -> str:
    """The path of a file inside an archive: `books.zip//novels/a.txt`; without a member the path itself."""
    return path if member is None else f"{path}{_SEPARATOR}{member}"


def raw_path(path: str) -> str:
    """The path of the raw file that a file is, or is inside of.

    >>> raw_path(member_path("books.zip", "novels/a.txt"))
    'books.zip'
    """
    return path.partition(_SEPARATOR)[0]


@dataclass(frozen=True, slots=True)
class RawFile:
    """One raw file of a corpus.

    Attributes:
        path: its name in the listing.
        bytes: size of what lies at `location`.
        sha256: hex digest of what lies at `location`.
        location: absolute path.
        member: where the text is inside a zip archive (a wheel); None where the file itself is the text.
    """

    path: str
    bytes: int
    sha256: str
    location: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """The name whose extension tells the format: the member's, else the path."""
        return self.member or self.path

    def check_size(self) -> None:
        """Compare the size on disk with the listing's: cheap, done before every reading.

        Raises:
            InputError: the file is gone or has another size.
        """
        try:
            size = self.location.stat().st_size
        except OSError as error:
            raise InputError(
                f"The raw file {self.location} cannot be read any more: {error.strerror}. Put it back, or materialize"
                " raw_documents again to list what is there now."
            ) from error
        if size != self.bytes:
            raise InputError(
                f"The raw file {self.location} has {size} bytes, but {self.bytes} when it was listed. Raw files must"
                " not change under a run: materialize raw_documents again."
            )

    @contextmanager
    def local(self) -> Iterator[Path]:
        """A path with the text's own bytes; an archive's member is extracted to a temporary file meanwhile.

        Raises:
            InputError: the file changed size, or the archive has no such member or is damaged.
        """
        self.check_size()
        if self.member is None:
            yield self.location
            return
        with scratch_folder() as folder:
            target = folder / Path(self.member).name
            try:
                with ZipFile(self.location) as archive, archive.open(self.member) as source, target.open("wb") as out:
                    copyfileobj(source, out, 1 << 20)
            except (KeyError, BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
                raise InputError(
                    f"Cannot read {self.member!r} in the archive {self.location}: {error}. Correct `member`, or"
                    " materialize raw_documents again."
                ) from error
            yield target


def write_files(files: Iterable[RawFile], out: Path) -> dict[str, Any]:
    """Write `files.parquet` into the folder `out`, sorted by path, and summarise it.

    A location inside `out` is written relative to it, so that the listing still holds once the folder is published.
    """
    ordered = sorted(files, key=lambda file: file.path)
    rows = [
        {
            "path": file.path,
            "bytes": file.bytes,
            "sha256": file.sha256,
            "location": str(file.location.relative_to(out) if file.location.is_relative_to(out) else file.location),
            "member": file.member,
        }
        for file in ordered
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), out / "files.parquet", compression="zstd")
    return {
        "num_files": len(ordered),
        "num_bytes": sum(file.bytes for file in ordered),
        "files": [{"path": file.path, "bytes": file.bytes, "sha256": file.sha256} for file in ordered[:20]],
    }


def raw_files(files_parquet: Path) -> list[RawFile]:
    """The files that a listing names, sorted by path, with absolute locations."""
    rows = pq.read_table(files_parquet, schema=SCHEMA).to_pylist()
    folder = files_parquet.parent.absolute()
    return [RawFile(r["path"], r["bytes"], r["sha256"], folder / r["location"], r["member"]) for r in rows]
