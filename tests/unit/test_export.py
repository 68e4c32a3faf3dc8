"""From a declaration to a folder that Hugging Face loads; and what is trained beside it: adapters, an encoder."""

import json
import sys

import pytest
import torch

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.cli import main
from lm_pipeline.export import EXPORTS
from lm_pipeline.models.storage import load_model
from lm_pipeline.project import load_project
from lm_pipeline.trained import load_trained
from tests.llama_cpp import Served
from tests.unit.small_models import SPECS, random_model

TRAINING = """\
  training: {num_steps: 6, batch_size: 2, context_length: 16, validation_interval: 6, validation_batches: 2,
    checkpoint_interval: 6, log_interval: 3, warmup_steps: 0, precision: float32, attention: fused, compile: false,
    device: cpu, num_threads: 1}
  evaluation: {num_bootstrap: 10, samples: {num_per_prompt: 1, max_tokens: 5}}
"""
GPT2 = "  model: {{family: transformer, form: gpt2, num_layers: 2, width: 16, num_heads: 2{}}}\n"
EXPERIMENTS = {
    "tiny_gpt2": GPT2.format(""),
    "tiny_adapted": GPT2.format(", lora: {rank: 2}") + "  base: tiny_gpt2\n",
    "tiny_bert": "  model: {family: encoder, num_layers: 1, width: 16, num_heads: 2}\n",
}


@pytest.fixture
def project(tiny_copy, environment_of):
    for name, model in EXPERIMENTS.items():
        path = tiny_copy.defs / "experiments" / name / "defs.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"type: assets.Experiment\nattributes:\n  dataset: tiny\n{model}{TRAINING}", "utf-8")
    return environment_of(tiny_copy)


@torch.no_grad()
def test_an_experiment_becomes_a_folder_that_hugging_face_loads(project, tmp_path, capsys):
    import transformers

    for name in ("tiny_gpt2", "tiny_adapted"):
        project.materialize(f"{name}/checkpoint")
        folder = tmp_path / name
        assert main(["export", name, str(folder), "--json"]) == 0
        value = json.loads(capsys.readouterr().out)
        assert value["model_type"] == "gpt2"
        assert value["files"] == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        ours = load_model(Store(project.home.artifacts).ref(f"{name}/checkpoint").files_dir)
        for text in ("The first", "第一"):
            ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :10]
            assert ids[0].tolist() == [1, *load_trained(name)[1].encode(text).tolist()][:10]
            torch.testing.assert_close(model(ids).logits, ours.logits(ours(ids)[0]), rtol=1e-5, atol=1e-5)
    assert main(["export", "tiny_gpt2", str(tmp_path / "tiny_gpt2")]) == 6
    assert "not empty: give a new folder" in capsys.readouterr().err
    before, after = (
        load_model(Store(project.home.artifacts).ref(f"{name}/checkpoint").files_dir)
        for name in ("tiny_gpt2", "tiny_adapted")
    )
    assert torch.equal(before.embedding.weight, after.embedding.weight)
    assert not torch.equal(
        before.backbone.blocks[0].attention.qkv.weight, after.backbone.blocks[0].attention.qkv.weight
    )


def test_a_model_of_another_form_is_refused_and_nothing_is_written(project, tmp_path, capsys):
    assert main(["export", "tiny_gru", str(tmp_path / "out")]) == 6
    error = capsys.readouterr().err
    assert "only Transformers can be exported" in error
    assert "Other neural families go to ONNX" in error
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_said(project, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["export", "tiny_gru", str(tmp_path / "file" / "out"), "--format", "onnx"]) == 6
    assert "cannot be written: Not a directory. Give another folder." in capsys.readouterr().err


