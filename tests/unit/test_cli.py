import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lm_pipeline import __version__
from lm_pipeline.artifacts import Store
from lm_pipeline.cli import cli, main
from lm_pipeline.errors import LmPipelineError
from lm_pipeline.specs.declarations import load_declarations

ROOT = Path(__file__).resolve().parents[2]
WITH_DAGSTER = ("init", "demo", "up", "materialize")


@pytest.fixture
def built(tiny_project, environment_of):
    """The tiny project, not to be changed, as the one that commands work on."""
    return environment_of(tiny_project)


@pytest.fixture
def copy(tiny_copy, environment_of):
    """A tiny project that may be changed."""
    return environment_of(tiny_copy)


@pytest.fixture
def run(capsys):
    """Runs a command in this process; gives its exit code, its stdout and its stderr."""

    def inner(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return inner


@pytest.mark.parametrize("command", [name for name in cli.commands if name not in WITH_DAGSTER])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself(run, command, option):
    code, out, err = run(command, option)
    assert code == 0
    assert out.startswith(f"Usage: lm-pipeline {command} ")
    assert err == ""
    undescribed = [line for line in out.splitlines() if re.fullmatch(r"  -[-\w]+(, --[-\w]+)?( [A-Z:/_]+)?", line)]
    assert undescribed == []


@pytest.mark.parametrize("command", WITH_DAGSTER)
def test_commands_that_need_dagster_explain_themselves_too(command):
    done = subprocess.run(
        [sys.executable, "-m", "lm_pipeline", command, "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: lm-pipeline {command} ")


def test_commands_are_listed_in_the_order_of_use(run):
    code, out, _ = run("--help")
    assert code == 0
    listed = re.findall(r"^  (\w+)  ", out, re.MULTILINE)
    assert listed == list(cli.commands)
    assert listed[:4] == list(WITH_DAGSTER)
    assert run("--version") == (0, f"lm-pipeline, version {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-command"], "No such command"),
        (["generate"], "Missing argument 'EXPERIMENT'"),
        (["generate", "x", "--top-p", "2"], "2.0 is not in the range"),
        (["new", "corpsu", "x"], "'corpsu' is not one of 'corpus', 'dataset', 'experiment'"),
        (["trace"], "Give an experiment, or --token DATASET:OFFSET."),
        (["trace", "tiny_gru", "--token", "tiny:0"], "Give an experiment, or --token DATASET:OFFSET."),
        (["gc", "--drop", "tokenizer/123"], "There is no artifact 'tokenizer/123'; expected STAGE/KEY"),
        (["gc", "--drop", "x/y", "--dry-run"], "--drop deletes at once"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(built, run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (4, ["generate", "tiny_gro"], "There is no experiment 'tiny_gro'. Did you mean 'tiny_gru'?"),
        (4, ["score", "python_docs_lstm", "text"], "Run `lm-pipeline materialize python_docs_lstm` first."),
        (4, ["trace", "tiny_nrgam"], "Did you mean 'tiny_ngram'?"),
        (4, ["trace", "--token", "tinny:3"], "There is no dataset 'tinny'. Did you mean 'tiny'?"),
        (4, ["trace", "--token", "python_docs:3"], "python_docs has no token shards."),
        (4, ["leaderboard", "tinny"], "Did you mean 'tiny'?"),
        (6, ["trace", "--token", "tiny:x"], "Expected DATASET:OFFSET, such as python_docs:123456; got 'tiny:x'."),
        (6, ["trace", "--token", "tiny"], "Expected DATASET:OFFSET"),
        (6, ["trace", "--token", "tiny:99999999"], "There is no token 99999999 in the training split"),
    ],
)
def test_what_is_not_there_has_its_own_exit_code_and_says_what_to_do(built, run, code, arguments, message):
    got, out, err = run(*arguments)
    assert got == code
    assert out == ""
    assert err.startswith("lm-pipeline: ")
    assert message in err


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["leaderboard"], ["gc"], ["generate", "python_docs_lstm"], ["score", "python_docs_lstm", "x"],
     ["trace", "python_docs_lstm"], ["trace", "--token", "python_docs:1"]],
)  # fmt: skip
def test_a_home_that_is_not_initialised_exits_with_3(run, tmp_path, monkeypatch, arguments):
    monkeypatch.setenv("LM_PIPELINE_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("LM_PIPELINE_DEFS", raising=False)
    code, _, err = run(*arguments)
    assert code == 3
    assert "is not initialised. Run `lm-pipeline init`" in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_declarations_that_does_not_exist_exits_with_3(run, built, monkeypatch):
    monkeypatch.setenv("LM_PIPELINE_DEFS", "/no/such/folder")
    code, _, err = run("status")
    assert code == 3
    assert "LM_PIPELINE_DEFS names '/no/such/folder', which is not a folder." in err


def test_a_wrong_declaration_exits_with_2_naming_file_line_and_key(run, copy):
    copy.edit("tiny_gru", "learning_rate", "learning_rat")
    code, _, err = run("status")
    assert code == 2
    assert re.search(r"tiny_gru/defs\.yaml:10: attributes\.training\.learning_rat: unknown key", err)


def test_a_damaged_checkpoint_exits_with_5_and_a_corrected_drop_mends_it(run, copy):
    artifact = Store(copy.home.artifacts).ref("tiny_ngram/checkpoint")
    artifact.path("config.json").write_text("{}")
    code, _, err = run("score", "tiny_ngram", "text")
    assert code == 5
    [command] = re.findall(r"`lm-pipeline (gc --drop \S+)`", err)
    assert run(*command.split()) == (0, f"Dropped checkpoint/{artifact.key}.\n", "")
    code, _, err = run("score", "tiny_ngram", "text")
    assert code == 4
    assert "Run `lm-pipeline materialize tiny_ngram` first." in err


def test_a_manifest_that_cannot_be_read_can_be_dropped(run, copy):
    artifact = Store(copy.home.artifacts).ref("tiny/leaderboard")
    (artifact.directory / "manifest.json").write_bytes(b"\xff")
    assert run("status")[0] == 5
    code, out, _ = run("gc", "--drop", f"leaderboard/{artifact.key}", "--json")
    assert code == 0
    assert json.loads(out) == {"dropped": [f"leaderboard/{artifact.key}"]}
    assert run("status")[0] == 0


def test_every_error_class_has_an_exit_code_of_its_own():
    def family(item):
        return [item, *(member for child in item.__subclasses__() for member in family(child))]

    codes = [item.exit_code for item in family(LmPipelineError) if "exit_code" in vars(item)]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes


def test_exit_codes_reach_the_shell(built):
    environment = {**os.environ, "LM_PIPELINE_HOME": str(built.home.root / "none")}
    done = subprocess.run(
        [sys.executable, "-m", "lm_pipeline", "status"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_status_for_people_and_as_json(run, built):
    code, out, _ = run("status")
    assert code == 0
    assert "tiny_english: 64 records = 62 kept + 1 rejected + 1 quarantined  exact" in out
    code, out, _ = run("status", "--json")
    value = json.loads(out)
    assert code == 0
    assert value["assets"]["tiny_gru/checkpoint"]["status"] == "current"
    assert value["assets"]["python_docs_lstm/checkpoint"]["status"] == "missing"
    assert value["datasets"]["tiny"]["holds"]


def test_leaderboard_for_people_and_as_json(run, built):
    code, out, _ = run("leaderboard", "tiny")
    assert code == 0
    assert {"tiny_gru", "tiny_ngram", "Unigram", "Kneser"} <= set(re.findall(r"\w+", out))
    code, out, _ = run("leaderboard", "tiny", "--json")
    [board] = json.loads(out)
    assert code == 0
    assert board["dataset"] == "tiny"
    assert {row["experiment"] for row in board["rows"] if row["status"] == "built"} == {"tiny_gru", "tiny_ngram"}


def test_inspect_shows_a_corpus_and_its_documents(run, built):
    code, out, _ = run("inspect", "tiny_english")
    assert code == 0
    assert "Kept documents by number of words" in out
    code, out, _ = run("inspect", "tiny_chinese", "--kept", "--num", "2")
    assert code == 0
    assert out.count("── ") == 2
    code, out, _ = run("inspect", "tiny_chinese", "--json")
    assert json.loads(out)["summary"]["kept"] == 62
    code, _, err = run("inspect", "tiny_chinese", "--kept", "--rejected", "x")
    assert (code, "Give one of" in err) == (2, True)
    assert run("inspect", "tiny_chinese", "--rejected", "x")[0] == 6


@pytest.mark.parametrize("experiment", ["tiny_gru", "tiny_ngram"])
def test_generate_is_seeded_and_streams_what_json_holds(run, built, experiment):
    options = ["--prompt", "The river", "--max-tokens", "8", "--seed", "3"]
    code, out, _ = run("generate", experiment, *options, "--json")
    value = json.loads(out)
    assert code == 0
    [text] = value["completions"]
    assert (value["experiment"], text["prompt"], text["seed"]) == (experiment, "The river", 3)
    assert text["ending"] == "length"
    assert text["num_tokens"] == 8
    code, out, _ = run("generate", experiment, *options)
    assert code == 0
    assert out == "The river" + text["text"] + "\n"
    assert run("generate", experiment, "--temperature", "0", "--max-tokens", "3")[0] == 0


def test_generate_gives_several_texts_of_several_prompts_and_searches_with_beams(run, built):
    options = ["--prompt", "The river", "--prompt", "法律", "--num", "2", "--max-tokens", "6"]
    code, out, _ = run("generate", "tiny_gru", *options, "--json")
    assert code == 0
    texts = json.loads(out)["completions"]
    assert [(text["prompt"], text["seed"]) for text in texts] == [(p, s) for p in ("The river", "法律") for s in (0, 1)]
    code, out, _ = run("generate", "tiny_gru", *options)
    assert out == "\n\n".join(text["prompt"] + text["text"] for text in texts) + "\n"
    code, out, _ = run("generate", "tiny_ngram", *options, "--beams", "3", "--json")
    assert code == 0
    found = json.loads(out)["completions"]
    assert found[0]["log_prob"] >= found[1]["log_prob"] or found[0]["num_tokens"] != found[1]["num_tokens"]
    code, _, err = run("generate", "tiny_gru", "--beams", "3", "--temperature", "1")
    assert code == 2
    assert "set temperature to 0" in err
    assert "Value error" not in err
    code, _, err = run("generate", "tiny_gru", "--stop", "")
    assert code == 2
    assert "--stop: " in err


@pytest.mark.parametrize("experiment", ["tiny_gru", "tiny_ngram"])
@pytest.mark.parametrize("text", ["The river reads the law.", "法律条文规定。"])
def test_score_adds_up(run, built, experiment, text):
    code, out, _ = run("score", experiment, text, "--json")
    value = json.loads(out)
    assert code == 0
    assert value["total_log_prob"] == pytest.approx(sum(item["log_prob"] for item in value["tokens"]))
    assert value["num_bytes"] == len(text.encode())
    assert len(value["tokens"]) == value["num_tokens"]
    code, out, _ = run("score", experiment, text)
    assert code == 0
    assert f"{value['total_log_prob']:.4f} nats" in out


def test_an_empty_text_has_no_score(run, built):
    code, out, err = run("score", "tiny_ngram", "")
    assert code == 6
    assert out == ""
    assert err.startswith("lm-pipeline: ")


def test_trace_for_people_and_as_json(run, built):
    code, out, _ = run("trace", "tiny_gru", "--json")
    assert code == 0
    hashes = [file["sha256"] for row in json.loads(out) for file in row.get("files", [])]
    assert len(hashes) == 2
    code, out, _ = run("trace", "tiny_gru")
    assert code == 0
    assert all(digest in out for digest in hashes)
    code, out, _ = run("trace", "--token", "tiny:5", "--json")
    assert code == 0
    assert json.loads(out)["raw_file"]["sha256"] in hashes
    code, out, _ = run("trace", "--token", "tiny:5")
    assert code == 0
    assert "raw file a.jsonl, record " in out


def test_gc_dry_run_deletes_nothing_and_gc_only_what_nothing_needs(run, copy):
    copy.edit("tiny_ngram", "num_bootstrap: 10", "num_bootstrap: 12")
    old = Store(copy.home.artifacts).ref("tiny_ngram/evaluation")
    copy.materialize("tiny_ngram/evaluation")
    # The report was made from the old evaluation: it goes on needing it.
    code, out, _ = run("gc", "--dry-run", "--json")
    assert json.loads(out) == {"artifacts": 0, "bytes": 0, "busy": 0, "building": False, "dry_run": True}
    for asset in ("tiny_ngram/report", "tiny/leaderboard"):
        copy.materialize(asset)
    code, out, _ = run("gc", "--dry-run")
    assert code == 0
    assert re.fullmatch(r"Would delete 3 artifacts, \d+\.\d MB\. In use: 0\.\n", out)
    assert old.verify()
    code, out, _ = run("gc")
    assert code == 0
    assert out.startswith("Deleted 3 artifacts")
    assert not old.directory.exists()
    assert run("gc")[1].startswith("Deleted 0 artifacts")
    with Store(copy.home.artifacts).in_use():
        assert "Something is being built, so everything published was left alone." in run("gc")[1]


def test_doctor_for_people_and_as_json(run, copy):
    for path in copy.home.spool.glob("*"):
        path.unlink()
    code, out, _ = run("doctor", "--verify", "--json")
    assert code == 0
    assert all(item["ok"] for item in json.loads(out))
    copy.home.marker.unlink()
    code, out, _ = run("doctor")
    assert code == 1
    assert "BAD  home: " in out
    assert "ok   python: " in out


def test_new_declarations_load_and_follow_each_other(run, copy):
    for noun, name, of in (
        ("corpus", "fresh", None),
        ("dataset", "fresh_data", "fresh"),
        ("experiment", "try", "fresh_data"),
    ):
        code, out, _ = run("new", noun, name, *(["--of", of] if of else []))
        assert code == 0
        assert out.endswith(f"Edit it, then run `lm-pipeline materialize {name}`.\n")
    found = load_declarations([copy.defs])
    assert found.experiments["try"].dataset == "fresh_data"
    assert found.datasets["fresh_data"].corpora == ("fresh",)
    assert found.corpora["fresh"].source.path == "data/raw/fresh"
    assert run("status")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment", "more", "--of", "tinny"], "--of: there is no dataset 'tinny'. Did you mean 'tiny'?"),
        (["dataset", "more", "--of", "tiny_englisch"], "Did you mean 'tiny_english'?"),
        (["experiment", "tiny"], "'tiny' is a dataset's name already"),
        (["experiment", "python_docs_lstm"], "is declared already in"),
        (["experiment", "tiny_gru"], "exists already"),
        (["corpus", "Big"], "'Big' cannot be a name"),
    ],
)
def test_new_refuses_what_would_break_every_later_command(run, copy, arguments, message):
    before = sorted(copy.defs.rglob("*"))
    code, _, err = run("new", *arguments)
    assert code == 2
    assert message in err
    assert sorted(path for path in copy.defs.rglob("*") if path.is_file()) == [
        path for path in before if path.is_file()
    ]
    assert run("status")[0] == 0


def test_schemas_are_written_and_new_points_at_them(run, copy):
    code, out, _ = run("schema")
    assert code == 0
    assert set(json.loads(out)) == {"corpus", "dataset", "experiment"}
    code, out, _ = run("schema", "--out", str(copy.defs / "schemas"))
    assert code == 0
    assert out.count("Wrote ") == 3
    run("new", "experiment", "try", "--of", "tiny")
    text = (copy.defs / "experiments" / "try" / "defs.yaml").read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=../../schemas/experiment.json\n")
    assert run("status")[0] == 0


def test_describe_says_what_a_model_is_and_costs(run, built):
    code, out, err = run("describe", "tiny_gru", "--flops", "1e9", "--gradients", "--json")
    assert (code, err) == (0, "")
    value = json.loads(out)
    checkpoint = Store(built.home.artifacts).ref("tiny_gru/checkpoint")
    assert value["parameters"] == checkpoint.summary["num_parameters"]
    assert value["flops_per_token"]["training"] == checkpoint.summary["flops_per_token"]
    assert value["peak_flops"] == 1e9
    assert value["gradients"].keys() == {"before training", "after training"}
    code, out, _ = run("describe", "tiny_gru", "--flops", "1e9", "--gradients")
    assert code == 0
    assert f"{value['parameters']:,} parameters" in out
    assert "backbone.cells.weight_hh_l0" in out
    assert "Hugging Face      no: Hugging Face has no 'gru' language model" in out
    assert "0 tokens back   1.00e+00" in out


def test_describe_refuses_what_is_counted_or_unknown(run, built):
    code, _, err = run("describe", "tiny_ngram")
    assert code == 6
    assert "is an n-gram model: it is counted" in err
    code, _, err = run("describe", "tiny_gro")
    assert code == 4
    assert "Did you mean 'tiny_gru'?" in err
