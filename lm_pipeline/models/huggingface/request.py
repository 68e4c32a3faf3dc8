"""A pretrained model into a folder of ours, as a child process does it: `python -m lm_pipeline import request.json`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lm_pipeline.errors import InputError
from lm_pipeline.models.huggingface.model import import_all_there_is
from lm_pipeline.models.storage import save_model

_BY_TOKEN = ("embedding.weight", "output_weight_VE", "output_bias_V")


class ImportRequest(BaseModel):
    """What is read, and where it goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    """A folder of Hugging Face transformers'."""
    vocab_size: int
    """Ids of its tokenizer."""
    output_dir: Path
    """Empty folder for `model.safetensors` and `config.json`."""


def import_from_request(path: Path) -> None:
    """Write a model of theirs as training writes one of ours.

    Models often have more rows than their tokenizer has ids, to be a round number: those belong to no token and go.

    Raises:
        InputError: it is of no form that is known, or its tokenizer has ids that it does not know.
    """
    request = ImportRequest.model_validate_json(path.read_text("utf-8"))
    model, unused = import_all_there_is(request.folder)
    if model.vocab_size < request.vocab_size:
        raise InputError(
            f"The model in {request.folder} knows {model.vocab_size} tokens and its tokenizer has {request.vocab_size}:"
            " they do not belong together."
        )
    weights = model.state_dict()
    weights |= {name: weights[name][: request.vocab_size] for name in _BY_TOKEN if name in weights}
    config = {
        "family": model.spec.family,
        "model": model.spec.model_dump(mode="json"),
        "vocab_size": request.vocab_size,
        "context_length": model.context_length,
        "num_parameters": sum(tensor.numel() for tensor in weights.values()),
        "unused_tensors": unused,
    }
    save_model(weights, config, request.output_dir)
