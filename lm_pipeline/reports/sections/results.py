"""The headline, and the same measurements per corpus."""

from typing import Any

from lm_pipeline.reports.blocks import Block, Column, Figure, Paragraph, Table
from lm_pipeline.reports.data import BASELINES, ReportData, baseline_measurements, overall_on_test
from lm_pipeline.reports.formatting import decimal, integer, interval, perplexity, perplexity_interval
from lm_pipeline.reports.plots import Measurement, interval_plot

PROTOCOL = (
    "Every token after the beginning of a document, and its end, is predicted once from the document's own earlier"
    " tokens; perplexity is the exponential of the mean negative log-likelihood per predicted token, bits per byte the"
    " total in bits over the UTF-8 bytes of the text, so it can be compared across tokenizers."
)
MASKED_PROTOCOL = (
    "This model fills gaps: each token after the beginning was hidden once, with others as in training, and predicted"
    " from both sides. Its masked perplexity is {value} ({bounds}); that is no perplexity of a text and cannot be"
    " compared with those below."
)

MEASURES = (
    Column("Bits per byte", numeric=True),
    Column("Interval", numeric=True),
    Column("Perplexity", numeric=True),
    Column("Interval", numeric=True),
    Column("Documents", numeric=True),
    Column("Tokens", numeric=True),
)


def headline(data: ReportData) -> list[Block]:
    """The comparison in a sentence and a plot; the page's masthead shows the number itself."""
    overall, baselines = overall_on_test(data), baseline_measurements(data.baselines)
    sentences = [comparison(overall, name, measurement) for name, measurement in baselines]
    blocks: list[Block] = [Paragraph(" ".join(filter(None, sentences)))] if any(sentences) else []
    rows = [measured(name, item, "baseline") for name, item in baselines]
    if overall.get("bits_per_byte") is not None:
        rows.append(measured(data.experiment, overall, "self"))
    rows.sort(key=lambda row: row.value)
    wide, narrow = interval_plot(rows, UNIT, 700, stacked=False), interval_plot(rows, UNIT, 340, stacked=True)
    if wide and narrow:
        said = "; ".join(f"{row.label} {decimal(row.value)} ({interval(row.bounds)})" for row in rows)
        caption = "Bits per byte on the test split with bootstrap intervals over documents; less is better."
        blocks.append(Figure(caption, f"Interval plot. Bits per byte: {said}.", wide, narrow))
    return blocks


UNIT = "bits per byte"


def measured(label: str, measurement: dict[str, Any], style: str) -> Measurement:
    """A row of an interval plot; without an interval it is the value itself."""
    value = measurement["bits_per_byte"]
    low, high = measurement.get("bits_per_byte_interval") or (value, value)
    return Measurement(label, value, (low, high), style)


def comparison(overall: dict[str, Any], name: str, baseline: dict[str, Any]) -> str:
    """How much better or worse the model is than a baseline on the same tokens.

    >>> comparison({"bits_per_byte": 1.5}, "Unigram", {"bits_per_byte": 2.0})
    '25.0 % fewer bits than the Unigram baseline (2.000).'
    """
    ours, theirs = overall.get("bits_per_byte"), baseline.get("bits_per_byte")
    if ours is None or not theirs:
        return ""
    percent = 100 * abs(ours / theirs - 1)
    word = "fewer" if ours < theirs else "more"
    return f"{percent:.1f} % {word} bits than the {name} baseline ({theirs:.3f})."


def results(data: ReportData) -> list[Block]:
    """A table per corpus, baselines on the same tokens among its rows, and the validation split."""
    test = data.evaluation.get("test", {})
    level = data.spec.get("evaluation", {}).get("confidence", 0.95)
    corpora = test.get("corpora", {})
    blocks: list[Block] = [Paragraph(PROTOCOL, "aside")]
    if (value := overall_on_test(data).get("masked_perplexity")) is not None:
        bounds = perplexity_interval(overall_on_test(data).get("masked_perplexity_interval"))
        blocks.append(Paragraph(MASKED_PROTOCOL.format(value=perplexity(value), bounds=bounds)))
    blocks += [_table("All test documents", data, None, level)]
    if len(corpora) > 1:
        blocks += [_table(f"Test documents of {name}", data, name, level) for name in sorted(corpora)]
    elif corpora:
        blocks.append(Paragraph(f"All test documents come from one corpus, {next(iter(corpora))}."))
    validation = data.evaluation.get("validation", {})
    parts = [("All", validation.get("overall", {})), *sorted(validation.get("corpora", {}).items())]
    if validation:
        columns = (Column("Corpus"), *(column for column in MEASURES if column.title != "Interval"))
        rows = tuple((name, *_cells(item, with_intervals=False)) for name, item in parts)
        blocks.append(Table("Validation documents, measured in the same way", columns, rows, frozenset({0})))
    return blocks


def _table(caption: str, data: ReportData, corpus: str | None, level: float) -> Table:
    """The model and the baselines on one corpus, or on all when it is None; best first."""
    named = [(data.experiment, data.evaluation.get("test", {}))]
    named += [(title, data.baselines[key]) for key, title in BASELINES.items() if key in data.baselines]
    measurements = []
    for name, part in named:
        item = part.get("overall", {}) if corpus is None else part.get("corpora", {}).get(corpus, {})
        measurements.append((name, item))
    measurements.sort(key=lambda pair: pair[1].get("bits_per_byte") or float("inf"))
    rows = tuple((name, *_cells(item)) for name, item in measurements)
    ours = frozenset(i for i, (name, _) in enumerate(measurements) if name == data.experiment)
    return Table(f"{caption}, with {100 * level:g} % intervals", (Column("Model"), *MEASURES), rows, ours)


def _cells(item: dict[str, Any], with_intervals: bool = True) -> tuple[str, ...]:
    cells = (
        decimal(item.get("bits_per_byte")),
        interval(item.get("bits_per_byte_interval")),
        perplexity(item.get("perplexity")),
        perplexity_interval(item.get("perplexity_interval")),
        integer(item.get("documents")),
        integer(item.get("tokens")),
    )
    return cells if with_intervals else (cells[0], cells[2], *cells[4:])


def figures(data: ReportData) -> dict[str, str]:
    """The masthead's numbers, as text."""
    overall = overall_on_test(data)
    return {
        "bits_per_byte": decimal(overall.get("bits_per_byte")),
        "interval": interval(overall.get("bits_per_byte_interval")),
        "perplexity": perplexity(overall.get("perplexity")),
        "perplexity_interval": perplexity_interval(overall.get("perplexity_interval")),
        "level": f"{100 * data.spec.get('evaluation', {}).get('confidence', 0.95):g} %",
    }
