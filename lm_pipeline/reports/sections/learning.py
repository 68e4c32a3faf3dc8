"""Learning curves: loss against steps and tokens, between uniform guessing and the baselines."""

import math
from typing import Any

from lm_pipeline.reports.blocks import Block, Column, Figure, LegendEntry, Paragraph, Table
from lm_pipeline.reports.data import ReportData, baseline_measurements
from lm_pipeline.reports.formatting import decimal, integer, perplexity
from lm_pipeline.reports.plots import MAX_POINTS, curve_plot, series


def learning(data: ReportData) -> list[Block]:
    """The curve with its references, and the validations as numbers."""
    if len({row["step"] for row in data.curve}) < 2:
        loss = data.training.get("best_validation_loss")
        measured = "" if loss is None else f" Its loss on all validation documents is {decimal(loss)} nats per token."
        return [Paragraph(f"No learning curve: this model was counted in one pass, not trained in steps.{measured}")]
    references = _references(data)
    wide = curve_plot(data.curve, references, 720, 380)
    narrow = curve_plot(data.curve, references, 340, 320)
    if wide is None or narrow is None:
        return [Paragraph("No learning curve: no logged loss was finite.", "warning")]
    train, validation = series(data.curve, "train_loss"), series(data.curve, "validation_loss")
    named = [("train", "Training loss, per logged step", train), ("validation", "Validation loss", validation)]
    legend = [LegendEntry(style, f"{text}, ending at {decimal(p[-1][1])}") for style, text, p in named if p]
    legend += [LegendEntry(style, f"{label}: {decimal(loss)}") for style, label, loss in references]
    description = " ".join(_said(text, points) for _, text, points in named if points)
    stride = math.ceil(len(train) / MAX_POINTS)
    thinned = f" Every {stride}th logged point is drawn." if stride > 1 else ""
    caption = f"Loss in nats per token against optimizer steps, tokens seen on the upper axis.{thinned}"
    blocks: list[Block] = [Figure(caption, f"Line plot. {description}", wide, narrow, tuple(legend))]
    if validation:
        blocks.append(_validations(validation, data.training))
    return blocks


def _references(data: ReportData) -> list[tuple[str, str, float]]:
    references = [
        (style, f"{name} on test", item["nll"] / item["tokens"])
        for (name, item), style in zip(baseline_measurements(data.baselines), ("unigram", "ngram"), strict=False)
        if item.get("tokens") and "nll" in item
    ]
    uniform = data.training.get("uniform_loss")
    return references if uniform is None else [("uniform", "Uniform guessing", uniform), *references]


def _said(text: str, points: list[tuple[float, float]]) -> str:
    best_step, best = min(points, key=lambda point: point[1])
    return (
        f"{text} falls from {decimal(points[0][1])} at step {integer(points[0][0])} to {decimal(points[-1][1])} at step"
        f" {integer(points[-1][0])}; its least is {decimal(best)} at step {integer(best_step)}."
    )


def _validations(validation: list[tuple[float, float]], training: dict[str, Any]) -> Table:
    stride = math.ceil(len(validation) / 12)
    best_step = training.get("best_step", min(validation, key=lambda point: point[1])[0])
    shown = [point for i, point in enumerate(validation[::-1]) if i % stride == 0 or point[0] == best_step][::-1]
    rows = tuple(
        (
            f"{integer(step)}{' (best)' if step == best_step else ''}",
            decimal(loss),
            perplexity(math.exp(min(loss, 700))),
        )
        for step, loss in shown
    )
    columns = (Column("Step"), Column("Loss", numeric=True), Column("Perplexity", numeric=True))
    best = frozenset(i for i, (step, _) in enumerate(shown) if step == best_step)
    caption = "Validations during training, always on the same batches"
    return Table(caption if stride == 1 else f"{caption}; every {stride}th and the best", columns, rows, best)