def test_a_tokenizer_that_cannot_be_read_is_not_said_of_the_folder_and_none_is_made(tmp_path):
    lost = Artifact(tmp_path, {"attempt": "attempt-1", "files": {"tokenizer.model": {}}})
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.model"):
        EXPORTS["onnx"](random_model(SPECS["gru"], 300), lost, "any", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@torch.no_grad()
def test_an_experiment_becomes_a_folder_that_onnxruntime_and_sentencepiece_load(project, tmp_path, capsys):
    import onnxruntime
    import sentencepiece

    folder = tmp_path / "out"
    assert main(["export", "tiny_gru", str(folder), "--format", "onnx", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["model_type"], value["files"]) == ("gru", ["model.onnx", "tokenizer.model"])
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    ids = torch.tensor([[pieces.bos_id(), *pieces.encode("The first")]])
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"tokens": ids.numpy()})
    ours = load_model(Store(project.home.artifacts).ref("tiny_gru/checkpoint").files_dir)
    torch.testing.assert_close(torch.from_numpy(theirs), ours.logits(ours(ids)[0]), rtol=1e-4, atol=1e-4)


def test_without_its_package_or_for_an_n_gram_model_onnx_is_refused_and_nothing_is_written(
    project, tmp_path, capsys, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        assert main(["export", "tiny_gru", str(tmp_path / "out"), "--format", "onnx"]) == 6
    assert "pip install 'lm-pipeline[onnx]'" in capsys.readouterr().err
    assert main(["export", "tiny_ngram", str(tmp_path / "out"), "--format", "onnx"]) == 6
    assert "an n-gram model: only neural models can be exported" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_experiment_becomes_a_file_that_llama_cpp_runs(project, tmp_path, capsys):
    folder = tmp_path / "out"
    project.materialize("tiny_gpt2/checkpoint")
    assert main(["export", "tiny_gpt2", str(folder), "--format", "gguf", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["model_type"], value["files"]) == ("gpt2", ["model.gguf"])
    served = Served(folder / "model.gguf")
    scorer, tokenizer = load_trained("tiny_gpt2")
    banned = [i for i in range(tokenizer.vocab_size) if i < 4 or tokenizer.is_byte[i]]
    for text in ("The law", "第一"):
        ids = [1, *tokenizer.encode(text).tolist()]
        assert served.tokenize(text) == ids
        expected = scorer.start([ids]).next_log_probs()[0]
        entries = served.next_token(ids, banned, tokenizer.vocab_size)["top_logprobs"]
        assert max(abs(entry["logprob"] - expected[entry["id"]]) for entry in entries) < 2e-2


def test_what_gguf_cannot_hold_is_refused_and_nothing_is_written(project, tmp_path, capsys, monkeypatch):
    assert main(["export", "tiny_gru", str(tmp_path / "out"), "--format", "gguf"]) == 6
    assert "only Transformers can be exported" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gguf", None)
        assert main(["export", "tiny_gru", str(tmp_path / "out"), "--format", "gguf"]) == 6
    assert "pip install 'lm-pipeline[gguf]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_encoder_goes_all_the_way_to_an_unranked_line_of_the_leaderboard(project, capsys):
    for asset in ("tiny_bert/checkpoint", "tiny_bert/evaluation", "tiny_bert/report", "tiny/leaderboard"):
        project.materialize(asset)
    assert main(["leaderboard", "tiny", "--json"]) == 0
    (board,) = json.loads(capsys.readouterr().out)
    rows = {row["experiment"]: row for row in board["rows"]}
    assert rows["tiny_bert"]["rank"] is rows["tiny_bert"]["perplexity"] is rows["tiny_bert"]["bits_per_byte"] is None
    assert "not comparable: it sees both sides" in rows["tiny_bert"]["message"]
    assert rows["tiny_gru"]["rank"] is not None
    report = Store(load_project().home.artifacts).ref("tiny_bert/report").path("report.html").read_text("utf-8")
    assert "Its masked perplexity is" in report
    assert main(["score", "tiny_bert", "The first"]) == 6
    assert main(["generate", "tiny_bert"]) == 6
