"""The `lm-pipeline` command: parse, import lazily, call one function, print its result.

Commands that need Dagster live in `assets/cli.py`; this process becomes theirs.
"""

import itertools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lm_pipeline import __version__
from lm_pipeline.errors import LmPipelineError, SpecError, nearest

if TYPE_CHECKING:
    from lm_pipeline.home import Home
    from lm_pipeline.specs.generation import Decoding

_PASS_ON = {"ignore_unknown_options": True, "help_option_names": []}


class _Group(click.Group):
    """Lists commands in the order in which they are used, not alphabetically."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lm-pipeline")
def cli() -> None:
    """From raw text to compared, explained language models."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; errors that a user can mend are printed without a traceback.

    Returns:
        0; 1 when something failed to build; 2 for wrong usage or a wrong declaration; 3 for a home that is not
        ready; 4 for what is not materialized; 5 for damaged artifacts; 6 for bad input; 7 when busy; 8 when a child
        process failed; 9 when a source cannot be reached; 10 when training diverged; 130 when stopped.
    """
    try:
        return cli.main(args=argv, prog_name="lm-pipeline", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except LmPipelineError as error:
        click.echo(f"lm-pipeline: {error}", err=True)
        return error.exit_code


def _with_dagster(command: str, short_help: str) -> None:
    @cli.command(command, short_help=short_help, context_settings=_PASS_ON)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def _become(arguments: tuple[str, ...]) -> None:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "assets.cli", command, *arguments])


_with_dagster("init", "Create the home: Dagster's instance, MLflow's store, folders.")
_with_dagster("demo", "Build everything that is declared, from raw text to leaderboard.")
_with_dagster("up", "Open Dagster and MLflow on the home.")
_with_dagster("materialize", "Build a corpus, dataset, experiment or asset, and what it needs.")


def _json_option(function: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


@cli.command()
@_json_option
def status(as_json: bool) -> None:
    """Where every asset stands, and whether every document is accounted for."""
    from lm_pipeline.overview import overview
    from lm_pipeline.project import load_project

    project = load_project()
    project.home.require_initialised()
    value = overview(project)
    if as_json:
        _print_json(value)
        return
    from lm_pipeline.reports.terminal import status_text

    click.echo(status_text(value))


@cli.command()
@click.argument("corpus")
@click.option("--kept", is_flag=True, help="Show kept documents instead of numbers.")
@click.option("--rejected", metavar="RULE", help="Show documents that this rule rejects.")
@click.option("--quarantined", metavar="REASON", help="Show records that could not be read for this reason.")
@click.option("--num", default=5, show_default=True, type=click.IntRange(1), help="How many to show.")
@_json_option
def inspect(corpus: str, kept: bool, rejected: str | None, quarantined: str | None, num: int, as_json: bool) -> None:
    """A corpus in numbers, or samples of its documents of any fate."""
    from lm_pipeline import inspection
    from lm_pipeline.project import load_project
    from lm_pipeline.reports.inspecting import profile_text, samples_text

    if kept + (rejected is not None) + (quarantined is not None) > 1:
        raise click.UsageError("Give one of --kept, --rejected and --quarantined.")
    if kept or rejected is not None or quarantined is not None:
        samples = inspection.inspect_documents(load_project(), corpus, num, rejected, quarantined)
        _print_json(samples) if as_json else click.echo(samples_text(samples))
        return
    value = inspection.inspect_corpus(load_project(), corpus)
    _print_json(value) if as_json else click.echo(profile_text(value))


@cli.command()
@click.argument("dataset", required=False)
@_json_option
def leaderboard(dataset: str | None, as_json: bool) -> None:
    """All experiments of a dataset (or of every dataset) side by side."""
    from lm_pipeline.boards import current_boards
    from lm_pipeline.project import load_project
    from lm_pipeline.reports.leaderboard import leaderboard_json, terminal_table

    project = load_project()
    project.home.require_initialised()
    boards = current_boards(project, dataset)
    if as_json:
        _print_json([leaderboard_json(name, rows) for name, rows in boards.items()])
        return
    for name, rows in boards.items():
        click.echo(f"{name}\n\n{terminal_table(rows)}\n")


@cli.command()
@click.argument("noun", type=click.Choice(["corpus", "dataset", "experiment"]))
@click.argument("name")
@click.option("--of", help="The corpus of a dataset, or the dataset of an experiment. Default: the first declared.")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder of declarations. Default: the last known one.")
@click.option("--huggingface", metavar="FOLDER|ID", help="A pretrained model to take tokenizer or weights from.")
def new(noun: str, name: str, of: str | None, folder: Path | None, huggingface: str | None) -> None:
    """Write a declaration that can be edited and run."""
    from lm_pipeline.home import definition_folders
    from lm_pipeline.project import load_project
    from lm_pipeline.specs.templates import new_declaration

    project = load_project()
    parent = {"dataset": "corpus", "experiment": "dataset"}.get(noun)
    candidates = {"dataset": project.declarations.corpora, "experiment": project.declarations.datasets}.get(noun, {})
    if of is not None and parent is None:
        raise click.UsageError("--of is for a dataset or an experiment; a corpus is of nothing.")
    if of is not None and of not in candidates:
        raise click.UsageError(f"--of: there is no {parent} {of!r}. {nearest(of, candidates)}")
    if noun == "experiment" and not candidates:
        raise click.UsageError("An experiment is of a dataset, and none is declared: `lm-pipeline new dataset NAME`.")
    if huggingface is not None and noun == "corpus":
        raise click.UsageError("--huggingface is for a dataset or an experiment.")
    home = project.home
    path = new_declaration(
        noun,
        name,
        of or next(iter(candidates), name),
        folder or definition_folders()[-1],
        f"{home.root.name}/raw",
        None if huggingface is None else _pretrained(noun, huggingface, home),
    )
    try:
        load_project(home)
    except SpecError:
        path.unlink()  # a name that is taken would make every command fail
        path.parent.rmdir()
        raise
    click.echo(f"Wrote {path}. Edit it, then run `lm-pipeline materialize {name}`.")


def _pretrained(noun: str, source: str, home: "Home") -> dict[str, Any]:
    if noun == "dataset":
        return {"pretrained": source}
    from lm_pipeline.models.huggingface.model import import_spec, read_config
    from lm_pipeline.pretrained import fetch, identify
    from lm_pipeline.specs.pretrained import Pretrained

    pretrained = Pretrained(huggingface=source)
    spec, _, context_length = import_spec(read_config(fetch(pretrained, identify(pretrained, home), home)))
    fields = {"family": spec.family, **spec.model_dump(mode="json", exclude_defaults=True)}
    return {"pretrained": source, "model": fields, "context_length": min(context_length, 1024)}


@cli.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write <noun>.json into.")
def schema(out: Path | None) -> None:
    """JSON schemas of declarations, for editors. In `schemas/` of a folder of declarations, `new` refers to them."""
    from lm_pipeline.specs.schema import schemas, write_schemas

    if out is None:
        _print_json(schemas())
        return
    click.echo("\n".join(f"Wrote {path}" for path in write_schemas(out)))


@cli.command()
@click.argument("experiment")
@click.option("--gradients", is_flag=True, help="How far back in time a prediction's gradient reaches.")
@click.option("--flops", type=click.FloatRange(0, min_open=True), help="FLOP/s of the machine; measured if left out.")
@_json_option
def describe(experiment: str, gradients: bool, flops: float | None, as_json: bool) -> None:
    """Layers, parameters, FLOPs, memory, disk and time of a model, before anything is run."""
    from lm_pipeline.describe import describe_experiment
    from lm_pipeline.project import load_project

    value = describe_experiment(load_project(), experiment, gradients=gradients, peak_flops=flops)
    if as_json:
        _print_json(value)
        return
    from lm_pipeline.reports.description import description_text

    click.echo(description_text(experiment, value))


@cli.command()
@click.argument("experiment")
@click.option("--prompt", "prompts", multiple=True, help="Text to continue, repeatable; none begins a document.")
@click.option("--num", default=1, show_default=True, type=click.IntRange(1), help="Texts of each prompt.")
@click.option("--max-tokens", default=200, show_default=True, type=click.IntRange(1))
@click.option("--max-seconds", type=click.FloatRange(0, min_open=True), help="Time after which a text ends.")
@click.option("--temperature", type=click.FloatRange(0), help="0 is greedy. [default: 0.8; with --beams 0]")
@click.option("--top-k", default=50, show_default=True, type=click.IntRange(0), help="Candidates kept; 0 keeps all.")
@click.option("--top-p", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True), help="Mass kept.")
@click.option("--min-p", default=0.0, show_default=True, type=click.FloatRange(0, 1), help="Least share of the best.")
@click.option("--repetition-penalty", default=1.0, show_default=True, type=click.FloatRange(1), metavar="FACTOR")
@click.option("--stop", multiple=True, help="Text before which the text ends. Repeatable.")
@click.option("--beams", "num_beams", default=1, show_default=True, type=click.IntRange(1), help="Beam search.")
@click.option("--length-penalty", default=1.0, show_default=True, type=float, help="Of beam search; above 0: longer.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@_json_option
def generate(
    experiment: str, prompts: tuple[str, ...], num: int, temperature: float | None, as_json: bool, **settings: Any
) -> None:
    """Continue prompts with an experiment's model; a single text streams."""
    from lm_pipeline.generation import generate as generation
    from lm_pipeline.trained import load_trained

    if temperature is None:
        temperature = 0.0 if settings["num_beams"] > 1 else 0.8
    decoding = _decoding(temperature=temperature, **settings)
    scorer, tokenizer = load_trained(experiment)
    prompts = prompts or ("",)
    if as_json or num * len(prompts) > 1:
        completions = generation.complete(scorer, tokenizer, prompts, decoding, num)
        if as_json:
            values = [generation.as_json(completion) for completion in completions]
            _print_json({"experiment": experiment, "completions": values})
        else:
            click.echo("\n\n".join(completion.prompt + completion.text for completion in completions))
        return
    pieces = generation.generate(scorer, tokenizer, prompts[0], decoding)
    first = next(pieces, "")  # a model or prompt that cannot be continued is refused before anything is printed
    for piece in itertools.chain([prompts[0], first], pieces):
        click.echo(piece, nl=False)
    click.echo()


