import json

import numpy as np
import pytest
import torch

from lm_pipeline.errors import CorruptArtifactError, InputError
from lm_pipeline.evaluation.loading import load_scorer
from lm_pipeline.evaluation.neural_scorer import NeuralScorer
from lm_pipeline.models.storage import save_model


def save(model, folder):
    config = {
        "family": model.spec.family,
        "model": model.spec.model_dump(mode="json"),
        "vocab_size": model.vocab_size,
        "context_length": model.context_length,
    }
    save_model(model.state_dict(), config, folder)


def test_a_loaded_model_scores_as_the_saved_one(model, tmp_path):
    save(model, tmp_path)
    documents = [np.arange(1, 30), np.array([1, 2])]
    for ours, theirs in zip(
        load_scorer(tmp_path, "cpu").document_log_probs(documents),
        NeuralScorer(model).document_log_probs(documents),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_a_checkpoint_is_refused_by_the_file_it_lacks(model, tmp_path, name):
    save(model, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}"):
        load_scorer(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(model, tmp_path):
    save(model, tmp_path)
    with pytest.raises(InputError, match="torch sees none here"):
        load_scorer(tmp_path, "cuda")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_model_on_a_gpu_leaves_a_later_training_in_this_process_deterministic(model, tmp_path, device, monkeypatch):
    save(model, tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    with pytest.raises(InputError, match="CUBLAS_WORKSPACE_CONFIG is ':0:0'"):
        load_scorer(tmp_path, device)


@pytest.mark.parametrize("text", ["", "[]", "{}", '"lstm"'])
def test_a_config_that_names_no_family_is_refused(model, tmp_path, text):
    save(model, tmp_path)
    (tmp_path / "config.json").write_text(text, "utf-8")
    with pytest.raises(InputError, match="does not name the model's `family`"):
        load_scorer(tmp_path)


def test_weights_of_another_shape_are_refused(model, tmp_path):
    save(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 400}), "utf-8")
    with pytest.raises(CorruptArtifactError, match="does not fit"):
        load_scorer(tmp_path)


def test_weights_cut_short_are_refused(model, tmp_path):
    save(model, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CorruptArtifactError):
        load_scorer(tmp_path)
