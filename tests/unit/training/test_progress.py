import json
import os
import pty
import subprocess
import sys

from dagster_pipes import PipesDefaultMessageWriter, encode_param

from lm_pipeline.tracking.spool_events import read_events
from lm_pipeline.training.progress import Reporter

SCRIPT = """
from lm_pipeline.training.progress import Reporter
with Reporter(10) as reporter:
    reporter.begin(0)
    reporter.point(5, {"train_loss": 2.5, "tokens_per_second": 1000.0}, 0.5)
    reporter.warn("odd")
"""


def test_without_a_terminal_there_is_a_line_a_point(capsys):
    with Reporter(10) as reporter:
        reporter.begin(2)
        reporter.point(5, {"train_loss": 2.5, "tokens_per_second": 1000.0}, 0.5)
        reporter.point(5, {"validation_loss": 2.25})
        reporter.warn("odd")
    assert capsys.readouterr().err.splitlines() == [
        "step 5/10  loss 2.5000  1,000 tokens/s  2 s left",
        "step 5/10  validation loss 2.2500",
        "warning: odd",
    ]


def test_metrics_go_to_the_spool(tmp_path):
    path = tmp_path / "checkpoint-0123456789abcdef-1.jsonl"
    with Reporter(10, path) as reporter:
        reporter.point(5, {"train_loss": 2.5})
    events = [event.body for event in read_events(path)]
    assert [(event["event"], event["step"], event["values"]) for event in events] == [
        ("metrics", 5, {"train_loss": 2.5})
    ]


def test_in_a_terminal_a_bar_is_drawn():
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAGSTER_PIPES")} | {"TERM": "xterm"}
    subprocess.run([sys.executable, "-c", SCRIPT], stderr=slave, env=environment, check=True)
    os.close(slave)
    drawn = os.read(master, 65536).decode()
    os.close(master)
    assert "5/10" in drawn
    assert "loss 2.5000" in drawn
    assert "odd" in drawn


def test_under_dagster_lines_go_to_its_log(tmp_path):
    context, messages = tmp_path / "context.json", tmp_path / "messages.jsonl"
    context.write_text(
        json.dumps(
            {
                "asset_keys": ["lstm/checkpoint"],
                "code_version_by_asset_key": {},
                "provenance_by_asset_key": {},
                "partition_key": None,
                "partition_key_range": None,
                "partition_time_window": None,
                "run_id": "0",
                "job_name": None,
                "retry_number": 0,
                "extras": {},
            }
        )
    )
    messages.touch()
    environment = os.environ | {
        "DAGSTER_PIPES_CONTEXT": encode_param({"path": str(context)}),
        "DAGSTER_PIPES_MESSAGES": encode_param({PipesDefaultMessageWriter.FILE_PATH_KEY: str(messages)}),
    }
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True)
    logged = [json.loads(line) for line in messages.read_text().splitlines()]
    texts = [(m["params"]["level"], m["params"]["message"]) for m in logged if m["method"] == "log"]
    assert texts == [("INFO", "step 5/10  loss 2.5000  1,000 tokens/s  2 s left"), ("WARNING", "odd")]
