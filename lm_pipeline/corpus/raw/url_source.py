"""The `url` source: files behind any fsspec URL, brought into the artifact."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from lm_pipeline.corpus.raw.downloads import Download, Kept, download
from lm_pipeline.corpus.raw.folders import glob_files, is_dangling, walk
from lm_pipeline.corpus.raw.patterns import NUM_HEAD_BYTES, is_log, is_wanted, without_logs
from lm_pipeline.corpus.raw.raw_files import raw_files, write_files
from lm_pipeline.digests import digest_of
from lm_pipeline.errors import InputError, UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource

_VERSIONS = (
    *("ETag", "etag", "Content-MD5", "md5Hash", "checksum", "crc", "CRC"),
    *("mtime", "last_modified", "LastModified", "Last-Modified", "modified", "updated", "created"),
)
"""What file systems call a file's version; the first that is there is used."""

_SOURCE = "source.digest"
"""In a folder for downloads: of which source they are."""

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""A server that does not take the connection, or says nothing for so long, is given up."""

_EXTRAS = {"http": "http", "https": "http", "s3": "s3", "s3a": "s3", "hf": "hf"}
"""Our extra that brings a protocol's package."""
_CREDENTIALS = {
    "s3": " and the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile)",
    "hf": " and, for what is private or gated, the token (HF_TOKEN, or `hf auth login`)",
}


def identify(source: UrlSource, home: Home) -> dict[str, Any]:
    """`[name, bytes, version]` of every file, as the server states them; null where it does not.

    Where there are links that lead nowhere, on this machine, their names are told too, as `dangling_links`.

    Raises:
        InputError: the URL's protocol is unknown or not installed, or nothing matches.
        UnavailableError: the server cannot be reached or has no such file.
    """
    with _reporting(source):
        system, found, _, dangling = _listed(source)
        files = []
        for name, (path, listed) in found.items():
            # A listing over http says nothing but names.
            info = system.info(path) if _version(listed) is None else listed
            files.append([name, info.get("size"), _version(info)])
    told = {"dangling_links": dangling} if dangling else {}
    return {"kind": "url", "url": source.url, "files": files, **told}


def fingerprint(source: UrlSource, home: Home) -> dict[str, Any]:
    """The identity: it reads no file, but asks the server."""
    return identify(source, home)


@dataclass(frozen=True)
class Earlier:
    """What is on this disk already.

    Attributes:
        work: a folder for downloads; what a killed run left there or in the folders beside it is taken.
        folder: the files of the corpus's current artifact, if there is one.
        identity: what `identify` said of them.
    """

    work: Path
    folder: Path | None = None
    identity: Mapping[str, Any] | None = None

    def begin(self, source: UrlSource) -> None:
        """Say whose downloads the folder is for."""
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / _SOURCE).write_text(_name_of(source), "utf-8")

    def superseded(self, source: UrlSource) -> list[str]:
        """Names of the folders beside it that hold downloads of the same source: of versions that it had earlier."""
        found = sorted(path.parent for path in self.work.parent.glob(f"*/{_SOURCE}") if path.parent != self.work)
        return [folder.name for folder in found if _source_in(folder) == _name_of(source)]

    def files(self, source: UrlSource) -> dict[str, Kept]:
        """What need not be downloaded, by `object_key`."""
        kept = {path.name: Kept(path) for path in self.work.parent.glob("*/*") if not path.suffix}
        if (
            self.folder
            and (self.folder / "files.parquet").is_file()
            and self.identity
            and self.identity.get("kind") == "url"
        ):
            before = source.model_copy(update={"url": self.identity["url"]})
            digests = {file.path: file.sha256 for file in raw_files(self.folder / "files.parquet")}
            system, root = url_to_fs(before.url, **_options(before))
            base = _fixed_part(before, system, root)
            for name, size, version in self.identity["files"]:
                path = self.folder / "files" / name
                if (key := _object_key(source, base, name, size, version)) and path.is_file():
                    kept[key] = Kept(path, digests[name])
        return kept