def _decoding(**settings: Any) -> "Decoding":
    from pydantic import ValidationError

    from lm_pipeline.specs.generation import Decoding

    try:
        return Decoding(**settings)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            option = "".join(f"--{name}: ".replace("_", "-") for name in item["loc"][:1])
            problems.append(option + item["msg"].removeprefix("Value error, "))
        raise click.UsageError("; ".join(problems)) from error


@cli.command()
@click.argument("experiment")
@click.argument("other", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others can use it then.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535))
def play(experiment: str, other: str | None, host: str, port: int) -> None:
    """A page to play on: tokens with their probabilities; two experiments answer side by side."""
    from lm_pipeline.playground import serve

    serve([experiment] if other is None else [experiment, other], host, port)


@cli.command()
@click.argument("experiment")
@click.argument("text")
@_json_option
def score(experiment: str, text: str, as_json: bool) -> None:
    """The log probability of a sentence, per token and in total."""
    from lm_pipeline.evaluation.score_text import score_text
    from lm_pipeline.trained import load_trained

    scorer, tokenizer = load_trained(experiment)
    value = score_text(scorer, tokenizer, text)
    if as_json:
        _print_json(value)
        return
    from lm_pipeline.reports.terminal import score_table

    click.echo(score_table(value))


@cli.command()
@click.argument("experiment")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    default="hf",
    show_default=True,
    type=click.Choice(["hf", "onnx", "gguf"]),
    help="hf: Hugging Face; gguf: llama.cpp.",
)
@_json_option
def export(experiment: str, folder: Path, kind: str, as_json: bool) -> None:
    """Write a trained model and its tokenizer for other programs, into a new folder."""
    from lm_pipeline import export as exporting
    from lm_pipeline.project import load_project

    value = exporting.export(load_project(), experiment, folder, kind)
    if as_json:
        _print_json(value)
        return
    click.echo(f"Wrote {', '.join(value['files'])} below {folder} ({value['model_type']}).")


