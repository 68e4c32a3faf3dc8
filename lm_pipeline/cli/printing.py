"""JSON, for every command that can print it."""

import json
from typing import Any

import click


def json_option(function: Any) -> Any:
    """Adds `--json` to a command, as its argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_json(value: Any) -> None:
    """Print a value, indented; a number that JSON does not have is an error."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
