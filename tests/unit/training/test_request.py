import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.loading import load_scorer
from lm_pipeline.training.curve import read_curve
from lm_pipeline.training.request import train_from_request
from tests.small_dataset import VOCAB_SIZE, write_dataset, write_request

VOLATILE = ("elapsed_seconds", "seconds", "tokens_per_second", "mfu")
FILES = {"model.safetensors", "config.json", "curve.jsonl", "training.json"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def make_request(dataset, tmp_path):
    def make(name, model, **settings):
        return write_request(dataset, tmp_path / name, model, settings)

    return make


def start(path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAGSTER_PIPES")}
    command = [sys.executable, "-m", "lm_pipeline", "train", str(path)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_lines(child, number):
    """Read lines of progress, then a little longer, to a random moment within a step or a saving."""
    lines = [child.stderr.readline() for _ in range(number)]
    assert all("step" in line for line in lines), lines
    time.sleep(random.random() * 0.05)


def test_a_training_that_is_interrupted_and_killed_ends_with_the_same_bytes(make_request):
    """SIGTERM, then SIGKILL at a random moment, then to the end; compared with a training left alone."""
    model = {"family": "lstm", "width": 32, "dropout": 0.1}
    settings = {
        "num_steps": 150,
        "batch_size": 4,
        "context_length": 16,
        "log_interval": 1,
        "validation_interval": 40,
        "validation_batches": 2,
        "checkpoint_interval": 11,
        "num_threads": 1,
        "precision": "float32",
    }
    whole, cut = make_request("whole", model, **settings), make_request("cut", model, **settings)
    with start(cut) as child:
        wait_for_lines(child, 30)
        child.send_signal(signal.SIGTERM)
        child.stderr.read()
    assert child.returncode == 130
    status = json.loads((cut.parent / "work" / "status.json").read_text())
    assert status["status"] == "interrupted"
    assert not list((cut.parent / "out").iterdir())
    with start(cut) as child:
        wait_for_lines(child, 60)
        child.kill()
        child.stderr.read()
    assert child.returncode == -signal.SIGKILL
    with start(cut) as child:
        said = child.stderr.read()
    assert child.returncode == 0, said
    assert train_from_request(whole) == 0

    ours, theirs = cut.parent / "out", whole.parent / "out"
    assert (ours / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    assert (ours / "config.json").read_bytes() == (theirs / "config.json").read_bytes()
    curves = [
        [{k: v for k, v in point.items() if k not in VOLATILE} for point in read_curve(folder / "curve.jsonl")]
        for folder in (ours, theirs)
    ]
    assert curves[0] == curves[1]
    assert [p["step"] for p in curves[0] if "train_loss" in p] == list(range(1, 151))
    training = json.loads((ours / "training.json").read_text())
    assert training["resumed_from"][0] == status["step"]
    assert len(training["resumed_from"]) == 2


@pytest.mark.parametrize(
    "model", [{"family": "ngram", "order": 3}, {"family": "transformer", "width": 16, "num_heads": 2}]
)
def test_the_output_is_what_evaluation_loads(make_request, model):
    settings = {} if model["family"] == "ngram" else {"num_steps": 4, "batch_size": 4, "context_length": 8}
    path = make_request("one", model, **settings)
    assert train_from_request(path) == 0
    out = path.parent / "out"
    assert {file.name for file in out.iterdir()} >= FILES
    config = json.loads((out / "config.json").read_text())
    training = json.loads((out / "training.json").read_text())
    assert config["family"] == model["family"]
    assert config["num_parameters"] == training["num_parameters"] > 0
    assert len(config["tokenizer_sha256"]) == 64
    assert training["peak_memory_bytes"] > 0
    assert training.get("peak_device_memory_bytes") is None
    assert training["best_validation_loss"] < training["uniform_loss"] + 0.2
    assert load_scorer(out).vocab_size == VOCAB_SIZE
    assert json.loads((path.parent / "work" / "status.json").read_text())["status"] == "finished"


def test_a_malformed_request_is_refused(tmp_path):
    path = tmp_path / "request.json"
    with pytest.raises(InputError, match="no training request"):
        train_from_request(path)
    path.write_text('{"experiment": "x"}')
    with pytest.raises(InputError, match="model"):
        train_from_request(path)


def test_a_context_longer_than_the_text_is_refused_at_once(make_request):
    path = make_request("long", {"family": "gru", "num_layers": 1, "width": 8}, context_length=100_000_000)
    with pytest.raises(InputError, match=r"context_length is 100000000, and the whole training split has \d+ tokens"):
        train_from_request(path)


def test_a_finished_request_can_be_started_again(make_request):
    settings = {"num_steps": 6, "batch_size": 8, "context_length": 16, "num_threads": 1, "precision": "float32"}
    path = make_request("twice", {"family": "gru", "width": 16}, snapshot_interval=2, **settings)
    out = path.parent / "out"
    for _ in range(2):
        assert train_from_request(path) == 0
        assert [file.name for file in sorted((out / "snapshots").iterdir())] == [
            f"step-{step:08d}.safetensors" for step in (2, 4, 6)
        ]


def test_a_model_adapts_another_and_is_published_whole(make_request):
    model = {"family": "transformer", "width": 32, "num_heads": 2}
    settings = {"num_steps": 30, "batch_size": 8, "context_length": 16, "validation_interval": 10, "keep": "last"}
    settings |= {"warmup_steps": 2, "learning_rate": 0.01, "num_threads": 1, "precision": "float32", "device": "cpu"}
    first = make_request("first", model, **settings)
    assert train_from_request(first) == 0
    base = first.parent / "out"
    lora = {"rank": 4, "targets": ["qkv", "out", "up", "down"]}
    for name, adapted in {"again": model, "lora": model | {"lora": lora}}.items():
        path = make_request(name, adapted, **settings)
        request = json.loads(path.read_text()) | {"base_dir": str(base)}
        path.write_text(json.dumps(request))
        assert train_from_request(path) == 0
        out = path.parent / "out"
        before, after = (json.loads((folder / "training.json").read_text()) for folder in (base, out))
        assert after["best_validation_loss"] < before["best_validation_loss"], "it went on from where the base was"
        assert after["num_parameters"] == before["num_parameters"]
        config = json.loads((out / "config.json").read_text())
        assert config["model"]["lora"] is None
        weights, original = (load_file(folder / "model.safetensors") for folder in (out, base))
        assert weights.keys() == original.keys()
        assert torch.equal(weights["embedding.weight"], original["embedding.weight"]) == (name == "lora")
        assert not torch.equal(*(w["backbone.blocks.0.attention.qkv.weight"] for w in (weights, original)))
        assert load_scorer(out).vocab_size == VOCAB_SIZE


def test_a_base_of_another_shape_is_refused(make_request):
    settings = {"num_steps": 1, "batch_size": 2, "context_length": 8, "num_threads": 1, "precision": "float32"}
    first = make_request("narrow", {"family": "gru", "width": 16}, **settings)
    assert train_from_request(first) == 0
    path = make_request("wide", {"family": "gru", "width": 24}, **settings)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_dir": str(first.parent / "out")}))
    with pytest.raises(InputError, match=r"in it, width is 16; here 24"):
        train_from_request(path)


def test_corpora_are_mixed_by_weight_and_their_epochs_are_told(make_request):
    model = {"family": "transformer", "width": 16, "num_heads": 2, "num_layers": 1}
    settings = {"num_steps": 6, "batch_size": 8, "context_length": 16}
    outputs = {}
    for name, more in {
        "plain": {},
        "mixed": {"weights": {"river": 3.0, "town": 1.0}},
        "apart": {"mask_documents": True},
        "rows": {"weights": {"river": 3.0, "town": 1.0}, "training": settings | {"batching": "length_buckets"}},
    }.items():
        path = make_request(name, model, **settings)
        request = json.loads(path.read_text())
        path.write_text(json.dumps(request | more))
        assert train_from_request(path) == 0
        outputs[name] = path.parent / "out"
    summaries = {name: json.loads((out / "training.json").read_text()) for name, out in outputs.items()}
    read = {name: summary["corpora"] for name, summary in summaries.items()}
    assert read["plain"]["town"]["epochs"] == pytest.approx(read["plain"]["river"]["epochs"])
    assert read["mixed"]["river"]["share"] == pytest.approx(0.75, abs=1e-3)
    assert read["mixed"]["river"]["epochs"] > 3 * read["mixed"]["town"]["epochs"]
    assert read["rows"]["river"]["epochs"] > 3 * read["rows"]["town"]["epochs"]
    assert len({(out / "model.safetensors").read_bytes() for out in outputs.values()}) == 4
    packed, rows = (summaries[name]["batches"] for name in ("mixed", "rows"))
    assert (packed["widths"], packed["rows"]) == ([16], [8])
    assert packed["padding"] < 0.02
    assert len(rows["widths"]) == len(rows["rows"]) == len(rows["steps"]) > 1
    assert packed["padding"] < rows["padding"] < 0.2


def test_a_weighted_corpus_without_training_text_is_refused(make_request):
    path = make_request("mixed", {"family": "gru", "num_layers": 1, "width": 8})
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights": {"town": 1.0, "sea": 1.0}}))
    with pytest.raises(InputError, match="The corpora sea have weights and no training document"):
        train_from_request(path)
