"""Settings of the model and of its training, as resolved, and what training cost."""

import json
from typing import Any

from lm_pipeline.reports.blocks import Block, Column, Details, Table
from lm_pipeline.reports.data import ReportData
from lm_pipeline.reports.formatting import compact, decimal, duration, integer, plain, size


def settings(data: ReportData) -> list[Block]:
    """Model and training settings, and the whole spec to unfold."""
    blocks: list[Block] = [_table("The model", data.spec.get("model", {}))]
    is_counted = data.spec.get("model", {}).get("family") == "ngram"
    if data.spec.get("training") and not is_counted:
        blocks.append(_table("Its training", data.spec["training"]))
    if data.training.get("choices"):
        blocks.append(_table("What “auto” was resolved to", data.training["choices"]))
    text = json.dumps(data.spec, indent=2, ensure_ascii=False)
    return [*blocks, Details("The whole spec", "every field, defaults included", (), text)]


def cost(data: ReportData) -> list[Block]:
    """Parameters, time, speed and memory, with the device that they were measured on."""
    training = data.training
    is_counted = data.spec.get("model", {}).get("family") == "ngram"
    loop = () if is_counted else _LOOP
    rows = [
        ("Parameters", integer(training.get("num_parameters"))),
        ("Tokens seen in training", integer(training.get("num_tokens"))),
        ("Wall-clock time", duration(training.get("wall_seconds"))),
        ("Tokens per second", integer(training.get("tokens_per_second"))),
        ("Peak memory", size(training.get("peak_memory_bytes"))),
        ("Peak memory of the GPU", size(training.get("peak_device_memory_bytes"))),
        ("Device", plain(training.get("device", "not recorded"))),
        ("Threads", plain(training.get("threads", "not recorded"))),
        *((title, show(training[key])) for key, title, show in loop if key in training),
    ]
    shown = tuple(row for row in rows if row[1] != "–")
    blocks: list[Block] = [Table("What the model cost", (Column("Measure"), Column("Value")), shown)]
    if training.get("corpora"):
        blocks.append(_corpora(training["corpora"]))
    if training.get("determinism"):
        text = json.dumps(training["determinism"], indent=2, ensure_ascii=False)
        blocks.append(Details("What the numbers depend on", "threads, instruction set, versions", (), text))
    return blocks


def _by_part(seconds: dict[str, float]) -> str:
    """Most first, as seconds and as a share.

    >>> _by_part({"data": 1.0, "forward": 3.0})
    'forward 3.0 s (75 %), data 1.0 s (25 %)'
    """
    total = sum(seconds.values()) or 1.0
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{part} {value:.1f} s ({100 * value / total:.0f} %)" for part, value in ordered)


_LOOP = (
    ("num_steps", "Steps", integer),
    ("flops_per_token", "Floating-point operations per token", compact),
    ("mfu", "Operations a second, as a fraction of the device's peak", decimal),
    ("seconds", "Time by part", _by_part),
    ("final_train_loss", "Final training loss", decimal),
    ("best_validation_loss", "Best validation loss", decimal),
    ("resumed_from", "Resumed from steps", plain),
    ("skipped_steps", "Steps skipped for a non-finite loss or gradient", plain),
    ("rollbacks", "Returns to the last checkpoint", integer),
)
"""What only a training loop has: key of training.json, title, how it is shown."""


def _corpora(corpora: dict[str, dict[str, float]]) -> Table:
    rows = tuple(
        (name, f"{100 * read['share']:.1f} %", decimal(read["epochs"], 2)) for name, read in sorted(corpora.items())
    )
    columns = (Column("Corpus"), Column("Share of tokens", numeric=True), Column("Epochs", numeric=True))
    return Table("How often the training read each corpus", columns, rows)


def _table(caption: str, values: dict[str, Any]) -> Table:
    rows = tuple((name.replace("_", " "), plain(value)) for name, value in values.items())
    return Table(caption, (Column("Setting"), Column("Value")), rows)
