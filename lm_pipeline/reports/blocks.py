"""What a report section is made of. A section says what to show; `templates/blocks.html` alone knows how it looks."""

from dataclasses import dataclass, field
from typing import ClassVar

from lm_pipeline.reports.plots import CurvePlot, IntervalPlot


@dataclass(frozen=True)
class Paragraph:
    """Running text. `tone` is "plain", "aside" (smaller) or "warning"."""

    kind: ClassVar[str] = "paragraph"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers are set flush right, short text is kept on one line."""

    title: str
    numeric: bool = False
    short: bool = False


@dataclass(frozen=True)
class Table:
    """A captioned table whose first column heads its rows.

    Attributes:
        rows: cells as text, as many as columns.
        emphasised: indices of rows that are set bold.
        code: titles of columns that hold digests or paths, set in the monospaced face.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: frozenset[int] = frozenset()
    code: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FunnelRow:
    """One line of a funnel.

    Attributes:
        role: "stage" (what is there), "loss" (what left), "reason" (a part of a loss), "result" (where the rest went).
        fraction: of the funnel's first line, from 0 to 1: the bar's length.
    """

    label: str
    count: int
    fraction: float
    role: str
    share: str


@dataclass(frozen=True)
class Funnel:
    """Counts from the first stage to the last, or of other lines that `heading` names, each with a bar."""

    kind: ClassVar[str] = "funnel"
    caption: str
    unit: str
    rows: tuple[FunnelRow, ...]
    heading: str = "Stage"


@dataclass(frozen=True)
class LegendEntry:
    """A line of a plot's legend; `style` is the CSS class of the series."""

    style: str
    text: str


@dataclass(frozen=True)
class Figure:
    """A plot drawn twice, for wide and for narrow pages, with its legend and a text that says the same in words."""

    kind: ClassVar[str] = "figure"
    caption: str
    description: str
    wide: CurvePlot | IntervalPlot
    narrow: CurvePlot | IntervalPlot
    legend: tuple[LegendEntry, ...] = ()


@dataclass(frozen=True)
class Sample:
    """Generated text, after the prompt that it continues. `language` is a BCP 47 code for the browser's fonts."""

    kind: ClassVar[str] = "sample"
    prompt: str
    text: str
    seed: int
    num_tokens: int | None
    language: str


@dataclass(frozen=True)
class Details:
    """Something to unfold: facts by name, and a text such as a spec in JSON."""

    kind: ClassVar[str] = "details"
    title: str
    hint: str
    facts: tuple[tuple[str, str], ...]
    code: str = ""
    tables: tuple[Table, ...] = field(default=())


Block = Paragraph | Table | Funnel | Figure | Sample | Details
