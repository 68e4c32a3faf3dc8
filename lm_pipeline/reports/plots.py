"""Geometry of the plots: what stands where, in pixels. `templates/plots.html` draws it, coloured by the page's CSS.

Drawn by hand as inline SVG so that plots follow the page's light or dark theme, its fonts (Chinese included) and its
text escaping, and are the same bytes everywhere. Coordinates are rounded to a tenth of a pixel. Where only an image
will do, as in the orchestrator's panels, `curve_png_markdown` gives one.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lm_pipeline.reports.formatting import compact, decimal, integer, interval

MAX_POINTS = 600
"""Points drawn per line: more cannot be told apart on a screen and only make the page heavy."""


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis."""

    position: float
    label: str


@dataclass(frozen=True)
class Line:
    """A series: `points` is an SVG point list, `last` the coordinates of its end, `style` its CSS class."""

    style: str
    points: str
    last: tuple[float, float]


@dataclass(frozen=True)
class Rule:
    """A horizontal reference line at `y`, its label written at `label_y`."""

    style: str
    y: float
    label_y: float
    label: str


@dataclass(frozen=True)
class _Plot:
    """A drawing of `width` by `height`; what it plots lies between the four others."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class CurvePlot(_Plot):
    """Loss against steps, tokens on the upper axis."""

    kind: ClassVar[str] = "curve"
    x_ticks: tuple[Tick, ...]
    token_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class IntervalMark:
    """A measured value with its interval: a dot at `x` on a bar from `low` to `high`."""

    label: str
    value: str
    bounds: str
    style: str
    y: float
    x: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalPlot(_Plot):
    """Values with intervals on one horizontal axis. `stacked` puts labels above their marks, for narrow pages."""

    kind: ClassVar[str] = "interval"
    stacked: bool
    unit: str
    ticks: tuple[Tick, ...]
    marks: tuple[IntervalMark, ...]


@dataclass(frozen=True)
class Measurement:
    """What an interval plot shows of one model: `style` is "model", "self" or "baseline"."""

    label: str
    value: float
    bounds: tuple[float, float]
    style: str


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers between low and high, both included where they are round.

    >>> nice_ticks(0, 1000, 5)
    [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
    >>> nice_ticks(1.93, 2.21, 3)
    [2.0, 2.1, 2.2]
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def series(curve: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """`(step, value)` of the rows of curve.jsonl that have a finite value of that name, in order of steps."""
    points = [(row["step"], row[name]) for row in curve if row.get(name) is not None and math.isfinite(row[name])]
    return sorted(points, key=lambda point: point[0])


def thin(points: Sequence[tuple[float, float]], limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Every k-th point, the last one always among them, such that at most `limit` remain.

    >>> thin([(i, 0.0) for i in range(10)], 4)
    [(0, 0.0), (3, 0.0), (6, 0.0), (9, 0.0)]
    """
    stride = max(1, math.ceil(len(points) / limit))
    return list(points[::-1][::stride][::-1])