def fetch(
    source: UrlSource,
    identity: dict[str, Any],
    home: Home,
    out: Path,
    earlier: Earlier | None = None,
) -> dict[str, Any]:
    """Put every file below `out/files/` and write `files.parquet`.

    What is on this disk already in the same version is linked and not asked for again; the others are downloaded
    several at a time.

    Returns:
        What `write_files` says, and `num_downloaded`.

    Raises:
        InputError: what is served is not what was identified.
        UnavailableError: a download failed.
    """
    with _reporting(source):
        system, found, base, _ = _listed(source)
        wanted = []
        for name, size, version in identity["files"]:
            if name not in found:
                raise InputError(f"{source.url}: {name} is not there any more. Materialize again.")
            path, listed = found[name]
            now = _version(listed)
            if now not in (version, None) and listed.get("size") == size:
                raise InputError(f"{source.url}: {name} was written again meanwhile. Materialize again.")
            wanted.append(Download(name, path, size, _object_key(source, base, name, size, version)))
        with TemporaryDirectory(dir=out) as scratch:
            earlier = earlier or Earlier(Path(scratch, "work"))
            earlier.begin(source)
            files, num_downloaded = download(system, wanted, earlier.files(source), earlier.work, out / "files")
    told = {"dangling_links": identity["dangling_links"]} if "dangling_links" in identity else {}
    return {**write_files(files, out), "num_downloaded": num_downloaded, **told}


def _source_in(folder: Path) -> str | None:
    """Of which source a folder's downloads are; None where another process has published and removed them meanwhile."""
    try:
        return (folder / _SOURCE).read_text("utf-8")
    except FileNotFoundError:
        return None


def _name_of(source: UrlSource) -> str:
    return digest_of(source.model_dump(mode="json"))


def _object_key(source: UrlSource, base: str, name: str, size: int | None, version: str | None) -> str | None:
    """Names one version of one file of one server; None where the server states no version."""
    place = [source.url.partition(":")[0], source.storage_options, posixpath.join(base, name)]
    return None if version is None else digest_of([place, size, version])


def _options(source: UrlSource) -> dict[str, Any]:
    """The options of the file system: those declared, and times after which a silent server is given up."""
    options: dict[str, Any] = dict(source.storage_options)
    protocol = source.url.partition(":")[0]
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        options["client_kwargs"] = {"timeout": timeout, **options.get("client_kwargs", {})}
    if protocol in ("s3", "s3a"):
        limits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": {"max_attempts": 1}}
        options["config_kwargs"] = {**limits, **options.get("config_kwargs", {})}
    return options


def _version(info: Mapping[str, Any]) -> str | None:
    return next((str(info[key]) for key in _VERSIONS if info.get(key) is not None), None)


def _fixed_part(source: UrlSource, system: AbstractFileSystem, root: str) -> str:
    """The folder there that names here are relative to."""
    if _is_glob(source, root):
        fixed = posixpath.dirname(root.split("*", maxsplit=1)[0].split("[", maxsplit=1)[0])
    else:
        fixed = root if source.url.endswith("/") else posixpath.dirname(root)
    return (fixed if isinstance(system, LocalFileSystem) else unquote(fixed)).strip("/")


def _named_part(system: AbstractFileSystem, path: str) -> str:
    """What of a path gives a file its name: all of it on this machine, in a URL neither the query nor escapes."""
    return path if isinstance(system, LocalFileSystem) else unquote(path.partition("?")[0])


def _is_glob(source: UrlSource, root: str) -> bool:
    return any(character in urlsplit(source.url).path for character in "*[") or "*" in root


def _found(source: UrlSource, system: AbstractFileSystem, root: str) -> dict[str, dict[str, Any]]:
    """What is there, wanted or not, by path."""
    is_glob = _is_glob(source, root)
    if not is_glob and not source.url.endswith("/"):
        return {root: system.info(root)}
    start = posixpath.dirname(re.split(r"[*\[]", root, maxsplit=1)[0]) if is_glob else root
    if isinstance(system, LocalFileSystem):
        if not is_glob and not Path(root).is_dir():
            raise InputError(f"{source.url}: there is no folder {root}. Put the text there or correct `url`.")
        paths = glob_files(Path(start), Path(root), source.exclude) if is_glob else walk(Path(root), source.exclude)
        return {path: {"type": "dangling"} if is_dangling(path) else system.info(path) for path in paths}
    if source.url.startswith("http"):
        # `find` and `glob` over http take a server that says nothing for an empty folder.
        system.ls(start.rstrip("/") + "/")
    found: Any = (system.glob if is_glob else system.find)(root, detail=True)
    return found