@cli.command()
@click.argument("experiment")
@click.option("--name", help="Of the registered model. [default: the experiment's]")
@_json_option
def register(experiment: str, name: str | None, as_json: bool) -> None:
    """Put a trained model into MLflow's registry, from where `mlflow models serve` serves it."""
    from lm_pipeline.project import load_project
    from lm_pipeline.registration import register_experiment

    value = register_experiment(load_project(), experiment, name)
    if as_json:
        _print_json(value)
        return
    click.echo(f"{value['name']}, version {value['version']}: {value['uri']}\n{value['url']}")


@cli.command()
@click.argument("experiment", required=False)
@click.option("--token", metavar="DATASET:OFFSET", help="Trace a training token instead of a checkpoint.")
@_json_option
def trace(experiment: str | None, token: str | None, as_json: bool) -> None:
    """From a checkpoint back to every raw file, or from a token to its document."""
    from lm_pipeline.reports.terminal import lineage_text, token_text
    from lm_pipeline.tracing import trace_experiment, trace_token_of

    if (experiment is None) == (token is None):
        raise click.UsageError("Give an experiment, or --token DATASET:OFFSET.")
    if token is not None:
        value = trace_token_of(token)
        _print_json(value) if as_json else click.echo(token_text(value))
        return
    assert experiment is not None
    value = trace_experiment(experiment)
    _print_json(value) if as_json else click.echo(lineage_text(value))


