"""Where raw text comes from: identify what is there, and list or fetch it.

`identify` says what a source holds now (its result addresses the raw_documents artifact), `fingerprint` tells a sensor
cheaply that something changed, `fetch` writes the listing and, where bytes must be copied, the bytes.
"""

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from lm_pipeline.corpus.raw import path_source, python_source, url_source, wheel_source
from lm_pipeline.corpus.raw.digest_cache import digest_files
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.digests import digest_of
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import Source

SOURCES: dict[str, ModuleType] = {
    "path": path_source,
    "url": url_source,
    "python": python_source,
    "wheel": wheel_source,
}
"""By `source.kind`: a module with `identify`, `fingerprint` and `fetch`."""


def identify(source: Source, home: Home) -> dict[str, Any]:
    """What the source holds now, as JSON: files and hashes, or the versions that determine them.

    Raises:
        InputError: there is nothing, or it cannot be read.
    """
    return SOURCES[source.kind].identify(source, home)


def fingerprint(source: Source, home: Home) -> str:
    """A digest that changes when the source may have changed. Cheap: hashes no file; only `url` asks a server.

    Raises:
        InputError: a package is missing, or a server does not answer.
    """
    return digest_of(SOURCES[source.kind].fingerprint(source, home))


def fetch(
    source: Source, identity: dict[str, Any], home: Home, out: Path, earlier: url_source.Earlier | None = None
) -> dict[str, Any]:
    """Write `files.parquet`, and under `files/` what is not a file on this machine already.

    Args:
        source: the corpus's source.
        identity: what `identify` said just before.
        home: for the cache, and for relative paths.
        out: an empty folder.
        earlier: for `url`, what need not be downloaded again.

    Returns:
        `{"num_files", "num_bytes", "files": [first 20 {"path", "bytes", "sha256"}]}`, and for `python` also
        `{"num_documents": {package: n}, "unparsed": [...]}`, for `url` also `{"num_downloaded"}`.

    Raises:
        InputError: hash mismatch, missing member, changed meanwhile.
        UnavailableError: the source cannot be reached.
    """
    if source.kind == "url":
        return url_source.fetch(source, identity, home, out, earlier)
    return SOURCES[source.kind].fetch(source, identity, home, out)


def verify_files(files: Iterable[RawFile], home: Home) -> None:
    """Check that the bytes on disk still are the listed ones; a file that was hashed before is not read again.

    Raises:
        InputError: a file is gone or holds other bytes.
    """
    files = list(files)
    for file in files:
        file.check_size()
    for file, (_, sha256) in zip(files, digest_files([file.location for file in files], home), strict=True):
        if sha256 != file.sha256:
            raise InputError(
                f"The raw file {file.location} has SHA-256 {sha256}, but {file.sha256} when it was listed. Raw files"
                " must not change under a run: materialize raw_documents again."
            )
