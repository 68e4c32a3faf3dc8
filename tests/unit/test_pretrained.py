"""A model that was made elsewhere: imported, evaluated, tuned, asked, and exported as it came."""

import json

import dagster as dg
import pytest
import torch

from assets.checks import check_results
from lm_pipeline.artifacts import Store
from lm_pipeline.cli import main
from lm_pipeline.errors import InputError, SpecError, UnavailableError
from lm_pipeline.pretrained import fetch, identify
from lm_pipeline.specs.pretrained import Pretrained
from lm_pipeline.tracking.mlflow_store import initialise_store
from tests.unit.pretrained_models import save_model

MODELS = {
    "gpt2": "{family: transformer, form: gpt2, num_layers: 2, width: 32, num_heads: 4}",
    "llama": "{family: transformer, form: llama, num_layers: 2, width: 32, num_heads: 4, num_kv_heads: 2,"
    " mlp_ratio: 2.25, norm_epsilon: 1.0e-6}",
    "bert": "{family: encoder, num_layers: 2, width: 32, num_heads: 4, mlp_ratio: 2}",
}
PROMPTS = ("The model reads", "法律条文规定")


@pytest.fixture(
    scope="module", params=["gpt2", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("llama", "bert"))]
)
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_model(request.param, folder)
    return request.param, folder


def declare(project, kind: str, folder, name: str, rest: str, model: str | None = None) -> None:
    dataset = project.defs / "datasets" / "foreign" / "defs.yaml"
    dataset.parent.mkdir(exist_ok=True)
    dataset.write_text(
        f"""\
type: assets.Dataset
attributes:
  corpora: [tiny_english, tiny_chinese]
  split: {{validation_fraction: 0.15, test_fraction: 0.15}}
  tokenizer: {{huggingface: {folder}}}
""",
        "utf-8",
    )
    path = project.defs / "experiments" / name / "defs.yaml"
    path.parent.mkdir()
    path.write_text(
        f"""\
type: assets.Experiment
attributes:
  dataset: foreign
  base: {{huggingface: {folder}}}
  model: {model or MODELS[kind]}
  training: {{batch_size: 2, context_length: 48, validation_batches: 2, warmup_steps: 0, log_interval: 1,
    precision: float32, attention: fused, compile: false, device: cpu, num_threads: 1, {rest}}}
  evaluation: {{num_bootstrap: 10, samples: {{num_per_prompt: 1, max_tokens: 5}}}}
""",
        "utf-8",
    )


def build(project, *assets: str) -> None:
    for asset in assets:
        project.materialize(asset)


