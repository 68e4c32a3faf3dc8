"""Commands that show what there is: states, documents, boards, models and where things come from."""

import click

from lm_pipeline import mkl
from lm_pipeline.cli.printing import json_option, print_json


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Every asset's state, every document accounted for."""
    from lm_pipeline.overview import overview
    from lm_pipeline.project import load_project

    project = load_project()
    project.home.require_initialised()
    value = overview(project)
    if as_json:
        print_json(value)
        return
    from lm_pipeline.reports.terminal import status_text

    click.echo(status_text(value))


@click.command()
@click.argument("corpus")
@click.option("--kept", is_flag=True, help="Show kept documents instead of numbers.")
@click.option("--rejected", metavar="RULE", help="Show documents that this rule rejects.")
@click.option("--quarantined", metavar="REASON", help="Show records that could not be read for this reason.")
@click.option("--num", default=5, show_default=True, type=click.IntRange(1), help="How many to show.")
@json_option
def inspect(corpus: str, kept: bool, rejected: str | None, quarantined: str | None, num: int, as_json: bool) -> None:
    """A corpus in numbers, or samples of its documents.

    Documents may be kept or rejected ones; records that could not be read are shown with the reason.
    """
    from lm_pipeline import inspection
    from lm_pipeline.project import load_project
    from lm_pipeline.reports.inspecting import profile_text, samples_text

    if kept + (rejected is not None) + (quarantined is not None) > 1:
        raise click.UsageError("Give one of --kept, --rejected and --quarantined.")
    if kept or rejected is not None or quarantined is not None:
        samples = inspection.inspect_documents(load_project(), corpus, num, rejected, quarantined)
        print_json(samples) if as_json else click.echo(samples_text(samples))
        return
    value = inspection.inspect_corpus(load_project(), corpus)
    print_json(value) if as_json else click.echo(profile_text(value))


@click.command()
@click.argument("dataset", required=False)
@json_option
def leaderboard(dataset: str | None, as_json: bool) -> None:
    """The experiments of a dataset, or of every one, side by side."""
    from lm_pipeline.boards import current_boards
    from lm_pipeline.project import load_project
    from lm_pipeline.reports.leaderboard import leaderboard_json, terminal_table

    project = load_project()
    project.home.require_initialised()
    boards = current_boards(project, dataset)
    if as_json:
        print_json([leaderboard_json(name, rows) for name, rows in boards.items()])
        return
    for name, rows in boards.items():
        click.echo(f"{name}\n\n{terminal_table(rows)}\n")


@click.command()
@click.argument("experiment")
@click.option("--gradients", is_flag=True, help="How far back in time a prediction's gradient reaches.")
@click.option("--flops", type=click.FloatRange(0, min_open=True), help="FLOP/s of the machine; measured if left out.")
@json_option
def describe(experiment: str, gradients: bool, flops: float | None, as_json: bool) -> None:
    """What a model is and costs, before it is trained.

    Layers, parameters, FLOPs, memory, disk, and the time that training and inference take.
    """
    mkl.use_avx2_kernels()
    from lm_pipeline.describe import describe_experiment
    from lm_pipeline.project import load_project

    value = describe_experiment(load_project(), experiment, gradients=gradients, peak_flops=flops)
    if as_json:
        print_json(value)
        return
    from lm_pipeline.reports.description import description_text

    click.echo(description_text(experiment, value))


@click.command()
@click.argument("experiment", required=False)
@click.option("--token", metavar="DATASET:OFFSET", help="Trace a training token instead of a checkpoint.")
@json_option
def trace(experiment: str | None, token: str | None, as_json: bool) -> None:
    """From a model or a token back to raw files.

    A model is traced to the SHA-256 of every raw file, a token of its training split to its document.
    """
    from lm_pipeline.reports.terminal import lineage_text, token_text
    from lm_pipeline.tracing import trace_experiment, trace_token_of

    if (experiment is None) == (token is None):
        raise click.UsageError("Give an experiment, or --token DATASET:OFFSET.")
    if token is not None:
        value = trace_token_of(token)
        print_json(value) if as_json else click.echo(token_text(value))
        return
    assert experiment is not None
    value = trace_experiment(experiment)
    print_json(value) if as_json else click.echo(lineage_text(value))
