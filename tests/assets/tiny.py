"""A tiny bilingual project: its text, its declarations, its home. Made by the tests that materialize for real."""

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
WORDS = ["law", "text", "word", "graph", "model", "token", "corpus", "split", "layer", "state", "step", "loss", "rate"]
HAN = "法律条文规定人民国家公司合同责任义务权利财产机关工作社会经济管理"
CORPUS = """\
type: assets.Corpus
attributes:
  source: {{kind: path, path: {path}}}
  cleaning: {{profile: none, min_characters: 20}}
"""
DATASET = """\
type: assets.Dataset
attributes:
  corpora: [{corpora}]
  split: {{validation_fraction: 0.15, test_fraction: 0.15}}
  tokenizer: {{algorithm: bpe, vocab_size: 360}}
"""
NEURAL = """\
type: assets.Experiment
attributes:
  dataset: {dataset}
  model: {{family: gru, num_layers: 1, width: 16}}
  training:
    num_steps: 20
    batch_size: 2
    context_length: 8
    learning_rate: 0.05
    warmup_steps: 0
    validation_interval: 10
    validation_batches: 4
    checkpoint_interval: 5
    log_interval: 5
    precision: float32
    device: cpu
    num_threads: 1
{training}  evaluation: {{num_bootstrap: 10, samples: {{num_per_prompt: 1, max_tokens: 5}}}}
{more}"""
NGRAM = """\
type: assets.Experiment
attributes:
  dataset: {dataset}
  model: {{family: ngram, order: 3}}
  evaluation: {{num_bootstrap: 10, samples: {{num_per_prompt: 1, max_tokens: 5}}}}
"""


def english(number: int) -> str:
    """A document of which no other is a near copy."""
    draw = random.Random(number)
    return f"The {number} of " + " ".join(f"{draw.choice(WORDS)}{draw.randrange(30)}" for _ in range(40))


def chinese(number: int) -> str:
    """The same in Chinese."""
    draw = random.Random(number)
    return f"第{number}条" + "".join(draw.choice(HAN) for _ in range(60)) + "。"


def write_corpus(folder: Path, document: Callable[[int], str], count: int = 60) -> None:
    """A folder with one JSONL file: so many documents, one too short and one that is no JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": document(number)}, ensure_ascii=False) for number in range(count)]
    lines += [json.dumps({"text": "short"}), "{not json"]
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def declare(folder: Path, name: str, text: str) -> Path:
    """Write a declaration; its folder's name is its name."""
    path = folder / name / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def neural(dataset: str = "tiny", more: str = "", **training: object) -> str:
    """An experiment with a GRU; `training` replaces settings."""
    text = NEURAL.format(dataset=dataset, training="", more=more)
    for key, value in training.items():
        lines = [f"    {key}: {value}" if line.startswith(f"    {key}:") else line for line in text.splitlines()]
        text = "\n".join(lines) + "\n"
        if f"    {key}:" not in text:
            text = text.replace("  training:\n", f"  training:\n    {key}: {value}\n")
    return text


def declare_tiny(defs: Path, text: Path) -> None:
    """Two corpora, a dataset of both, an n-gram and a GRU."""
    write_corpus(text / "en", english)
    write_corpus(text / "zh", chinese)
    declare(defs, "tiny_en", CORPUS.format(path=text / "en"))
    declare(defs, "tiny_zh", CORPUS.format(path=text / "zh"))
    declare(defs, "tiny", DATASET.format(corpora="tiny_en, tiny_zh"))
    declare(defs, "tiny_gru", neural())
    declare(defs, "tiny_ngram", NGRAM.format(dataset="tiny"))


def wait_for(found: Callable[[], T], seconds: float, what: str) -> T:
    """Poll until something is found."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return value


def processes_of(home: Path, *words: str) -> list[int]:
    """Processes that work on this home and have these words as arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
            if f"LM_PIPELINE_HOME={home}".encode() in environment and set(words) <= set(arguments):
                found.append(int(entry.name))
    return found


def command_of(number: int) -> str:
    """The command line of a process; empty when it has just ended."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def end_shipper(home: Path) -> None:
    """The shipper is detached and lives on for a while: end it."""
    for number in processes_of(home, "lm_pipeline", "ship"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    wait_for(lambda: not processes_of(home, "lm_pipeline", "ship"), 10, "the shipper is gone")
    wait_for(lambda: not processes_of(home, "lm_pipeline", "ship"), 10, "the shipper is gone")