def _listed(
    source: UrlSource,
) -> tuple[AbstractFileSystem, dict[str, tuple[str, dict[str, Any]]], str, list[str]]:
    """The file system, by name each file's path there and its listing, the folder of names, and dangling links.

    Files are sorted by name.
    """
    system, root = url_to_fs(source.url, **_options(source))
    if hasattr(system, "retries"):
        system.retries = 1  # s3fs tries five times, each as long as a read may take
    system.invalidate_cache()  # a listing of an hour ago would hide what changed
    prefix = _fixed_part(source, system, root)
    files: dict[str, tuple[str, dict[str, Any]]] = {}
    logs: dict[str, tuple[str, dict[str, Any]]] = {}
    dangling = []
    for path, info in _found(source, system, root).items():
        if info.get("type") in ("directory", "other"):
            continue
        name = posixpath.normpath(_named_part(system, path).strip("/").removeprefix(prefix).strip("/"))
        if name in ("", ".", "..") or ".." in name.split("/"):
            raise InputError(f"{source.url}: {path!r} gives no safe file name. Use a URL that ends in a file's name.")
        if name in files:
            raise InputError(f"{source.url}: {path!r} and {files[name][0]!r} have the same file name. Exclude one.")
        if is_log(name) and info.get("type") != "dangling":
            logs[name] = (path, info)
        if is_wanted(name, source.include, source.exclude):
            if info.get("type") == "dangling":
                dangling.append(name)
            else:
                files[name] = (path, info)
    if not files:
        raise InputError(
            f"No file matches {source.url} (include {list(source.include)}, exclude {list(source.exclude)}; hidden and"
            " temporary files do not count). Correct `url` or the patterns."
        )
    sizes = {name: info.get("size") for name, (_, info) in logs.items()}
    kept = without_logs(sorted(files), sizes, lambda name: _head(system, *{**logs, **files}[name]))
    return system, {name: files[name] for name in kept}, prefix, sorted(dangling)


def _head(system: AbstractFileSystem, path: str, listed: Mapping[str, Any]) -> bytes:
    """A file's first bytes. As a stream that is left: a server that knows no ranges answers one with the whole file."""
    if listed.get("size") == 0:  # of which no server has a range
        return b""
    head = b""
    with system.open(path, "rb", block_size=0) as file:
        while len(head) < NUM_HEAD_BYTES and (chunk := file.read(NUM_HEAD_BYTES - len(head))):
            assert isinstance(chunk, bytes)
            head += chunk
    return head[:NUM_HEAD_BYTES]


@contextmanager
def _reporting(source: UrlSource) -> Iterator[None]:
    """Turn what file systems raise into errors that name the URL."""
    try:
        yield
    except InputError as error:
        raise error if source.url in str(error) else InputError(f"{source.url}: {error}") from None
    except ImportError as error:
        extra = _EXTRAS.get(source.url.partition(":")[0])
        how = f'`pip install "lm-pipeline[{extra}]"`' if extra else "install fsspec's back end for this protocol"
        raise InputError(f"{source.url} needs a package that is not installed: {error}. To have it: {how}") from error
    except ValueError as error:
        raise InputError(f"{source.url} cannot be opened: {error}. Correct `url` or `storage_options`.") from error
    except Exception as error:  # every fsspec back end has errors of its own: aiohttp's, botocore's, OSError
        # Over http, a file is "not found" whatever the server answered; what it did answer is the cause.
        cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
        what = f"{type(cause).__name__}: {cause}"
        if _is_timeout(error):
            what = f"the server did not answer within {READ_SECONDS:.0f} s (to connect: {CONNECT_SECONDS:.0f} s)"
        raise UnavailableError(
            f"{source.url} cannot be had: {what}. Check the address, the network"
            f"{_CREDENTIALS.get(source.url.partition(':')[0], '')}, and materialize again."
        ) from error


def _is_timeout(error: BaseException | None) -> bool:
    """Whether an error is one, or hides one: a web file system says that it found no file."""
    while error is not None:
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return True
        error = error.__cause__ or error.__context__
    return False
