"""A tokenizer of any kind, from the file that it is."""

from collections.abc import Iterable
from pathlib import Path

from lm_pipeline.artifacts import Artifact
from lm_pipeline.tokenization.pretrained import TOKENIZER_JSON, PretrainedTokenizer
from lm_pipeline.tokenization.tokenizer import MODEL_FILE, Tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file: `tokenizer.model` was trained here, `tokenizer.json` came with a pretrained model.

    Raises:
        MissingArtifactError: there is no such file.
        CorruptArtifactError: it is no tokenizer.
        InputError: the package that reads it is not installed.
    """
    return PretrainedTokenizer(path) if path.name == TOKENIZER_JSON else Tokenizer.load(path)


def tokenizer_file(artifact: Artifact) -> Path:
    """The file of a tokenizer's artifact that `load_tokenizer` reads."""
    return artifact.path(TOKENIZER_JSON if TOKENIZER_JSON in artifact.manifest["files"] else MODEL_FILE)


def tokenizer_files(artifact: Artifact) -> Iterable[Path]:
    """All that has to lie together for it."""
    given = tokenizer_file(artifact)
    return [given] if given.name == MODEL_FILE else [artifact.path(name) for name in artifact.manifest["files"]]
