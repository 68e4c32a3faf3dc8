"""All families on one dataset, at equal parameters and equal compute: docs/families.md.

    LM_PIPELINE_HOME=build/families python benchmarks/families.py

Builds what is not current of the experiments below docs/examples/experiments/families, then writes the tables of the
page and its pictures, `families-DATASET.svg` and `gradients-DATASET.svg` in docs/images. In a fresh home it trains
everything anew, in about a quarter of an hour on two cores. There is no peer: families are compared with each other.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from measuring import ROOT, replace_table, write_result

from lm_pipeline.artifacts import Store
from lm_pipeline.describe import describe_experiment
from lm_pipeline.project import Project, load_project
from lm_pipeline.reports.description import si
from lm_pipeline.reports.formatting import decimal, integer, interval
from lm_pipeline.specs.experiment import ExperimentSpec

PAGE, IMAGES, DEFS = Path("docs/families.md"), ROOT / "docs/images", ROOT / "docs/examples"

NAMES = {
    "rnn": "RNN (tanh)",
    "gru": "GRU",
    "lstm": "LSTM",
    "cnn": "gated CNN",
    "gpt2": "Transformer, GPT-2 form",
    "llama": "Transformer, Llama form",
}
"""Last word of an experiment's name -> the family, in the order of the tables."""
COLOURS = dict(zip(NAMES, ("#999999", "#e69f00", "#d55e00", "#009e73", "#56b4e9", "#0072b2"), strict=True))
DATASETS = {"python_docs": "English", "chinese_law": "Chinese"}
COUNTED = "ngram"


@dataclass(frozen=True)
class Trained:
    """One trained experiment.

    Attributes:
        spec: its declaration.
        training: its `training.json`.
        points: (FLOPs, seconds in steps, loss in nats per token) of each validation.
        overall: its measurements on the test split.
    """

    spec: ExperimentSpec
    training: dict[str, Any]
    points: list[tuple[float, float, float]]
    overall: dict[str, Any]


def main() -> None:
    """Train, measure, write."""
    os.environ["LM_PIPELINE_DEFS"] = str(DEFS)
    command = Path(sys.executable).with_name("lm-pipeline")
    subprocess.run([command, "init"], check=True)
    declared = load_project().declarations
    folder = DEFS / "experiments" / "families"
    names = [n for n in declared.experiments if folder in declared.files["assets.Experiment", n].parents]
    subprocess.run([command, "materialize", *(f"{name}/evaluation" for name in names)], check=True)
    project, result = load_project(), {}
    for dataset in DATASETS:
        found = {n.rsplit("_", 1)[1]: read(project, n) for n in names if declared.experiments[n].dataset == dataset}
        counted = found.pop(COUNTED)
        trained = {kind: found[kind] for kind in NAMES}
        picture = write_svg(compared(dataset, trained, counted), f"families-{dataset}.svg")
        replace_table(
            PAGE, dataset, [f"![Loss against FLOPs and against seconds]({picture})", "", *table(trained, counted)]
        )
        reach = {kind: gradients(project, f"{dataset}_family_{kind}") for kind in NAMES}
        picture = write_svg(reach_figure(reach), f"gradients-{dataset}.svg")
        replace_table(
            PAGE, f"{dataset} gradients", [f"![Gradient norm against distance]({picture})", "", *reach_table(reach)]
        )
        result[dataset] = {
            "validations": {kind: each.points for kind, each in trained.items()},
            "seconds": {kind: each.training["seconds"] for kind, each in trained.items()},
            "precision": {kind: each.training["choices"]["precision"]["value"] for kind, each in trained.items()},
            "bits_per_byte": {
                kind: each.overall["bits_per_byte"] for kind, each in (trained | {COUNTED: counted}).items()
            },
        }
    write_result("families", result)
    record = json.loads((ROOT / "benchmarks/results/families.json").read_text("utf-8"))
    replace_table(PAGE, "machine", [f"{record['date']}, {record['machine']}, `{record['command']}`."])


def read(project: Project, name: str) -> Trained:
    """What is kept of an experiment."""
    store, spec = Store(project.home.artifacts), project.declarations.experiments[name]
    checkpoint, evaluation = store.ref(f"{name}/checkpoint"), store.ref(f"{name}/evaluation")
    assert checkpoint is not None
    assert evaluation is not None
    summary = checkpoint.summary
    per_step = summary["flops_per_token"] * spec.training.batch_size * spec.training.context_length
    seconds, points = 0.0, []
    for line in checkpoint.path("curve.jsonl").read_text("utf-8").splitlines():
        point = json.loads(line)
        if "seconds" in point:
            seconds = sum(point["seconds"][part] for part in ("data", "forward", "backward", "optimizer"))
        elif "validation_loss" in point:
            points.append((point["step"] * per_step, seconds, point["validation_loss"]))
    return Trained(spec, summary, points, evaluation.summary["test"]["overall"])


