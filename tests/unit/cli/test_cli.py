import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from lm_pipeline import __version__
from lm_pipeline.cli import cli
from lm_pipeline.errors import LmPipelineError
from lm_pipeline.launch import PARENT_VARIABLE

ROOT = Path(__file__).resolve().parents[3]
WITH_DAGSTER = ("init", "demo", "up", "materialize")


@pytest.mark.parametrize("command", [name for name in cli.commands if name not in WITH_DAGSTER])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself(run, command, option):
    code, out, err = run(command, option)
    assert code == 0
    assert out.startswith(f"Usage: lm-pipeline {command} ")
    assert err == ""
    options = [item for item in cli.commands[command].params if isinstance(item, click.Option)]
    undescribed = [item.name for item in options if not item.help]
    assert undescribed == []


@pytest.mark.parametrize("command", WITH_DAGSTER)
def test_commands_that_need_dagster_explain_themselves_too(command):
    done = subprocess.run(
        [sys.executable, "-m", "lm_pipeline", command, "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: lm-pipeline {command} ")


def test_commands_are_listed_in_the_order_of_use_each_on_a_line_of_its_own(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("--help")
    assert code == 0
    listed = re.findall(r"^  (\w+)  ", out, re.MULTILINE)
    assert listed == list(cli.commands)
    assert listed[:4] == list(WITH_DAGSTER)
    lines = out.partition("Commands:\n")[2].splitlines()
    assert len(lines) == len(listed), "a line of help is too long for 80 columns"
    assert all(line.endswith(".") and not line.endswith("..") for line in lines), "help that was cut off"
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


@pytest.mark.parametrize("child", ["train", "evaluate"])
def test_a_child_that_is_interrupted_while_it_imports_says_so_in_one_line(child, tmp_path):
    command = [sys.executable, "-m", "lm_pipeline", child, str(tmp_path / "request.json")]
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid())}  # as it is started: it then heeds SIGINT anywhere
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    maps = Path(f"/proc/{process.pid}/maps")
    while "numpy" not in maps.read_text("utf-8") and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "Interrupted.\n")
