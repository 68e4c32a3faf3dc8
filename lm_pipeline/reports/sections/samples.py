"""Generated text, as it came out."""

from typing import Any

from lm_pipeline.reports.blocks import Block, Paragraph, Sample
from lm_pipeline.reports.data import ReportData
from lm_pipeline.reports.formatting import plain


def samples(data: ReportData) -> list[Block]:
    """Each sample after its prompt, with the seed that repeats it."""
    if not data.samples:
        return [Paragraph("No samples were asked for.")]
    settings = data.spec.get("evaluation", {}).get("samples", {})
    shown = [("temperature", "temperature"), ("top_k", "top-k"), ("max_tokens", "tokens at most")]
    said = ", ".join(f"{title} {plain(settings[key])}" for key, title in shown if key in settings)
    intro = f"Not selected: every sample that was drawn is here ({said or 'default settings'})."
    return [Paragraph(f"{intro} The prompt is underlined.", "aside"), *(_sample(item) for item in data.samples)]


def _sample(item: dict[str, Any]) -> Sample:
    prompt, text = item.get("prompt", ""), item.get("text", "")
    return Sample(prompt, text, item.get("seed", 0), item.get("num_tokens"), language_of(prompt + text))


def language_of(text: str) -> str:
    """A language code by script, for the choice of fonts only.

    >>> language_of("第一条 为了保护"), language_of("The list is"), language_of("")
    ('zh-Hans', 'en', 'en')
    """
    han = sum(1 for char in text if "\u4e00" <= char <= "\u9fff")
    return "zh-Hans" if han > 0.2 * max(len(text), 1) else "en"
