"""All experiments of a dataset side by side: as a page, as JSON and as a table in the terminal."""

import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lm_pipeline.reports.blocks import Figure
from lm_pipeline.reports.data import baseline_measurements
from lm_pipeline.reports.formatting import compact, decimal, duration, integer, interval, perplexity
from lm_pipeline.reports.page import render
from lm_pipeline.reports.plots import Measurement, interval_plot

Status = Literal["built", "stale", "failed", "not materialized", "baseline"]


@dataclass(frozen=True)
class Entry:
    """An experiment as the leaderboard sees it; None is what is not known.

    Attributes:
        status: "built"; "stale" (built, but its inputs or spec have changed since); "failed"; "not materialized".
        message: why it failed or is stale.
        num_parameters: of the model.
        tokens_trained: tokens seen in training.
        wall_seconds: of training.
        tokens_per_second: of training.
        device: where it was trained.
        evaluation: overall measurement on test: documents, tokens, bytes, nll, perplexity, bits_per_byte; intervals.
    """

    experiment: str
    family: str
    status: Status
    message: str = ""
    num_parameters: int | None = None
    tokens_trained: int | None = None
    wall_seconds: float | None = None
    tokens_per_second: float | None = None
    device: str | None = None
    evaluation: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Row:
    """A line of the leaderboard. `rank` counts measured experiments from 1; baselines and the unmeasured have none."""

    rank: int | None
    experiment: str
    family: str
    status: Status
    message: str
    bits_per_byte: float | None
    bits_per_byte_interval: tuple[float, float] | None
    perplexity: float | None
    perplexity_interval: tuple[float, float] | None
    num_parameters: int | None
    tokens_trained: int | None
    wall_seconds: float | None
    tokens_per_second: float | None
    device: str | None


_LAST = {"failed": 1, "not materialized": 2}


def leaderboard_rows(entries: Sequence[Entry], baselines: Mapping[str, Any] | None = None) -> list[Row]:
    """Rows by bits per byte, best first.

    Baselines stand among the experiments as unranked reference rows; failed and unbuilt experiments come last.

    Args:
        entries: the dataset's experiments, in any order.
        baselines: baselines.json of the same test tokens.
    """
    references = [
        Entry(name, "baseline", "baseline", evaluation=measurement)
        for name, measurement in baseline_measurements(dict(baselines or {}))
    ]

    def place(entry: Entry) -> tuple[int, float, str]:
        value = (entry.evaluation or {}).get("bits_per_byte")
        if value is None or math.isnan(value):
            value = math.inf
        return _LAST.get(entry.status, 0), value, entry.experiment

    rows, rank = [], 0
    for entry in sorted([*entries, *references], key=place):
        ranked = entry.status in ("built", "stale") and (entry.evaluation or {}).get("bits_per_byte") is not None
        rank += ranked
        rows.append(_row(entry, rank if ranked else None))
    return rows


def _row(entry: Entry, rank: int | None) -> Row:
    # The numbers of a failed experiment's earlier version would pass for those of the version that failed.
    measured = {} if entry.status in _LAST else dict(entry.evaluation or {})
    message = entry.message
    if measured.get("masked_perplexity") is not None:
        said = f"masked perplexity {perplexity(measured['masked_perplexity'])}, not comparable: it sees both sides"
        message = f"{said}. {message}" if message else said
    return Row(
        rank=rank,
        experiment=entry.experiment,
        family=entry.family,
        status=entry.status,
        message=message,
        bits_per_byte=measured.get("bits_per_byte"),
        bits_per_byte_interval=_pair(measured.get("bits_per_byte_interval")),
        perplexity=measured.get("perplexity"),
        perplexity_interval=_pair(measured.get("perplexity_interval")),
        num_parameters=entry.num_parameters,
        tokens_trained=entry.tokens_trained,
        wall_seconds=entry.wall_seconds,
        tokens_per_second=entry.tokens_per_second,
        device=entry.device,
    )


