"""The `url` source: files behind any fsspec URL, copied into the artifact."""

import hashlib
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from lm_pipeline.corpus.raw_files import RawFile, write_files
from lm_pipeline.errors import InputError, UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource

_VERSIONS = (
    *("ETag", "etag", "Content-MD5", "md5Hash", "checksum", "crc", "CRC"),
    *("mtime", "last_modified", "LastModified", "Last-Modified", "modified", "updated", "created"),
)
"""What file systems call a file's version; the first that is there is used."""


def identify(source: UrlSource, home: Home) -> dict[str, Any]:  # noqa: ARG001
    """`[name, bytes, version]` of every file, as the server states them; null where it does not.

    Raises:
        InputError: the URL's protocol is unknown or not installed, or nothing matches.
        UnavailableError: the server cannot be reached or has no such file.
    """
    with _reporting(source):
        system, names = _listed(source)
        files = []
        for path, name in names:
            info = system.info(path)
            version = next((str(info[key]) for key in _VERSIONS if info.get(key) is not None), None)
            files.append([name, info.get("size"), version])
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
        system, names = _listed(source)
        for path, name in names:
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


def _listed(source: UrlSource) -> tuple[AbstractFileSystem, list[tuple[str, str]]]:
    """The file system, and of each file its path there and its name here, sorted by name."""
    system, root = url_to_fs(source.url, **source.storage_options)
    fixed = root
    if any(character in urlsplit(source.url).path for character in "*[") or "*" in root:
        found = [str(path) for path in system.glob(root)]
        fixed = posixpath.dirname(root.split("*")[0].split("[")[0])
    elif source.url.endswith("/"):
        found = [str(path) for path in system.find(root)]
    else:
        found = [root]
        fixed = posixpath.dirname(root)
    prefix = fixed.strip("/")
    names = []
    for path in found:
        name = unquote(path.split("?")[0].strip("/")).removeprefix(unquote(prefix)).strip("/")
        if name in ("", ".", "..") or ".." in name.split("/"):
            raise InputError(f"{source.url}: {path!r} gives no safe file name. Use a URL that ends in a file's name.")
        names.append((path, name))
    if not names:
        raise InputError(f"No file matches {source.url}. Correct `url`.")
    return system, sorted(names, key=lambda entry: entry[1])


@contextmanager
def _reporting(source: UrlSource) -> Iterator[None]:
    """Turn what file systems raise into errors that name the URL."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        extra = ' (for http and https: `pip install "lm-pipeline[http]"`)' if source.url.startswith("http") else ""
        raise InputError(f"{source.url} needs a package that is not installed: {error}{extra}") from error
    except ValueError as error:
        raise InputError(f"{source.url} cannot be opened: {error}. Correct `url` or `storage_options`.") from error
    except Exception as error:  # every fsspec back end has errors of its own: aiohttp's, botocore's, OSError
        raise UnavailableError(
            f"{source.url} cannot be had: {type(error).__name__}: {error}. Check the address and the network, and"
            " materialize again."
        ) from error
