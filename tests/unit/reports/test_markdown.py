"""Markdown for the orchestrator's panels."""

import base64

from lm_pipeline.reports.markdown import funnel_markdown
from lm_pipeline.reports.plots import curve_png_markdown
from lm_pipeline.reports.sections.funnel import corpus_funnel, dataset_funnel


def test_curve_is_an_image_with_a_text_and_the_same_bytes_each_time(report_data):
    markdown = curve_png_markdown(report_data.curve)
    assert markdown == curve_png_markdown(report_data.curve)
    text, _, data = markdown.partition("](data:image/png;base64,")
    assert text.startswith("![Learning curve: training loss 4.")
    png = base64.b64decode(data.removesuffix(")"))
    assert png.startswith(b"\x89PNG")
    assert len(png) < 60_000


def test_no_curve_is_said():
    assert "counted" in curve_png_markdown([])
    assert "counted" in curve_png_markdown([{"step": 1, "validation_loss": 4.8}])


def test_funnel_is_a_table_with_bars(report_data):
    markdown = funnel_markdown(corpus_funnel("python_docs", report_data.corpora["python_docs"]))
    assert "| **Raw records** | 12,114 | 100 % | ████████████████████████ |" in markdown
    assert "| – min\\_words | 1,246 | 10.3 % | ██ |" in markdown
    assert "Every one is accounted for." in markdown
    whole = dataset_funnel("mixed", report_data.splits, list(report_data.corpora.values()))
    assert "| Exact duplicates | −1,203 | 8.5 % | ██ |" in funnel_markdown(whole)


def test_a_hostile_reason_stays_text():
    markdown = funnel_markdown(corpus_funnel("c", {"records_in": 1, "rejected": 1, "reasons": {"<b>|x": 1}}))
    assert "&lt;b&gt;\\|x" in markdown
