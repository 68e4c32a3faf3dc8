"""An experiment's model in MLflow's registry: loaded in a process, served over HTTP, with its lineage."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lm_pipeline.artifacts import Store
from lm_pipeline.artifacts.garbage import collect_garbage
from lm_pipeline.cli import main
from lm_pipeline.home import Home
from lm_pipeline.tracking import shipper
from lm_pipeline.tracking.mlflow_registry import REQUIREMENTS
from lm_pipeline.tracking.mlflow_store import MlflowClient, initialise_store
from lm_pipeline.tracking.server import QUIET
from tests.conftest import TinyProject
from tests.servers import free_port

TEXTS = {"en": "The model reads the law.", "zh": "人民法律规定。"}


@pytest.fixture(scope="module")
def copy(tiny_project, tmp_path_factory) -> TinyProject:
    """The materialized project with an MLflow store, for the tests of this file."""
    folder = tmp_path_factory.mktemp("registered")
    project = TinyProject(Home(folder / "data"), tiny_project.defs, tiny_project.text)
    shutil.copytree(tiny_project.home.root, project.home.root)
    initialise_store(project.home.local_tracking_uri)
    return project


@pytest.fixture
def project(copy, environment_of):
    return environment_of(copy)


def run(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_registered_model_belongs_to_its_run_and_is_found_again(project, capsys):
    first = run(capsys, "register", "tiny_gru")
    assert (first["name"], first["version"], first["uri"]) == ("tiny_gru", 1, "models:/tiny_gru/1")
    assert run(capsys, "register", "tiny_gru") == first
    client = MlflowClient(project.home.tracking_uri, project.home.tracking_uri)
    version = client.get_model_version("tiny_gru", "1")
    checkpoint = Store(project.home.artifacts).ref("tiny_gru/checkpoint")
    assert version.tags["digest"] == checkpoint.digest
    assert client.get_run(version.run_id).data.tags["asset"] == "tiny_gru/checkpoint"
    model = client.get_logged_model(first["model_id"])
    assert model.source_run_id == version.run_id == first["run_id"]
    assert {file.path for file in client.list_logged_model_artifacts(first["model_id"])} >= {"MLmodel", "artifacts"}
    folder = Path(model.artifact_location.removeprefix("file://"))
    assert (folder / "artifacts" / "model.safetensors").samefile(checkpoint.path("model.safetensors"))
    assert {file.name for file in (folder / "artifacts").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.model",
    }
    assert not [file for file in folder.rglob("*") if file.suffix in (".pkl", ".pickle", ".pt", ".pyc")]


def test_what_a_registered_model_was_made_from_outlives_its_experiment(tiny_copy, environment_of, capsys):
    project = environment_of(tiny_copy)
    initialise_store(project.home.tracking_uri)
    run(capsys, "register", "tiny_ngram", "--name", "counted")
    store = Store(project.home.artifacts)
    checkpoint = store.ref("tiny_ngram/checkpoint")
    for ref in (project.home.artifacts / "refs").rglob("*.json"):
        if "registered" not in ref.parts:
            ref.unlink()
    assert collect_garbage(store).artifacts > 0
    assert store.ref("registered/counted/1").digest == checkpoint.digest
    assert len(list(store.ancestors(checkpoint))) > 4


def test_a_registered_model_is_loaded_and_asked_in_a_process(project, capsys, monkeypatch):
    import mlflow

    values = {}
    for experiment in ("tiny_gru", "tiny_ngram"):
        uri = run(capsys, "register", experiment)["uri"]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", project.home.tracking_uri)
        loaded = mlflow.pyfunc.load_model(uri)
        assert [column.name for column in loaded.metadata.signature.inputs.inputs] == ["text"]
        for text in TEXTS.values():
            (answer,) = loaded.predict([{"text": text}], params={"method": "score"})
            assert answer == run(capsys, "score", experiment, text)
            values[experiment, text] = answer["total_log_prob"]
            (answer,) = loaded.predict([{"text": text}], params={"max_tokens": 6, "seed": 3})
            expected = run(capsys, "generate", experiment, "--prompt", text, "--max-tokens", "6", "--seed", "3")
            assert [answer] == expected["completions"]
    assert len(set(values.values())) == 4


ANSWER_WITH_NOTHING_ELSE = """
import json, sys

files, absent = map(json.loads, sys.argv[1:])
sys.modules |= dict.fromkeys(absent)  # to import them fails
import pandas
from mlflow.pyfunc.model import PythonModelContext
from lm_pipeline.served_model import ServedModel

