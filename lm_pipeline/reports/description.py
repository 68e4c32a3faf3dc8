"""What `lm-pipeline describe` prints: a model's layers and costs as plain text."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lm_pipeline.reports.formatting import duration, size


def description_text(name: str, value: Mapping[str, Any]) -> str:
    """The description of an experiment's model (see `models.description.describe_model`)."""
    memory, disk, training, inference = (value[key] for key in ("memory_bytes", "disk_bytes", "training", "inference"))
    flops, theirs = value["flops_per_token"], value["huggingface"]
    snapshots = f", {size(disk['snapshots'])} of snapshots" if disk["snapshots"] else ""
    average = f" average {size(memory['average'])}," if memory["average"] else ""
    trained = value["trained_parameters"]
    part = f" of which {trained:,} are trained," if trained != value["parameters"] else ""
    lines = [f"{name}: {value['family']}, {value['parameters']:,} parameters,{part} {value['vocab_size']:,} pieces", ""]
    lines += layer_lines(value["layers"])
    lines += [
        "",
        f"FLOPs per token   {si(flops['forward'])} forward, {si(flops['training'])} in training",
        (
            f"memory, training  {size(memory['training'])}: weights {size(memory['weights'])},"
            f" gradients {size(memory['gradients'])}, optimizer {size(memory['optimizer'])},"
            f"{average}"
            f" activations {size(memory['activations'])}, output {size(memory['output'])}"
        ),
        f"memory, use       {size(memory['inference'])}, of which {size(memory['state_per_row'])} remember a row",
        f"disk              {size(disk['model'])}, and {size(disk['checkpoint'])} for each saved state{snapshots}",
        (
            f"training          {si(training['tokens'])} tokens, {si(training['flops'])}FLOP:"
            f" {duration(training['seconds_at_peak'])} at peak, about {duration(training['seconds_typical'])}"
        ),
        (
            f"use               {si(inference['prefill_tokens_per_second'])} tokens/s read,"
            f" {si(inference['decode_tokens_per_second'])} tokens/s written, at most"
        ),
        f"Hugging Face      {theirs['form'] or 'no: ' + theirs['problem']}",
        f"machine           {si(value['peak_flops'])}FLOP/s, {size(value['memory_bandwidth'])}/s ({value['machine']})",
    ]
    for title, norms in value.get("gradients", {}).items():
        lines += ["", f"gradient of the last prediction by each token before it, {title}:", *gradient_lines(norms)]
    return "\n".join(lines)


def layer_lines(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    r"""A line per tensor; those that differ in a number alone share one.

    >>> rows = [{"name": f"block.{i}.weight", "shape": [2, 3], "parameters": 6} for i in range(3)]
    >>> print("\n".join(layer_lines(rows)))
    layer               shape  parameters
    block.{0–2}.weight  2 x 3       3 x 6
    """
    grouped: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for row in layers:
        key = re.sub(r"\.\d+\.", ".#.", row["name"], count=1), tuple(row["shape"])
        grouped.setdefault(key, []).append(row["name"])
    cells = [("layer", "shape", "parameters")]
    for (pattern, shape), names in grouped.items():
        label = names[0]
        if len(names) > 1:
            first, last = (re.search(r"\.(\d+)\.", name) for name in (names[0], names[-1]))
            assert first is not None
            assert last is not None
            label = pattern.replace("#", f"{{{first[1]}–{last[1]}}}")
        count = f"{math.prod(shape):,}"
        cells.append((label, " x ".join(map(str, shape)), f"{len(names)} x {count}" if len(names) > 1 else count))
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return [f"{a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in cells]


def gradient_lines(norms: Sequence[float], num_lines: int = 12, width: int = 40) -> list[str]:
    """Norms by distance, 0 being the token just before the prediction; a bar's length is logarithmic.

    Args:
        norms: of the tokens in their order.
        num_lines: distances shown.
        width: longest bar, over ten powers of ten.
    """
    by_distance = list(reversed(norms))
    shown = sorted({round(i * (len(norms) - 1) / max(1, num_lines - 1)) for i in range(num_lines)})
    nearest = by_distance[0] or 1.0
    lines = []
    for distance in shown:
        share = by_distance[distance] / nearest
        bar = round(width * max(0.0, 1 + math.log10(max(share, 1e-10)) / 10))
        lines.append(f"  {distance:5} tokens back  {share:9.2e}  {'#' * min(bar, width)}".rstrip())
    return lines


def si(value: float) -> str:
    """A count with the prefix of its power of a thousand.

    >>> si(950), si(2_500_000), si(3.1e15)
    ('950 ', '2.50 M', '3.10 P')
    """
    power = min(int(math.log10(max(value, 1)) // 3), 6)
    if power == 0:
        return f"{value:.0f} "
    return f"{value / 1000**power:.2f} {'kMGTPE'[power - 1]}"