def _pair(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (bounds[0], bounds[1])


def leaderboard_json(dataset: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The leaderboard as JSON: what `lm-pipeline leaderboard --json` prints.

    Returns:
        {"dataset": its name, "rows": best first, each with the keys
            rank: int from 1, or null for baselines and what is not measured,
            experiment: name ("Unigram" and "Kneser-Ney 5-gram" are the baselines),
            family: "ngram", "rnn", "lstm", "gru", "cnn", "transformer", "encoder" or "baseline",
            status: "built", "stale", "failed", "not materialized" or "baseline",
            message: why it failed or is stale, else "",
            bits_per_byte, perplexity: on the test split, or null,
            bits_per_byte_interval, perplexity_interval: [low, high] or null,
            num_parameters: int or null,
            tokens_trained: int or null,
            wall_seconds, tokens_per_second: of training, or null,
            device: text or null}.
        A number that is not finite is null.
    """
    return {"dataset": dataset, "rows": [_finite(dataclasses.asdict(row)) for row in rows]}


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    def clean(value: Any) -> Any:
        if isinstance(value, tuple):
            return [clean(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: clean(value) for name, value in row.items()}


def write_leaderboard(dataset: str, rows: Sequence[Row], out: Path) -> dict[str, Any]:
    """Write `leaderboard.html`, self-contained, and `leaderboard.json` (see `leaderboard_json`) into the folder `out`.

    Returns:
        {"num_experiments", "num_failed", "best": name of the best experiment or None, "best_bits_per_byte"}.
    """
    page = render(
        "leaderboard.html",
        title=f"Leaderboard · {dataset}",
        dataset=dataset,
        figure=_figure(rows),
        summary=_summary_sentence(rows),
        columns=[title for title, _ in _COLUMNS],
        rows=[(row, [show(row) for _, show in _COLUMNS]) for row in rows],
    )
    (out / "leaderboard.html").write_text(page, "utf-8")
    text = json.dumps(leaderboard_json(dataset, rows), indent=1, ensure_ascii=False, allow_nan=False)
    (out / "leaderboard.json").write_text(text + "\n", "utf-8")
    best = next((row for row in rows if row.rank == 1), None)
    return {
        "num_experiments": sum(row.status != "baseline" for row in rows),
        "num_failed": sum(row.status == "failed" for row in rows),
        "best": best.experiment if best else None,
        "best_bits_per_byte": best.bits_per_byte if best else None,
    }


_COLUMNS = (
    ("Bits per byte", lambda row: decimal(row.bits_per_byte)),
    ("Interval", lambda row: interval(row.bits_per_byte_interval)),
    ("Perplexity", lambda row: perplexity(row.perplexity)),
    ("Parameters", lambda row: compact(row.num_parameters)),
    ("Tokens", lambda row: compact(row.tokens_trained)),
    ("Time", lambda row: duration(row.wall_seconds)),
    ("Tokens/s", lambda row: integer(row.tokens_per_second)),
)


def _figure(rows: Sequence[Row]) -> Figure | None:
    measurements = [
        Measurement(
            row.experiment,
            row.bits_per_byte,
            row.bits_per_byte_interval or (row.bits_per_byte, row.bits_per_byte),
            "baseline" if row.status == "baseline" else "self" if row.rank == 1 else "model",
        )
        for row in rows
        if row.bits_per_byte is not None
    ]
    wide = interval_plot(measurements, "bits per byte", 900, stacked=False)
    narrow = interval_plot(measurements, "bits per byte", 340, stacked=True)
    if wide is None or narrow is None:
        return None
    said = "; ".join(f"{m.label} {decimal(m.value)} ({interval(m.bounds)})" for m in measurements)
    caption = (
        "Bits per byte on the test split with bootstrap intervals over documents; less is better. Open circles are"
        " baselines on the same tokens."
    )
    return Figure(caption, f"Interval plot. Bits per byte, best first: {said}.", wide, narrow)


def _summary_sentence(rows: Sequence[Row]) -> str:
    """What a reader should take away first."""
    best = next((row for row in rows if row.rank == 1), None)
    if best is None:
        return "No experiment has been measured on this dataset yet."
    sentence = f"Best of {sum(row.rank is not None for row in rows)} measured: {best.experiment} with"
    sentence += f" {decimal(best.bits_per_byte)} bits per byte."
    failed = sum(row.status == "failed" for row in rows)
    return f"{sentence} {failed} failed." if failed else sentence


def terminal_table(rows: Sequence[Row], width: int | None = None) -> str:
    """The leaderboard for a terminal: plain text without colour.

    Columns that tell models apart come first; those that describe cost are left out where they do not fit.

    Args:
        rows: as from `leaderboard_rows`.
        width: columns; None takes the terminal's, between 80 and 120 (100 when piped).
    """
    import shutil

    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = width or min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)
    columns = {title: [show(row) for row in rows] for title, show in _TERMINAL.items()}
    needed = {title: 2 + max(map(cell_len, [title, *cells])) for title, cells in columns.items()}
    shown: set[str] = set(_ESSENTIAL)
    for title in _OPTIONAL:
        if sum(needed[name] for name in shown) + needed[title] <= width:
            shown.add(title)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title in columns:
        if title in shown:
            is_name = title in ("experiment", "family", "status")
            table.add_column(title, justify="left" if is_name else "right", no_wrap=True)
    for i in range(len(rows)):
        table.add_row(*(Text(cells[i]) for title, cells in columns.items() if title in shown))
    buffer = io.StringIO()
    console = Console(file=buffer, width=max(width, sum(needed[name] for name in _ESSENTIAL)), color_system=None)
    console.print(table)
    notes = [f"{row.experiment} ({row.status}): {row.message}" for row in rows if row.message]
    lines = [line.rstrip() for line in buffer.getvalue().splitlines()]
    return "\n".join([*lines, *([""] if notes else []), *notes])


_TERMINAL = {
    "#": lambda row: str(row.rank or ""),
    "experiment": lambda row: f"({row.experiment})" if row.status == "baseline" else row.experiment,
    "family": lambda row: row.family,
    "bits/byte": lambda row: decimal(row.bits_per_byte),
    "interval": lambda row: interval(row.bits_per_byte_interval),
    "perplexity": lambda row: perplexity(row.perplexity),
    "parameters": lambda row: compact(row.num_parameters),
    "tokens": lambda row: compact(row.tokens_trained),
    "time": lambda row: duration(row.wall_seconds),
    "tokens/s": lambda row: integer(row.tokens_per_second),
    "status": lambda row: "" if row.status == "baseline" else row.status,
}
"""Columns of the terminal table, in order."""

_ESSENTIAL = ("#", "experiment", "bits/byte", "status")
_OPTIONAL = ("interval", "parameters", "perplexity", "time", "tokens/s", "tokens", "family")
"""Columns that go in while there is room, most telling first."""