model = ServedModel()
model.load_context(PythonModelContext(files, None))
for method in ("generate", "score"):
    assert model.predict(pandas.DataFrame({"text": ["law"]}), {"method": method})
"""


def closure(packages) -> set[str]:
    """Packages and all that they need, by their normal names."""
    found, waiting = set(), list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            needed = importlib.metadata.requires(name) if name in INSTALLED else []
            waiting += [re.match(r"[\w.-]+", line)[0] for line in needed or [] if "extra ==" not in line]
    return found


INSTALLED = {re.sub(r"[-_.]+", "-", d.name).lower() for d in importlib.metadata.distributions()}


@pytest.mark.parametrize("experiment", ["tiny_gru", "tiny_ngram"])
def test_the_packages_that_a_model_names_are_all_that_it_needs(project, experiment):
    named = closure(REQUIREMENTS)
    absent = [
        module
        for module, packages in importlib.metadata.packages_distributions().items()
        if module not in ("lm_pipeline", "pip") and not named & {re.sub(r"[-_.]+", "-", p).lower() for p in packages}
    ]
    assert "polars" in absent
    store = Store(project.home.artifacts)
    checkpoint = store.ref(f"{experiment}/checkpoint")
    entry = checkpoint.inputs["tokenizer"]
    paths = [checkpoint.path("config.json"), checkpoint.path("model.safetensors")]
    paths.append(store.open(entry["stage"], entry["key"]).path("tokenizer.model"))
    files = json.dumps({path.name: str(path) for path in paths})
    subprocess.run([sys.executable, "-c", ANSWER_WITH_NOTHING_ELSE, files, json.dumps(absent)], check=True)


@pytest.fixture
def served(project, capsys, tmp_path):
    """`mlflow models serve` over the registered model, on a port of its own."""
    uri = run(capsys, "register", "tiny_gru")["uri"]
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", uri, "--env-manager", "local"]
    tracking = {"MLFLOW_TRACKING_URI": project.home.tracking_uri, "MLFLOW_REGISTRY_URI": project.home.tracking_uri}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            env={**os.environ, **QUIET, **tracking, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "log").read_text("utf-8")
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)


def ask(url: str, rows: list[dict], params: dict) -> list[dict]:
    body = json.dumps({"dataframe_records": rows, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["predictions"]


def test_a_served_model_answers_over_http_what_the_command_says(served, capsys):
    rows = [{"text": text} for text in TEXTS.values()]
    scores = ask(served, rows, {"method": "score"})
    assert scores == [run(capsys, "score", "tiny_gru", text) for text in TEXTS.values()]
    texts = ask(served, rows, {"temperature": 0.0, "max_tokens": 8, "stop": ["\n"]})
    prompts = [part for text in TEXTS.values() for part in ("--prompt", text)]
    settings = ("--temperature", "0", "--max-tokens", "8", "--stop", "\n")
    assert texts == run(capsys, "generate", "tiny_gru", *prompts, *settings)["completions"]
    for rows, params, message in (
        ([{"text": ""}], {"method": "score"}, "The text is empty"),
        ([{"text": "x"}], {"method": "scoer"}, "Did you mean 'score'"),
        ([{"text": "x"}], {"num_beams": 2}, "set temperature to 0"),
        ([{"text": "x"}], {"top_p": 0.0}, "top_p: Input should be greater than 0. Given: 0.0."),
        ([{"prompt": "x"}], {}, "text"),
    ):
        with pytest.raises(urllib.error.HTTPError) as raised:
            ask(served, rows, params)
        assert raised.value.code == 400
        answer = raised.value.read().decode()
        assert message in answer
        assert "pydantic" not in answer


def test_what_cannot_be_registered_is_refused(tiny_copy, environment_of, capsys, monkeypatch):
    project = environment_of(tiny_copy)
    assert main(["register", "tiny_gruu"]) == 4
    assert "Did you mean 'tiny_gru'" in capsys.readouterr().err
    assert main(["register", "tiny_gru", "--name", "a/b"]) == 6
    monkeypatch.setattr("lm_pipeline.registration.SHIPPING_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(shipper, "ensure_shipper", lambda _: False)
    assert main(["register", "tiny_gru"]) == 9
    assert "has not been told" in capsys.readouterr().err
    assert not list(project.home.artifacts.glob("refs/registered/*"))
