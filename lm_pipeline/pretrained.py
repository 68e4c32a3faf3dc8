"""Models made elsewhere: a folder of Hugging Face transformers', or one of the Hub, and what is in it."""

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from lm_pipeline.corpus.raw.digest_cache import digest_files
from lm_pipeline.errors import InputError, UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.pretrained import Pretrained

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
)
MODEL_FILES = (*TOKENIZER_FILES, "*.safetensors", "*.safetensors.index.json")
"""Names of what is read; whatever else lies in the folder changes nothing."""

_HUB_ID = r"(?P<id>[\w-][\w.-]*(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?"
_SECONDS = 10.0


def identify(source: Pretrained, home: Home, names: tuple[str, ...] = MODEL_FILES) -> dict[str, Any]:
    """What it is now: `files`, the SHA-256 of each by name; of the Hub `commit`, the commit that its revision is.

    Without a network the Hub's commit is the one that was fetched last.

    Raises:
        InputError: there is no such folder, or it has none of the files.
        UnavailableError: the Hub does not answer and nothing was fetched yet.
    """
    folder = local_folder(source, home)
    if folder is None:
        return {"commit": _commit(*_hub(source, home))}
    found = sorted(path for path in folder.iterdir() if path.is_file() and any(fnmatch(path.name, n) for n in names))
    if not found:
        raise InputError(f"{folder} has nothing that Hugging Face transformers saves: expected {', '.join(names)}.")
    digests = digest_files(found, home)
    return {"files": {path.name: sha256 for path, (_, sha256) in zip(found, digests, strict=True)}}


def fetch(source: Pretrained, identity: Mapping[str, Any], home: Home) -> Path:
    """A folder with the files of an identity; the Hub's are downloaded into its own cache.

    Raises:
        UnavailableError: the Hub does not answer and its files are not in the cache.
    """
    folder = local_folder(source, home)
    if folder is not None:
        return folder
    name, _ = _hub(source, home)
    hub = _library()
    try:
        return Path(hub.snapshot_download(name, revision=identity["commit"], allow_patterns=list(MODEL_FILES)))
    except Exception as error:
        raise UnavailableError(f"{name} cannot be fetched from the Hugging Face Hub ({error}). {_OFFLINE}") from error


def local_folder(source: Pretrained, home: Home) -> Path | None:
    """The folder that a source names; None where it names a model of the Hub."""
    folder = home.root.parent / Path(source.huggingface).expanduser()
    return folder if folder.is_dir() else None


_OFFLINE = "Check the network and the name; or save the model into a folder and give that."


def _hub(source: Pretrained, home: Home) -> tuple[str, str]:
    """Id and revision of a model of the Hub."""
    found = re.fullmatch(_HUB_ID, source.huggingface)
    if not found:
        raise InputError(
            f"huggingface: {source.huggingface!r} is neither a folder (relative paths start at {home.root.parent}) nor"
            " a model of the Hub (owner/name)."
        )
    return found["id"], found["revision"] or "main"


def _commit(name: str, revision: str) -> str:
    hub = _library()
    try:
        return hub.HfApi().model_info(name, revision=revision, timeout=_SECONDS).sha
    except Exception as error:  # of every library that it calls
        cached = hub.try_to_load_from_cache(name, "config.json", revision=revision)
        if isinstance(cached, str):
            return Path(cached).parent.name
        raise UnavailableError(f"The Hugging Face Hub does not answer for {name} ({error}). {_OFFLINE}") from error


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            "Models of the Hub need the package huggingface-hub: `pip install 'lm-pipeline[hf]'`."
        ) from error
    return huggingface_hub