def _serves(project, capsys) -> None:
    """Its own tokenizer is a part of the registered model."""
    import mlflow

    initialise_store(project.home.tracking_uri)
    assert main(["register", "as_it_is", "--json"]) == 0
    uri = json.loads(capsys.readouterr().out)["uri"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", project.home.tracking_uri)
        answers = mlflow.pyfunc.load_model(uri).predict(
            [{"text": text} for text in PROMPTS], params={"method": "score"}
        )
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        assert main(["score", "as_it_is", prompt, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == answer


@torch.no_grad()
def test_a_pretrained_model_is_evaluated_tuned_asked_and_exported_as_it_came(
    saved, tiny_copy, environment_of, tmp_path, capsys
):
    import transformers

    kind, folder = saved
    project = environment_of(tiny_copy)
    declare(project, kind, folder, "as_it_is", "num_steps: 0")
    declare(project, kind, folder, "tuned", "num_steps: 3, keep: last, learning_rate: 0.01")
    build(
        project,
        *(f"foreign/{stage}" for stage in ("unique_documents", "splits", "tokenizer", "token_shards")),
    )
    build(project, "as_it_is/base", "as_it_is/checkpoint", "as_it_is/evaluation", "tuned/base", "tuned/checkpoint")
    store = Store(project.home.artifacts)
    assert store.ref("as_it_is/base").digest == store.ref("tuned/base").digest
    assert store.ref("as_it_is/base").summary["files"].keys() >= {"model.safetensors", "tokenizer.json", "config.json"}
    assert all(result.passed for result in check_results(store.ref("as_it_is/checkpoint"), dg.AssetKey("checkpoint")))
    losses = [store.ref(f"{name}/checkpoint").summary["best_validation_loss"] for name in ("as_it_is", "tuned")]
    assert losses[1] < losses[0]

    assert main(["export", "as_it_is", str(tmp_path / "out")]) == 0
    auto = transformers.AutoModelForMaskedLM if kind == "bert" else transformers.AutoModelForCausalLM
    before, after = (auto.from_pretrained(path).eval() for path in (folder, tmp_path / "out"))
    tokenizers = [transformers.AutoTokenizer.from_pretrained(path) for path in (folder, tmp_path / "out")]
    gguf = main(["export", "as_it_is", str(tmp_path / "gguf"), "--format", "gguf"])
    assert (gguf, (tmp_path / "gguf").exists()) == ((0, True) if kind == "gpt2" else (6, False))
    assert store.ref("as_it_is/base").summary["unused_tensors"] == []
    capsys.readouterr()
    if kind == "llama":
        _serves(project, capsys)
    for prompt in PROMPTS:
        first, second = (tokenizer(prompt, return_tensors="pt")["input_ids"] for tokenizer in tokenizers)
        assert torch.equal(first, second)
        expected = before(first).logits[..., : after.config.vocab_size]
        torch.testing.assert_close(after(first).logits, expected, rtol=1e-5, atol=1e-5)
        if kind == "bert":
            continue
        bos = torch.tensor([[tokenizers[0].bos_token_id]])
        ids = torch.cat((bos, tokenizers[0](prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]), 1)
        written = before.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, eos_token_id=None
        )
        log_probs = before(written).logits[0, :-1, : after.config.vocab_size].log_softmax(-1)
        assert (
            main(["generate", "as_it_is", "--prompt", prompt, "--temperature", "0", "--max-tokens", "8", "--json"]) == 0
        )
        (answer,) = json.loads(capsys.readouterr().out)["completions"]
        new = written[0, ids.shape[1] :]
        said = tokenizers[0].decode(new, skip_special_tokens=True)
        assert answer["text"].strip() == said.strip() or "\ufffd" in said  # bytes of no character: each way is as good
        assert answer["log_prob"] == pytest.approx(
            log_probs[ids.shape[1] - 1 :].gather(1, new[:, None]).sum().item(), abs=1e-3
        )
        assert main(["score", "as_it_is", prompt, "--json"]) == 0
        scored = json.loads(capsys.readouterr().out)["tokens"]
        found = log_probs[: ids.shape[1] - 1].gather(1, ids[0, 1:, None])[:, 0]
        torch.testing.assert_close(
            torch.tensor([token["log_prob"] for token in scored[:-1]]), found, rtol=1e-4, atol=1e-4
        )


def test_a_real_llama_tells_its_documented_story_with_our_generation(shared_data, tmp_path):
    from lm_pipeline.evaluation.loading import load_scorer
    from lm_pipeline.generation.generate import generate
    from lm_pipeline.models.huggingface.request import import_from_request
    from lm_pipeline.specs.generation import Decoding
    from lm_pipeline.tokenization.loading import load_tokenizer
    from lm_pipeline.tokenization.pretrained import import_tokenizer

    folder = shared_data / "small/models/stories260K"
    summary = import_tokenizer(folder, tmp_path)
    request = {"folder": str(folder), "vocab_size": summary["vocab_size"], "output_dir": str(tmp_path)}
    (tmp_path / "request.json").write_text(json.dumps(request), "utf-8")
    import_from_request(tmp_path / "request.json")
    scorer, tokenizer = load_scorer(tmp_path, "cpu"), load_tokenizer(tmp_path / "tokenizer.json")
    text = "".join(generate(scorer, tokenizer, "", Decoding(temperature=0, max_tokens=200)))
    documented = (folder / "stories260K.md").read_text("utf-8").split("```")[3].split("\n", 2)[2]
    assert len(text) > 300
    assert documented.startswith(text.strip())
    (tmp_path / "request.json").write_text(json.dumps(request | {"vocab_size": 600}), "utf-8")
    with pytest.raises(InputError, match="knows 512 tokens and its tokenizer has 600"):
        import_from_request(tmp_path / "request.json")


def test_a_base_that_computes_something_else_is_refused_by_its_fields(tmp_path, tiny_copy):
    from lm_pipeline.specs.model import TransformerModel
    from lm_pipeline.training.beginning import _refuse_another_model

    base = {"model": TransformerModel(form="llama", width=16, num_heads=4, rope_base=500).model_dump(mode="json")}
    _refuse_another_model(TransformerModel(form="llama", width=16, num_heads=4, rope_base=500, dropout=0.5), base)
    with pytest.raises(InputError, match=r"in it, num_heads is 4, .*rope_base is 500.0.*; here 2, "):
        _refuse_another_model(TransformerModel(form="llama", width=16, num_heads=2), base)


def test_a_changed_file_of_the_folder_is_another_model(saved, tiny_copy, tmp_path):
    import shutil

    _, folder = saved
    shutil.copytree(folder, tmp_path / "model")
    source = Pretrained(huggingface=str(tmp_path / "model"))
    before = identify(source, tiny_copy.home)
    (tmp_path / "model" / "README.md").write_text("nothing that is read")
    assert identify(source, tiny_copy.home) == before
    (tmp_path / "model" / "config.json").write_text("{}")
    assert identify(source, tiny_copy.home)["files"]["config.json"] != before["files"]["config.json"]


def test_what_is_no_model_is_refused(tiny_copy, tmp_path, monkeypatch):
    project = tiny_copy
    declare(project, "gpt2", tmp_path / "nowhere", "trial", "num_steps: 0")
    with pytest.raises(InputError, match="neither a folder"):
        identify(project.declarations.experiments["trial"].base, project.home)
    project.edit("foreign", str(tmp_path / "nowhere"), "another/model")
    with pytest.raises(SpecError, match=r"has another tokenizer. Give a dataset `tokenizer: \{huggingface:"):
        _ = project.declarations
    project.edit("trial", f"  base: {{huggingface: {tmp_path / 'nowhere'}}}\n", "")
    with pytest.raises(SpecError, match="num_steps 0 publishes trained weights as they are"):
        _ = project.declarations
    project.edit("trial", "num_steps: 0", "num_steps: 1")
    project.edit("foreign", "huggingface: another/model", "huggingface: another/model, vocab_size: 400")
    with pytest.raises(SpecError, match=r"attributes\.tokenizer\.vocab_size: unknown key .* Available: huggingface"):
        _ = project.declarations
    project.edit("foreign", ", vocab_size: 400", "")
    project.edit("trial", "  dataset: foreign\n", "  dataset: foreign\n  base: {hugingface: another/model}\n")
    with pytest.raises(SpecError, match=r"attributes\.base\.hugingface: unknown key .* Did you mean 'huggingface'"):
        _ = project.declarations


def test_the_hub_offline_is_said_with_what_to_do(tiny_copy, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    source = Pretrained(huggingface="nobody/there@main")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match=r"does not answer for nobody/there.*save the model into a folder"):
        identify(source, tiny_copy.home)
    with pytest.raises(UnavailableError, match="cannot be fetched from the Hugging Face Hub"):
        fetch(source, {"commit": "0" * 40}, tiny_copy.home)


def test_a_declaration_of_a_pretrained_model_says_its_shape(saved, tiny_copy, environment_of, capsys):
    kind, folder = saved
    project = environment_of(tiny_copy)
    for noun, name, of in (("dataset", "other", "tiny_english"), ("experiment", "trial", "other")):
        given = ["new", noun, name, "--of", of, "--folder", str(project.defs), "--huggingface", str(folder)]
        assert main(given) == 0, capsys.readouterr().err
    spec = project.declarations.experiments["trial"]
    assert spec.base == project.declarations.datasets["other"].tokenizer == Pretrained(huggingface=str(folder))
    assert (spec.model.width, spec.model.num_layers, spec.training.context_length) == (32, 2, 64)
    declare(project, kind, folder, "by_hand", "num_steps: 0")
    other = project.declarations.experiments["by_hand"].model
    assert (spec.model.mlp_width, spec.model.norm, spec.model.kv_heads) == (other.mlp_width, other.norm, other.kv_heads)
    assert main(["new", "corpus", "c", "--huggingface", str(folder)]) == 2
