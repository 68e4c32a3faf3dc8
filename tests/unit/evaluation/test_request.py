import json
import math

import polars as pl
import pytest
import torch

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.neural_scorer import NeuralScorer
from lm_pipeline.evaluation.request import evaluate_from_request
from lm_pipeline.evaluation.score_text import score_text
from lm_pipeline.models.language_model import build_model
from lm_pipeline.models.ngram import NgramModel
from lm_pipeline.models.storage import save_model
from lm_pipeline.specs.model import LstmModel
from lm_pipeline.tokenization.shards import Shard
from lm_pipeline.tokenization.tokenizer import MODEL_FILE, Tokenizer


@pytest.fixture
def lstm(tokenizer, tmp_path):
    torch.manual_seed(0)
    model = build_model(LstmModel(num_layers=1, width=16), tokenizer.vocab_size, context_length=16)
    spec = model.spec.model_dump(mode="json")
    config = {"family": "lstm", "model": spec, "vocab_size": tokenizer.vocab_size, "context_length": 16}
    (tmp_path / "checkpoint").mkdir()
    save_model(model.state_dict(), config, tmp_path / "checkpoint")
    return model


@pytest.fixture
def ngram(tokenizer, shards_dir, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    model = NgramModel.train(Shard.open(shards_dir, "train"), 3, tokenizer.vocab_size)
    model.save(tmp_path / "checkpoint")
    config = {"family": "ngram", "model": {"family": "ngram", "order": 3}, "vocab_size": tokenizer.vocab_size}
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(config), "utf-8")
    return model


def evaluate(tmp_path, shards_dir, tokenizer_dir, device="auto", **evaluation):
    output = tmp_path / f"output{len(list(tmp_path.glob('output*')))}"
    output.mkdir()
    samples = {"prompts": ["", "The", "它"], "num_per_prompt": 2, "max_tokens": 12}
    request = {
        "experiment": "tiny",
        "evaluation": {"num_bootstrap": 50, "samples": samples, **evaluation},
        "checkpoint_dir": str(tmp_path / "checkpoint"),
        "shards_dir": str(shards_dir),
        "tokenizer": str(tokenizer_dir / MODEL_FILE),
        "output_dir": str(output),
        "device": device,
    }
    (tmp_path / "request.json").write_text(json.dumps(request), "utf-8")
    evaluate_from_request(tmp_path / "request.json")
    return output


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_the_files_agree_with_each_other_and_with_the_model(lstm, tmp_path, shards_dir, tokenizer_dir):
    output = evaluate(tmp_path, shards_dir, tokenizer_dir)
    result = read(output / "evaluation.json")
    documents = pl.read_parquet(output / "documents.parquet")
    overall = result["test"]["overall"]
    assert documents.columns == ["document_id", "corpus", "num_targets", "num_bytes", "nll"]
    assert overall["documents"] == documents.height == 4
    assert overall["nll"] == pytest.approx(documents["nll"].sum())
    assert overall["perplexity"] == pytest.approx(math.exp(documents["nll"].sum() / documents["num_targets"].sum()))
    assert result["test"]["corpora"].keys() == result["validation"]["corpora"].keys() == {"english", "chinese"}
    assert result["validation"]["overall"]["documents"] == 2
    assert result["validation"]["overall"]["perplexity_interval"] is None
    tokenizer = Tokenizer.load(tokenizer_dir / MODEL_FILE)
    text = tokenizer.decode(Shard.open(shards_dir, "test").document(0))
    by_text = score_text(NeuralScorer(lstm), tokenizer, text)
    assert documents["nll"][0] == pytest.approx(-by_text["total_log_prob"], rel=1e-5)


def test_samples_name_prompt_and_seed_and_timing_is_positive(lstm, tmp_path, shards_dir, tokenizer_dir):
    output = evaluate(tmp_path, shards_dir, tokenizer_dir)
    samples = read(output / "samples.json")
    expected = [(prompt, seed) for prompt in ("", "The", "它") for seed in (0, 1)]
    assert [(sample["prompt"], sample["seed"]) for sample in samples] == expected
    assert all(sample["num_tokens"] <= 12 and isinstance(sample["text"], str) for sample in samples)
    assert all(value > 0 for value in read(output / "timing.json").values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_model_is_evaluated_where_it_was_trained(lstm, tmp_path, shards_dir, tokenizer_dir):
    assert (evaluate(tmp_path, shards_dir, tokenizer_dir, device="cpu") / "evaluation.json").is_file()
    with pytest.raises(InputError, match="torch sees none here"):
        evaluate(tmp_path, shards_dir, tokenizer_dir, device="cuda")


def test_an_equal_request_writes_equal_bytes_but_for_the_timing(lstm, tmp_path, shards_dir, tokenizer_dir):
    first, second = (evaluate(tmp_path, shards_dir, tokenizer_dir) for _ in range(2))
    for name in ("evaluation.json", "documents.parquet", "samples.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_an_ngram_model_is_evaluated_like_any_other(ngram, tmp_path, shards_dir, tokenizer_dir):
    output = evaluate(tmp_path, shards_dir, tokenizer_dir, max_documents=3)
    shard = Shard.open(shards_dir, "test")
    expected = -sum(values.sum() for values in ngram.document_log_probs([shard.document(row) for row in range(3)]))
    overall = read(output / "evaluation.json")["test"]["overall"]
    assert overall["documents"] == 3
    assert overall["nll"] == pytest.approx(expected)
    assert len(read(output / "samples.json")) == 6


@pytest.mark.parametrize("text", ["{", '{"experiment": "a"}', '{"experiment": "a", "epochs": 3}'])
def test_a_malformed_request_is_refused(tmp_path, text):
    (tmp_path / "request.json").write_text(text, "utf-8")
    with pytest.raises(InputError, match="is no request for an evaluation"):
        evaluate_from_request(tmp_path / "request.json")


def test_a_missing_request_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        evaluate_from_request(tmp_path / "request.json")
