"""Commands that write declarations and what editors need to know of them."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lm_pipeline.cli.printing import print_json
from lm_pipeline.errors import SpecError, nearest

if TYPE_CHECKING:
    from lm_pipeline.home import Home


@click.command()
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
    folders = definition_folders()
    folder = (folder or folders[-1]).resolve()
    path = new_declaration(
        noun,
        name,
        of or next(iter(candidates), name),
        folder,
        f"{home.root.name}/raw",
        None if huggingface is None else _pretrained(noun, huggingface, home),
    )
    try:
        load_project(home)
    except SpecError:
        path.unlink()  # a name that is taken would make every command fail
        path.parent.rmdir()
        raise
    known = any(folder.is_relative_to(each) for each in folders)
    others = filter(None, [os.environ.get("LM_PIPELINE_DEFS"), str(folder)])
    variable = "" if known else f"LM_PIPELINE_DEFS={shlex.quote(os.pathsep.join(others))} "
    click.echo(f"Wrote {path}. Edit it, then run `{variable}lm-pipeline materialize {name}`.")


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


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write <noun>.json into.")
def schema(out: Path | None) -> None:
    """JSON schemas of declarations, for editors.

    In `schemas/` of a folder of declarations, `new` refers to them.
    """
    from lm_pipeline.specs.schema import schemas, write_schemas

    if out is None:
        print_json(schemas())
        return
    click.echo("\n".join(f"Wrote {path}" for path in write_schemas(out)))
