"""The report of one experiment: a self-contained page that says what was done, with what, and how well it went."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_pipeline.reports.blocks import Block
from lm_pipeline.reports.data import ReportData, baseline_measurements, overall_on_test
from lm_pipeline.reports.page import render
from lm_pipeline.reports.sections.funnel import funnel
from lm_pipeline.reports.sections.learning import learning
from lm_pipeline.reports.sections.lineage import lineage
from lm_pipeline.reports.sections.results import figures, headline, results
from lm_pipeline.reports.sections.samples import samples
from lm_pipeline.reports.sections.settings import cost, settings
from lm_pipeline.reports.sections.tokenizer import tokenizer

__all__ = ["SECTIONS", "ReportData", "write_report"]


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its heading and what it shows."""

    anchor: str
    title: str
    blocks: Callable[[ReportData], list[Block]]


SECTIONS = (
    Section("results", "Results per corpus", results),
    Section("learning", "Learning curves", learning),
    Section("samples", "Samples", samples),
    Section("data", "Where every record went", funnel),
    Section("tokenizer", "Tokenizer", tokenizer),
    Section("settings", "Settings", settings),
    Section("cost", "Cost", cost),
    Section("lineage", "Lineage", lineage),
)
"""The page's sections in order, after the headline."""


def write_report(data: ReportData, out: Path) -> dict[str, Any]:
    """Write `report.html` into the folder `out`.

    The page loads nothing, runs no script and is the same bytes for the same data.

    Returns:
        {"num_bytes": of the page, "sections": anchors, "bits_per_byte", "bits_per_byte_interval", "perplexity": of the
        model on test (None where not measured), "baselines": {name: bits per byte}}.
    """
    html = render(
        "report.html",
        title=f"{data.experiment} · {data.spec.get('dataset', '')}",
        experiment=data.experiment,
        dataset=data.spec.get("dataset", ""),
        family=data.spec.get("model", {}).get("family", ""),
        description=data.spec.get("description", ""),
        figures=figures(data),
        headline=headline(data),
        sections=[(section, section.blocks(data)) for section in SECTIONS],
    )
    page = html.encode()
    (out / "report.html").write_bytes(page)
    overall = overall_on_test(data)
    return {
        "num_bytes": len(page),
        "sections": [section.anchor for section in SECTIONS],
        "bits_per_byte": overall.get("bits_per_byte"),
        "bits_per_byte_interval": overall.get("bits_per_byte_interval"),
        "perplexity": overall.get("perplexity"),
        "baselines": {name: item["bits_per_byte"] for name, item in baseline_measurements(data.baselines)},
    }