@cli.command()
@click.option("--dry-run", is_flag=True, help="Say what would go, delete nothing.")
@click.option("--unfinished", is_flag=True, help="Also what interrupted trainings and downloads could go on from.")
@click.option("--drop", metavar="STAGE/KEY", help="Delete one artifact whatever needs it (a damaged one).")
@_json_option
def gc(dry_run: bool, unfinished: bool, drop: str | None, as_json: bool) -> None:
    """Delete artifacts that nothing current is made from."""
    from lm_pipeline import garbage
    from lm_pipeline.artifacts import Store
    from lm_pipeline.home import find_home

    store = Store(find_home().require_initialised().artifacts)
    if drop is not None:
        stage, _, key = drop.partition("/")
        if dry_run:
            raise click.UsageError("--drop deletes at once: give it without --dry-run.")
        dropped = garbage.drop(store, stage, key)
        if not dropped:
            raise click.UsageError(f"There is no artifact {drop!r}; expected STAGE/KEY as `status --json` shows it.")
        _print_json({"dropped": dropped}) if as_json else click.echo(f"Dropped {', '.join(dropped)}.")
        return
    collected = garbage.collect_garbage(store, dry_run=dry_run, unfinished=unfinished)
    if as_json:
        _print_json({**collected.as_dict(), "dry_run": dry_run})
        return
    verb = "Would delete" if dry_run else "Deleted"
    click.echo(f"{verb} {collected.artifacts} artifacts, {collected.bytes / 1e6:,.1f} MB. In use: {collected.busy}.")
    if collected.building:
        click.echo("Something is being built, so everything published was left alone. Run it again afterwards.")


@cli.command()
@click.option("--verify", is_flag=True, help="Hash every artifact's bytes.")
@_json_option
def doctor(verify: bool, as_json: bool) -> None:
    """What this machine and home are like, and what is wrong with them."""
    from lm_pipeline.doctor import examine
    from lm_pipeline.home import find_home

    findings = examine(find_home(), verify)
    if as_json:
        _print_json(findings)
    else:
        for item in findings:
            click.echo(f"{'ok  ' if item['ok'] else 'BAD '} {item['name']}: {item['detail']}")
    if not all(item["ok"] for item in findings):
        raise click.exceptions.Exit(1)


def entry() -> None:
    """The console script."""
    sys.exit(main())