def curve_plot(
    curve: Sequence[Mapping[str, Any]], references: Sequence[tuple[str, str, float]], width: int, height: int
) -> CurvePlot | None:
    """Training and validation loss.

    Args:
        curve: rows of curve.jsonl.
        references: (CSS class, label, loss in nats per token) of horizontal lines; those above all else are left out.
        width: of the drawing, in pixels.
        height: of the drawing, in pixels.

    Returns:
        The geometry, or None when the curve has no point.
    """
    train, validation = series(curve, "train_loss"), series(curve, "validation_loss")
    values = [value for _, value in (*train, *validation)]
    if not values:
        return None
    low = min([*values, *(loss for _, _, loss in references if loss >= 0)])
    high = max(values)
    # A reference a little above the first point is worth the room; one far above would flatten the curve.
    high = max([high, *(loss for _, _, loss in references if loss <= high + 0.35 * (high - low))])
    pad = 0.06 * (high - low) or 0.5
    low, high = low - pad, high + pad
    last_step = max(step for step, _ in (*train, *validation))
    left, right, top, bottom = 44.0, width - 14.0, 40.0, height - 42.0

    def x_of(step: float) -> float:
        return round(left + (right - left) * step / max(last_step, 1), 1)

    def y_of(loss: float) -> float:
        return round(bottom - (bottom - top) * (loss - low) / (high - low), 1)

    def line(style: str, points: list[tuple[float, float]]) -> Line:
        drawn = [(x_of(step), y_of(loss)) for step, loss in thin(points)]
        return Line(style, " ".join(f"{x},{y}" for x, y in drawn), drawn[-1])

    steps = nice_ticks(0, last_step, width // 120)
    tokens = series(curve, "tokens")
    per_step = tokens[-1][1] / tokens[-1][0] if tokens and tokens[-1][0] else None
    inside = sorted(
        ((style, label, y_of(loss)) for style, label, loss in references if loss <= high), key=lambda r: r[2]
    )
    return CurvePlot(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=tuple(Tick(x_of(step), f"{step:,.0f}") for step in steps),
        token_ticks=tuple(Tick(x_of(step), compact(step * per_step)) for step in steps) if per_step else (),
        y_ticks=tuple(Tick(y_of(loss), f"{loss:g}") for loss in nice_ticks(low, high, 5)),
        lines=tuple(line(style, points) for style, points in (("train", train), ("validation", validation)) if points),
        rules=tuple(
            Rule(style, y, label_y, label)
            for (style, label, y), label_y in zip(inside, _spread([y - 5 for _, _, y in inside], 14), strict=True)
        ),
    )


def _spread(positions: Sequence[float], distance: float) -> list[float]:
    """Sorted label positions, moved up where they would touch the next one below."""
    spread = list(positions)
    for i in range(len(spread) - 2, -1, -1):
        spread[i] = min(spread[i], spread[i + 1] - distance)
    return spread


def interval_plot(measurements: Sequence[Measurement], unit: str, width: int, stacked: bool) -> IntervalPlot | None:
    """Values with intervals, one row each, in the order given.

    Args:
        measurements: what to show; infinite values have no place on an axis and are left out.
        unit: written under the axis.
        width: of the drawing, in pixels.
        stacked: labels above the marks instead of beside them.

    Returns:
        The geometry, or None when there is nothing finite to show.
    """
    shown = [m for m in measurements if math.isfinite(m.value)]
    if not shown:
        return None
    ends = [end for m in shown for end in (m.value, *m.bounds) if math.isfinite(end)]
    low, high = min(ends), max(ends)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    # A wide character takes about two columns.
    longest = max(sum(2 if ord(char) > 0x2E7F else 1 for char in m.label) for m in shown)
    label_width = min(max(70.0, 7.6 * longest + 14), width * 0.36)
    left, right = (6.0, width - 6.0) if stacked else (label_width, width - 172.0)
    pitch = 44 if stacked else 30
    top = 4.0
    bottom = top + pitch * len(shown) + 2

    def x_of(value: float) -> float:
        return round(left + (right - left) * (min(max(value, low), high) - low) / (high - low), 1)

    marks = tuple(
        IntervalMark(
            label=m.label,
            value=decimal(m.value),
            bounds=interval(m.bounds),
            style=m.style,
            y=round(top + pitch * i + (32 if stacked else pitch / 2), 1),
            x=x_of(m.value),
            low=x_of(m.bounds[0]),
            high=x_of(m.bounds[1]),
        )
        for i, m in enumerate(shown)
    )
    ticks = nice_ticks(low, high, 4 if stacked else 6)
    return IntervalPlot(
        width=width,
        height=int(bottom + 40),
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        stacked=stacked,
        unit=unit,
        ticks=tuple(Tick(x_of(value), f"{value:g}") for value in ticks),
        marks=marks,
    )


def curve_png_markdown(curve: Sequence[Mapping[str, Any]]) -> str:
    """The learning curve as a Markdown image with its bytes inside (about 20 kB), or a sentence when there is none.

    Args:
        curve: rows of curve.jsonl.
    """
    train, validation = series(curve, "train_loss"), series(curve, "validation_loss")
    if len({step for step, _ in (*train, *validation)}) < 2:
        return "No learning curve: the model was counted in one pass."
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.0), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    if train:
        axes.plot(*zip(*thin(train), strict=True), color="#8aa2b1", linewidth=1.2, label="training")
    if validation:
        axes.plot(*zip(*thin(validation), strict=True), color="#0a6b5c", linewidth=2.2, label="validation")
    axes.set_xlabel("steps")
    axes.set_ylabel("loss (nats per token)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e9e4")
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    # Without the program's name in it, equal curves are equal bytes.
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"![{_curve_text(train, validation)}](data:image/png;base64,{data})"


def _curve_text(train: list[tuple[float, float]], validation: list[tuple[float, float]]) -> str:
    ends = [
        f"{name} loss {decimal(points[-1][1])} at step {integer(points[-1][0])}"
        for name, points in (("training", train), ("validation", validation))
        if points
    ]
    return f"Learning curve: {', '.join(ends)}"
