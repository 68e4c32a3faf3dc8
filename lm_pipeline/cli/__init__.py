"""The `lm-pipeline` command: parse, import lazily, call one function, print its result.

Commands that need Dagster live in `assets/cli.py`; this process becomes theirs.
"""

import os
import sys

import click

from lm_pipeline import __version__
from lm_pipeline.cli.declaring import new, schema
from lm_pipeline.cli.looking import describe, inspect, leaderboard, status, trace
from lm_pipeline.cli.models import export, generate, play, register, score
from lm_pipeline.cli.upkeep import doctor, gc
from lm_pipeline.errors import LmPipelineError

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


def _with_dagster(command: str, short_help: str) -> click.Command:
    """A command that another process takes over, which may import Dagster."""

    @click.command(command, short_help=short_help, context_settings=_PASS_ON)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def become(arguments: tuple[str, ...]) -> None:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "assets.cli", command, *arguments])

    return become


for _command in (
    _with_dagster("init", "Create the home: Dagster's instance, MLflow's store, folders."),
    _with_dagster("demo", "Build everything declared, from raw text to leaderboard."),
    _with_dagster("up", "Open Dagster and MLflow on the home."),
    _with_dagster("materialize", "Build what you name and what it is made from, if not current."),
    status,
    inspect,
    leaderboard,
    new,
    schema,
    describe,
    generate,
    play,
    score,
    export,
    register,
    trace,
    gc,
    doctor,
):
    cli.add_command(_command)


def entry() -> None:
    """The console script."""
    sys.exit(main())
