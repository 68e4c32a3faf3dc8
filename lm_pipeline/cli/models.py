"""Commands that use a trained model: generate, play, score, export, register."""

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lm_pipeline import mkl
from lm_pipeline.cli.printing import json_option, print_json

if TYPE_CHECKING:
    from lm_pipeline.specs.generation import Decoding


@click.command()
@click.argument("experiment")
@click.option("--prompt", "prompts", multiple=True, help="Text to continue, repeatable; none begins a document.")
@click.option("--num", default=1, show_default=True, type=click.IntRange(1), help="Texts of each prompt.")
@click.option("--max-tokens", default=200, show_default=True, type=click.IntRange(1), help="After which a text ends.")
@click.option("--max-seconds", type=click.FloatRange(0, min_open=True), help="After which a text ends.")
@click.option("--temperature", type=click.FloatRange(0), help="0 is greedy. [default: 0.8; 0 with --beams]")
@click.option("--top-k", default=50, show_default=True, type=click.IntRange(0), help="Candidates kept; 0 keeps all.")
@click.option("--top-p", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True), help="Mass kept.")
@click.option("--min-p", default=0.0, show_default=True, type=click.FloatRange(0, 1), help="Least share of the best.")
@click.option(
    "--repetition-penalty",
    default=1.0,
    show_default=True,
    type=click.FloatRange(1),
    metavar="FACTOR",
    help="On the log probability of what the text has already.",
)
@click.option("--stop", multiple=True, help="Text before which the text ends. Repeatable.")
@click.option("--beams", "num_beams", default=1, show_default=True, type=click.IntRange(1), help="Beam search.")
@click.option("--length-penalty", default=1.0, show_default=True, type=float, help="Of beam search; above 0: longer.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Names one text.")
@json_option
def generate(
    experiment: str, prompts: tuple[str, ...], num: int, temperature: float | None, as_json: bool, **settings: Any
) -> None:
    """Continue prompts with a trained model.

    A single text is printed while it comes; several, or JSON, when all are there.
    """
    mkl.use_avx2_kernels()
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
            print_json({"experiment": experiment, "completions": values})
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
            place = "".join(f"{_OPTIONS[name]}: " for name in item["loc"][:1])
            problems.append(place + _in_options(item["msg"].removeprefix("Value error, ")))
        raise click.UsageError("; ".join(problems)) from error


_OPTIONS: dict[Any, str] = {
    parameter.name: parameter.opts[0] for parameter in generate.params if isinstance(parameter, click.Option)
}
"""Setting of a text -> the option that sets it."""


def _in_options(message: str) -> str:
    """A message of the library's in which settings that a text may lack have the names that the command gives them."""
    return re.sub(r"\b(num_beams|length_penalty|temperature)\b", lambda word: _OPTIONS[word[0]], message)


@click.command()
@click.argument("experiment")
@click.argument("other", required=False)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 lets other machines in."
)
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535), help="Port of the page.")
def play(experiment: str, other: str | None, host: str, port: int) -> None:
    """Open a page to try one model, or two side by side.

    It shows tokens with their probabilities.
    """
    mkl.use_avx2_kernels()
    from lm_pipeline.playground import serve

    serve([experiment] if other is None else [experiment, other], host, port)


@click.command()
@click.argument("experiment")
@click.argument("text")
@json_option
def score(experiment: str, text: str, as_json: bool) -> None:
    """The log probability of a text, per token and in total."""
    mkl.use_avx2_kernels()
    from lm_pipeline.evaluation.score_text import score_text
    from lm_pipeline.trained import load_trained

    scorer, tokenizer = load_trained(experiment)
    value = score_text(scorer, tokenizer, text)
    if as_json:
        print_json(value)
        return
    from lm_pipeline.reports.terminal import score_table

    click.echo(score_table(value))


@click.command()
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
@json_option
def export(experiment: str, folder: Path, kind: str, as_json: bool) -> None:
    """Write a trained model and its tokenizer for other programs.

    FOLDER is new or empty.
    """
    from lm_pipeline import export as exporting
    from lm_pipeline.project import load_project

    value = exporting.export(load_project(), experiment, folder, kind)
    if as_json:
        print_json(value)
        return
    click.echo(f"Wrote {', '.join(value['files'])} below {folder} ({value['model_type']}).")


@click.command()
@click.argument("experiment")
@click.option("--name", help="Of the registered model. [default: the experiment's]")
@json_option
def register(experiment: str, name: str | None, as_json: bool) -> None:
    """Put a trained model into MLflow's registry.

    From there `mlflow models serve` serves it.
    """
    from lm_pipeline.project import load_project
    from lm_pipeline.registration import register_experiment

    value = register_experiment(load_project(), experiment, name)
    if as_json:
        print_json(value)
        return
    click.echo(f"{value['name']}, version {value['version']}: {value['uri']}\n{value['url']}")
