"""Funnels as Markdown, for the metadata panels of the orchestrator's web page."""

from collections.abc import Sequence

from lm_pipeline.reports.blocks import Block, Funnel, Paragraph
from lm_pipeline.reports.formatting import integer

_BAR_WIDTH = 24


def funnel_markdown(blocks: Sequence[Block]) -> str:
    """Funnels as Markdown tables with bars of text, their notes below.

    Args:
        blocks: as from `sections.funnel.corpus_funnel` or `dataset_funnel`.
    """
    parts = []
    for block in blocks:
        if isinstance(block, Funnel):
            parts.append(_table(block))
        elif isinstance(block, Paragraph) and block.text:
            text = _escape(block.text)
            parts.append(f"**{text}**" if block.tone == "warning" else text)
    return "\n\n".join(parts)


def _table(funnel: Funnel) -> str:
    lines = [f"| {_escape(funnel.caption)} | {funnel.unit} | share | |", "|:--|--:|--:|:--|"]
    for row in funnel.rows:
        strong = "**" if row.role in ("stage", "result") else ""
        label = f"{'– ' if row.role == 'reason' else ''}{strong}{_escape(row.label)}{strong}"
        sign = "−" if row.role == "loss" and row.count else ""
        bar = "█" * round(_BAR_WIDTH * row.fraction)
        lines.append(f"| {label} | {sign}{integer(row.count)} | {_escape(row.share)} | {bar} |")
    return "\n".join(lines)


def _escape(text: str) -> str:
    r"""Text that Markdown and HTML take literally.

    >>> print(_escape("a|b <script> min_words"))
    a\|b &lt;script&gt; min\_words
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for char in "\\|*_`[]":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())
