"""A first version of each declaration, for `lm-pipeline new` and `dg scaffold defs`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_pipeline.errors import SpecError, nearest
from lm_pipeline.specs.base import NAME_PATTERN
from lm_pipeline.specs.declarations import FILE_NAME
from lm_pipeline.specs.schema import editor_header

TEMPLATES = {
    "corpus": """\
type: assets.Corpus
attributes:
  description: What this text is.
  licence: unknown
  source:
    kind: path
    path: {raw}/{name}
""",
    "dataset": """\
type: assets.Dataset
attributes:
  description: What this dataset is for.
  corpora: [{of}]
  tokenizer:
    algorithm: unigram
    vocab_size: 4096
""",
    "experiment": """\
type: assets.Experiment
attributes:
  description: What this experiment tries.
  dataset: {of}
  model:
    family: transformer
    num_layers: 4
    width: 128
    num_heads: 4
  training:
    num_steps: 1000
    batch_size: 16
    context_length: 128
    learning_rate: 0.002
""",
}
FOLDERS = {"corpus": "corpora", "dataset": "datasets", "experiment": "experiments"}


PRETRAINED = {
    "dataset": """\
type: assets.Dataset
attributes:
  description: What this dataset is for.
  corpora: [{of}]
  tokenizer: {{huggingface: {pretrained}}}
""",
    "experiment": """\
type: assets.Experiment
attributes:
  description: What this experiment tries.
  dataset: {of}
  base: {{huggingface: {pretrained}}}
  model: {model}
  training:
    num_steps: 1000 # 0 evaluates it as it is
    batch_size: 16
    context_length: {context_length}
    learning_rate: 0.0001
""",
}
"""The same for a pretrained model's tokenizer and weights."""


def new_declaration(
    noun: str, name: str, of: str, folder: Path, raw: str = "data/raw", pretrained: Mapping[str, Any] | None = None
) -> Path:
    """Write a declaration that can be edited and run.

    Args:
        noun: `corpus`, `dataset` or `experiment`.
        name: its name.
        of: the corpus of a dataset, the dataset of an experiment.
        folder: a folder of declarations, such as `assets/defs`.
        raw: where the home keeps raw text, from the folder that the home is in.
        pretrained: what `PRETRAINED` has places for: `pretrained`, where it is, and for an experiment `model`, its
            fields, and `context_length`.

    Returns:
        The file that was written.

    Raises:
        SpecError: the noun or the name cannot be, or the file exists already.
    """
    if noun not in TEMPLATES:
        raise SpecError(f"There is nothing called {noun!r} to make. {nearest(noun, TEMPLATES)}")
    if not re.match(NAME_PATTERN, name):
        raise SpecError(
            f"{name!r} cannot be a name: use up to 64 lower-case letters, digits and underscores, a letter first."
        )
    path = folder / FOLDERS[noun] / name / FILE_NAME
    if path.exists():
        raise SpecError(f"{path} exists already. Edit it, or choose another name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    template = TEMPLATES[noun] if pretrained is None else PRETRAINED[noun]
    text = template.format(
        name=name, of=of, raw=raw, **{key: _flow(value) for key, value in (pretrained or {}).items()}
    )
    path.write_text(editor_header(noun, path, folder) + text, "utf-8")
    return path


def _flow(value: Any) -> str:
    """A value on one line of YAML, of which JSON is a part."""
    return json.dumps(value, ensure_ascii=False)
