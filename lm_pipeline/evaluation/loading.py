"""A scorer from what training wrote."""

import json
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError

from lm_pipeline.allocator import keep_memory
from lm_pipeline.cublas import fix_workspace
from lm_pipeline.errors import CorruptArtifactError, InputError
from lm_pipeline.evaluation.ngram_scorer import NgramScorer
from lm_pipeline.evaluation.scorer import Scorer
from lm_pipeline.models.ngram import NgramModel
from lm_pipeline.tokenization.controls import Controls


def load_scorer(checkpoint_dir: Path, device: str = "auto", *, fixed_threads: bool = False) -> Scorer:
    """Load a trained model of any family; n-gram models come without torch.

    Args:
        checkpoint_dir: folder with config.json and model.safetensors.
        device: where a neural model runs: "cpu", "cuda", or "auto" for a GPU where there is one.
        fixed_threads: whether what is generated has to be the same on a busy machine, to the last bit, at the cost of
            speed; see `NeuralContinuation`.

    Raises:
        InputError: the folder has no checkpoint, its config.json is none, a GPU is asked for and there is none, or see
            `fix_workspace`.
        CorruptArtifactError: the configuration or the weights are damaged, or do not fit each other.
    """
    for name in ("config.json", "model.safetensors"):
        if not (checkpoint_dir / name).is_file():
            raise InputError(
                f"{checkpoint_dir} has no {name}, so it is no checkpoint. Materialize the experiment's checkpoint"
                " again, or give the folder that holds config.json and model.safetensors."
            )
    try:
        family = json.loads((checkpoint_dir / "config.json").read_text("utf-8"))["family"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{checkpoint_dir / 'config.json'} does not name the model's `family` ({error!r}). Materialize the"
            " experiment's checkpoint again."
        ) from error
    if family == "ngram":
        return NgramScorer(NgramModel.load(checkpoint_dir))
    import torch

    from lm_pipeline.evaluation.masked_scorer import MaskedScorer
    from lm_pipeline.evaluation.neural_scorer import NeuralScorer
    from lm_pipeline.models.layout import lay_out_for_decoding
    from lm_pipeline.models.storage import load_model

    keep_memory()
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("The model is to run on a GPU ('cuda'), but torch sees none here. Take 'auto' or 'cpu'.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        fix_workspace()
    try:
        model = load_model(checkpoint_dir, device)
        if model.is_bidirectional:
            return MaskedScorer(model, Controls.read(checkpoint_dir))
        lay_out_for_decoding(model)
        return NeuralScorer(model, fixed_threads=fixed_threads)
    except (SafetensorError, KeyError, ValidationError) as error:
        raise CorruptArtifactError(
            f"The checkpoint in {checkpoint_dir} cannot be loaded ({error!r}): config.json or model.safetensors is"
            " damaged. Materialize the experiment's checkpoint again."
        ) from error