def table(trained: dict[str, Trained], counted: Trained) -> list[str]:
    """Markdown: a row a family."""
    titles = ["family", "parameters", "FLOPs a token", "tokens", "FLOPs", "seconds", "loss"]
    titles += ["test, bits/byte", "95 %"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    for kind, each in trained.items():
        flops, seconds, loss = each.points[-1]
        cells = [
            NAMES[kind],
            si(each.training["num_parameters"]),
            si(each.training["flops_per_token"]),
            si(each.spec.training.num_steps * each.spec.training.batch_size * each.spec.training.context_length),
            si(flops),
            decimal(seconds, 1),
            decimal(loss),
            decimal(each.overall["bits_per_byte"]),
            interval(each.overall["bits_per_byte_interval"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    cells = [
        "Kneser-Ney 5-gram",
        si(counted.training["num_parameters"]),
        "–",
        si(counted.training["num_tokens"]),
        "–",
        decimal(counted.training["wall_seconds"], 1),
        decimal(counted.training["best_validation_loss"]),
        decimal(counted.overall["bits_per_byte"]),
        interval(counted.overall["bits_per_byte_interval"]),
    ]
    return [*lines, f"| {' | '.join(cells)} |"]


def compared(dataset: str, trained: dict[str, Trained], counted: Trained) -> Figure:
    """Loss against FLOPs beside loss against seconds."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for kind, each in trained.items():
        flops, seconds, losses = zip(*each.points, strict=True)
        for axes, x in ((left, [number / 1e12 for number in flops]), (right, seconds)):
            axes.plot(x, losses, color=COLOURS[kind], marker="o", markersize=3.5, linewidth=1.6, label=NAMES[kind])
    loss = counted.training["best_validation_loss"]
    for axes, label in ((left, "TFLOP of training"), (right, "seconds of training steps")):
        axes.axhline(loss, color="black", linestyle="--", linewidth=1.2, label="Kneser-Ney 5-gram")
        axes.set(xlabel=label, xlim=(0, None))
        plain(axes)
    left.set_ylabel("validation loss (nats per token)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    figure.suptitle(f"{dataset}: about {si(next(iter(trained.values())).training['num_parameters'])} parameters each")
    return figure


def gradients(project: Project, experiment: str) -> dict[str, list[float]]:
    """How far back in time a prediction's gradient reaches: norms by distance, 1 first."""
    described = describe_experiment(project, experiment, gradients=True, peak_flops=1.0)  # of which nothing is read
    return {when: norms[::-1] for when, norms in described["gradients"].items()}


DISTANCES = (1, 2, 4, 8, 16, 32, 64, 100)


def reach_table(reach: dict[str, dict[str, list[float]]]) -> list[str]:
    """Markdown: the norm at some distances as a part of that at distance 1, at the start and after training."""
    lines = [
        f"| tokens back | {' | '.join(map(integer, DISTANCES))} |",
        f"|---|{'---:|' * len(DISTANCES)}",
    ]
    for kind, norms in reach.items():
        for when, values in norms.items():
            cells = [f"{values[distance - 1] / values[0]:.1g}" for distance in DISTANCES]
            lines.append(f"| {NAMES[kind]}, {when} | {' | '.join(cells)} |")
    return lines


def reach_figure(reach: dict[str, dict[str, list[float]]]) -> Figure:
    """Norms against distance, at the start beside after training."""
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    for axes, when in zip(figure.subplots(1, 2, sharey=True), ("before training", "after training"), strict=True):
        for kind, norms in reach.items():
            values = [norm / norms[when][0] for norm in norms[when]]
            axes.plot(range(1, len(values) + 1), values, color=COLOURS[kind], linewidth=1.6, label=NAMES[kind])
        axes.set(yscale="log", ylim=(1e-8, 3), xlim=(0, None), xlabel="tokens before the prediction", title=when)
        axes.minorticks_off()
        plain(axes)
    figure.axes[0].set_ylabel("gradient norm, relative to the last token's")
    labelled = figure.axes[0].get_legend_handles_labels()
    figure.legend(*labelled, loc="outside lower center", ncols=6, frameon=False, fontsize=8.5)
    return figure


def plain(axes: Any) -> None:
    """No frame, a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9e4")


def write_svg(figure: Figure, name: str) -> str:
    """Draw below docs/images, equal figures as equal bytes; returns where that is from the page."""
    with mpl.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(IMAGES / name, metadata={"Date": None})
    return f"images/{name}"


if __name__ == "__main__":
    main()
