"""A first version of each declaration, for `lm-pipeline new` and `dg scaffold defs`."""

import re
from pathlib import Path

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


def new_declaration(noun: str, name: str, of: str, folder: Path, raw: str = "data/raw") -> Path:
    """Write a declaration that can be edited and run.

    Args:
        noun: `corpus`, `dataset` or `experiment`.
        name: its name.
        of: the corpus of a dataset, the dataset of an experiment.
        folder: a folder of declarations, such as `assets/defs`.
        raw: where the home keeps raw text, from the folder that the home is in.

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
    path.write_text(editor_header(noun, path, folder) + TEMPLATES[noun].format(name=name, of=of, raw=raw), "utf-8")
    return path
