"""Commands that need Dagster: `init`, `demo`, `up`, `materialize`. `lm-pipeline` becomes `python -m assets.cli`."""

import sys

import click

from lm_pipeline.errors import LmPipelineError
from lm_pipeline.home import Home, find_home


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """From raw text to compared, explained language models."""


@cli.command()
def init() -> None:
    """Create the home: folders, Dagster's instance, MLflow's store. Safe to repeat and to run in parallel."""
    from assets.instance import initialise

    home = find_home()
    done = initialise(home)
    click.echo(f"{'Initialised' if done else 'Ready already:'} {home.root}")


@cli.command()
def demo() -> None:
    """Build everything declared, from raw text to leaderboard."""
    from assets.demo import run_demo
    from assets.instance import initialise

    home = find_home()
    initialise(home)
    sys.exit(run_demo(home))


@cli.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--only", is_flag=True, help="Just these assets: nothing that they are made from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def materialize(names: tuple[str, ...], only: bool, as_json: bool) -> None:
    """Build what is not current of NAMES and of what they are made from.

    A name is a corpus's, a dataset's, an experiment's or an asset's, such as `python_docs/splits`.
    """
    import json

    from assets.building import build_names

    outcome = build_names(_ready(), names, only=only, quiet=as_json)
    if as_json:
        click.echo(json.dumps(outcome.as_dict(), indent=1, ensure_ascii=False))
    else:
        click.echo(outcome.as_text())
    sys.exit(0 if not outcome.failed else 1)


@cli.command()
@click.option("--dagster-port", default=3000, show_default=True, help="Port of Dagster's pages.")
@click.option("--mlflow-port", default=5000, show_default=True, help="Port of MLflow's pages.")
def up(dagster_port: int, mlflow_port: int) -> None:
    """Open Dagster and MLflow on the home, until Ctrl-C."""
    from assets.servers import serve

    sys.exit(serve(_ready(), dagster_port, mlflow_port))


def _ready() -> Home:
    return find_home().require_initialised()


def main() -> int:
    """Run a command; errors that a user can mend are printed without a traceback."""
    try:
        cli.main(prog_name="lm-pipeline", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped. What was in progress is saved: the same command goes on from there.", err=True)
        return 130
    except LmPipelineError as error:
        click.echo(f"lm-pipeline: {error}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
