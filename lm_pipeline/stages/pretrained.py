"""What nodes take from a pretrained model: a dataset its tokenizer, an experiment its weights (`<experiment>/base`)."""

import hashlib
import json
import sys
from typing import Any

from lm_pipeline.errors import InputError
from lm_pipeline.graph import Build, numbers
from lm_pipeline.home import Home
from lm_pipeline.pretrained import TOKENIZER_FILES, fetch, identify
from lm_pipeline.specs.pretrained import Pretrained


def tokenizer_outside(source: Pretrained, home: Home) -> dict[str, Any]:
    """What a dataset's tokenizer is made from: the files of the folder that say something of it."""
    return identify(source, home, TOKENIZER_FILES)


def write_tokenizer(source: Pretrained, build: Build) -> None:
    """The pretrained model's tokenizer as it is, and its control ids."""
    from lm_pipeline.tokenization.pretrained import import_tokenizer

    summary = import_tokenizer(fetch(source, build.outside, build.home), build.staging.path)
    build.staging.summary = {"source": source.huggingface, **summary}
    build.log(f"{summary['vocab_size']:,} pieces, {summary['algorithm']}, of {source.huggingface}")
    build.spool.params(source.model_dump(mode="json"))
    build.spool.metrics(0, numbers(summary))


def write_base(source: Pretrained, build: Build) -> None:
    """A pretrained model as training writes one, by a child process, for it needs torch."""
    from lm_pipeline.tokenization.pretrained import tokenizer_json

    folder, tokenizer = fetch(source, build.outside, build.home), build.inputs["tokenizer"]
    if hashlib.sha256(tokenizer_json(folder)).hexdigest() != tokenizer.summary["pieces_digest"]:
        raise InputError(
            f"The tokenizer of {folder} is not the one that the dataset has: materialize the dataset's tokenizer again."
        )
    request = {
        "folder": str(folder),
        "vocab_size": tokenizer.summary["vocab_size"],
        "output_dir": str(build.staging.path),
    }
    path = build.store.work_dir("base", build.staging.key) / "request.json"
    path.write_text(json.dumps(request, indent=1, ensure_ascii=False) + "\n", "utf-8")
    build.run_child([sys.executable, "-m", "lm_pipeline", "import", str(path)])
    config = json.loads((build.staging.path / "config.json").read_text("utf-8"))
    build.staging.summary = {"source": source.huggingface, **build.outside, **config}
    build.log(f"{source.huggingface}: {config['family']}, {config['num_parameters']:,} parameters")
    if unused := config["unused_tensors"]:
        build.log(f"{len(unused)} tensors of it have no place in this model and are left out: {', '.join(unused)}")
