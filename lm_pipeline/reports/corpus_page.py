"""The page of a corpus: where its records went, what its documents are like, samples of every fate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_pipeline.reports.blocks import Block, Column, Details, Funnel, FunnelRow, Paragraph, Table
from lm_pipeline.reports.formatting import decimal, integer, measured, share
from lm_pipeline.reports.page import render
from lm_pipeline.reports.sections.funnel import corpus_funnel

QUANTILES = ("1 %", "25 %", "median", "75 %", "99 %")
"""How the quantiles of `corpus.quality.profile.QUANTILES` are called."""


@dataclass(frozen=True)
class PageSection:
    """A part of a page: its anchor, its heading, its blocks."""

    anchor: str
    title: str
    blocks: list[Block]


def write_corpus_page(name: str, summary: Mapping[str, Any], profile: Mapping[str, Any], out: Path) -> None:
    """Write the page; it loads nothing, runs no script and escapes all text.

    Args:
        name: the corpus's.
        summary: of `documents`.
        profile: of `corpus.quality.profile.profile_corpus`.
        out: the file.
    """
    samples = profile["samples"]
    sections = [
        *corpus_sections(name, summary, profile),
        PageSection("kept", "Kept documents", [_document(sample) for sample in samples["kept"]]),
        PageSection("rejected", "Rejected documents", _by_reason(samples["rejected"], _document)),
        PageSection("quarantined", "Records that could not be read", _by_reason(samples["quarantined"], _record)),
    ]
    write_page(name, "Corpus", [section for section in sections if section.blocks], out)


def corpus_sections(name: str, summary: Mapping[str, Any], profile: Mapping[str, Any]) -> list[PageSection]:
    """The numbers of a corpus: all of its page but the samples."""
    return [
        PageSection("funnel", "Where every record went", corpus_funnel(name, dict(summary))),
        PageSection("lengths", "Lengths", _lengths(profile["lengths"])),
        PageSection("languages", "Languages", _languages(profile)),
        PageSection("personal_data", "Personal data", _personal_data(summary["personal_data"])),
        PageSection("domains", "Domains", _domains(profile["domains"], summary["kept"])),
        PageSection("statistics", "What was measured", [_distributions(profile["distributions"])]),
    ]


def write_page(title: str, of: str, sections: Sequence[PageSection], out: Path) -> None:
    """Render sections into one self-contained page."""
    page = render("statistics.html", title=title, of=of, sections=sections)
    out.write_text(page, "utf-8")


def bars(caption: str, heading: str, unit: str, counts: Sequence[tuple[str, int]]) -> Funnel:
    """A histogram: each line's bar is its share of the longest line."""
    total, longest = sum(n for _, n in counts), max((n for _, n in counts), default=0)
    rows = tuple(FunnelRow(label, n, n / longest if longest else 0.0, "stage", share(n, total)) for label, n in counts)
    return Funnel(caption, unit, rows, heading)


def _lengths(lengths: Mapping[str, Sequence[Sequence[int]]]) -> list[Block]:
    return [
        bars(
            f"Kept documents by number of {unit}",
            unit.capitalize(),
            "documents",
            [(f"{integer(low)} to {integer(below - 1)}" if below > low + 1 else str(low), n) for low, below, n in bins],
        )
        for unit, bins in lengths.items()
        if bins
    ]


def _languages(profile: Mapping[str, Any]) -> list[Block]:
    columns = (Column("Kept", numeric=True), Column("Rejected", numeric=True), Column("Share rejected", numeric=True))
    titles = {"languages": "Language", "chinese_scripts": "Chinese script", "profiles": "Cleaning profile"}
    return [
        Table(
            f"Documents by {title if title.startswith('Chinese') else title.lower()}",
            (Column(title), *columns),
            tuple(
                (value or "–", integer(kept), integer(rejected), share(rejected, kept + rejected))
                for value, (kept, rejected) in profile[key].items()
            ),
        )
        for key, title in titles.items()
        if profile[key]
    ]


def _domains(domains: Sequence[Sequence[Any]], kept: int) -> list[Block]:
    if not domains:
        return []
    listed = sum(n for _, n in domains)
    rest = f"; {integer(kept - listed)} others, or without an address" if kept > listed else ""
    return [
        bars("Kept documents by domain", "Domain", "documents", [tuple(item) for item in domains]),
        Paragraph(f"The {len(domains)} most frequent{rest}.", "aside"),
    ]


def _personal_data(found: Mapping[str, int]) -> list[Block]:
    rows = tuple((kind, integer(number)) for kind, number in found.items())
    caption = "Values of personal data in kept documents, whether left, masked or hashed"
    return [Table(caption, (Column("Kind"), Column("Found", numeric=True)), rows)] if rows else []


def _distributions(distributions: Mapping[str, Mapping[str, Any]]) -> Table:
    def cell(value: float | None) -> str:
        return integer(value) if value is None or value == round(value) else decimal(value)

    rows = tuple(
        (name, *(cell(value) for value in measured["quantiles"]), integer(measured["without"]))
        for name, measured in distributions.items()
    )
    columns = (Column("Statistic"), *(Column(q, numeric=True) for q in QUANTILES), Column("No value", numeric=True))
    return Table("Quantiles over kept documents; what each is stands in docs/data-formats.md", columns, rows)


def _by_reason(samples: Mapping[str, Sequence[Mapping[str, Any]]], show: Any) -> list[Block]:
    blocks: list[Block] = []
    for reason, found in samples.items():
        blocks.append(Paragraph(reason))
        blocks += [show(sample) for sample in found]
    return blocks


def _document(sample: Mapping[str, Any]) -> Details:
    text, length = sample["text"], sample["num_characters"]
    facts = [("document", sample["document_id"]), ("file", sample["file"]), ("record", str(sample["record"]))]
    facts += [(key, sample[key]) for key in ("title", "url") if sample[key]]
    facts += [(item["rule"], f"{integer(item['characters'])} characters taken out") for item in sample["removals"]]
    facts += [(reason["rule"], measured(reason["value"], reason["threshold"])) for reason in sample["reasons"]]
    more = f"\n… {integer(length - len(text))} more characters" if length > len(text) else ""
    return Details(first_words(text), f"{sample['language']}, {integer(length)} characters", tuple(facts), text + more)


def _record(sample: Mapping[str, Any]) -> Details:
    place = "the file" if sample["record"] is None else f"record {sample['record']}"
    facts = (("file", sample["file"]), ("byte", integer(sample["byte_offset"])), ("detail", sample["detail"]))
    return Details(f"{sample['file']}, {place}", "quarantined", facts, sample["excerpt"])


def first_words(text: str, length: int = 80) -> str:
    r"""The beginning of a text on one line.

    >>> first_words("A line\n\nand another, which is longer", 20)
    'A line and another,…'
    """
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
