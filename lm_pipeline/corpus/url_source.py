"""The `url` source: files behind any fsspec URL, copied into the artifact."""

import hashlib
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from lm_pipeline.corpus.patterns import is_wanted
from lm_pipeline.corpus.raw_files import RawFile, write_files
from lm_pipeline.errors import InputError, UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource

_VERSIONS = (
    *("ETag", "etag", "Content-MD5", "md5Hash", "checksum", "crc", "CRC"),
    *("mtime", "last_modified", "LastModified", "Last-Modified", "modified", "updated", "created"),
)
"""What file systems call a file's version; the first that is there is used."""


_EXTRAS = {"http": "http", "https": "http", "s3": "s3", "s3a": "s3", "hf": "hf"}
"""Our extra that brings a protocol's package."""
_CREDENTIALS = {
    "s3": " and the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile)",
    "hf": " and, for what is private or gated, the token (HF_TOKEN, or `hf auth login`)",
}


def identify(source: UrlSource, home: Home) -> dict[str, Any]:  # noqa: ARG001
    """`[name, bytes, version]` of every file, as the server states them; null where it does not.

    Raises:
        InputError: the URL's protocol is unknown or not installed, or nothing matches.
        UnavailableError: the server cannot be reached or has no such file.
    """
    with _reporting(source):
        system, found = _listed(source)
        files = []
        for name, (path, listed) in found.items():
            version = _version(listed)
            if version is None:  # a listing over http says nothing but names
                listed = system.info(path)  # noqa: PLW2901
                version = _version(listed)
            files.append([name, listed.get("size"), version])
    return {"kind": "url", "url": source.url, "files": files}


def fingerprint(source: UrlSource, home: Home) -> dict[str, Any]:
    """The identity: it reads no file, but asks the server."""
    return identify(source, home)


def fetch(source: UrlSource, identity: dict[str, Any], home: Home, out: Path) -> dict[str, Any]:  # noqa: ARG001
    """Copy every file to `out/files/` and write `files.parquet`.

    Raises:
        InputError: what is served is not what was identified.
        UnavailableError: a download failed.
    """
    folder = out / "files"
    expected = {name: size for name, size, _ in identity["files"]}
    files = []
    with _reporting(source):
        system, found = _listed(source)
        for name, (path, _) in found.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with system.open(path, "rb") as remote, target.open("wb") as local:
                while chunk := remote.read(1 << 20):
                    assert isinstance(chunk, bytes)
                    digest.update(chunk)
                    local.write(chunk)
            size = target.stat().st_size
            if name not in expected or expected[name] not in (size, None):
                raise InputError(
                    f"{source.url}: {name} has {size} bytes, but {expected.get(name, 'was not listed')} when it was"
                    " identified. The server's files changed meanwhile, or the download was cut: materialize again."
                )
            files.append(RawFile(name, size, digest.hexdigest(), target))
    return write_files(files, out)


def _version(info: Mapping[str, Any]) -> str | None:
    return next((str(info[key]) for key in _VERSIONS if info.get(key) is not None), None)


def _listed(source: UrlSource) -> tuple[AbstractFileSystem, dict[str, tuple[str, dict[str, Any]]]]:
    """The file system, and by its name here each file's path there and what the listing says of it, sorted by name."""
    system, root = url_to_fs(source.url, **source.storage_options)
    system.invalidate_cache()  # a listing of an hour ago would hide what changed
    if any(character in urlsplit(source.url).path for character in "*[") or "*" in root:
        found = system.glob(root, detail=True)
        fixed = posixpath.dirname(root.split("*")[0].split("[")[0])
    elif source.url.endswith("/"):
        found, fixed = system.find(root, detail=True), root
    else:
        found, fixed = {root: system.info(root)}, posixpath.dirname(root)
    prefix = unquote(fixed.strip("/"))
    files: dict[str, tuple[str, dict[str, Any]]] = {}
    assert isinstance(found, dict)
    for path, info in found.items():
        if info.get("type") == "directory":
            continue
        name = posixpath.normpath(unquote(path.split("?")[0].strip("/")).removeprefix(prefix).strip("/"))
        if name in ("", ".", "..") or ".." in name.split("/"):
            raise InputError(f"{source.url}: {path!r} gives no safe file name. Use a URL that ends in a file's name.")
        if name in files:
            raise InputError(f"{source.url}: {path!r} and {files[name][0]!r} have the same file name. Exclude one.")
        if is_wanted(name, source.include, source.exclude):
            files[name] = (path, info)
    if not files:
        raise InputError(
            f"No file matches {source.url} (include {list(source.include)}, exclude {list(source.exclude)}; hidden and"
            " temporary files do not count). Correct `url` or the patterns."
        )
    return system, dict(sorted(files.items()))


@contextmanager
def _reporting(source: UrlSource) -> Iterator[None]:
    """Turn what file systems raise into errors that name the URL."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        extra = _EXTRAS.get(source.url.partition(":")[0])
        how = f'`pip install "lm-pipeline[{extra}]"`' if extra else "install fsspec's back end for this protocol"
        raise InputError(f"{source.url} needs a package that is not installed: {error}. To have it: {how}") from error
    except ValueError as error:
        raise InputError(f"{source.url} cannot be opened: {error}. Correct `url` or `storage_options`.") from error
    except Exception as error:  # every fsspec back end has errors of its own: aiohttp's, botocore's, OSError
        raise UnavailableError(
            f"{source.url} cannot be had: {type(error).__name__}: {error}. Check the address, the network"
            f"{_CREDENTIALS.get(source.url.partition(':')[0], '')}, and materialize again."
        ) from error
