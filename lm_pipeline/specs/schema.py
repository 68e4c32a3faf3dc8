"""JSON schemas of declarations, for editors: completion, descriptions and red underlines while typing."""

import json
import os
from pathlib import Path
from typing import Any

from lm_pipeline.specs.declarations import DOCUMENT_KEYS, NOUNS

FOLDER = "schemas"
"""Where `lm-pipeline new` looks for them, below a folder of declarations."""


def schema_of(noun: str) -> dict[str, Any]:
    """The schema of a whole declaration in YAML.

    Args:
        noun: `corpus`, `dataset` or `experiment`.
    """
    type_name = next(name for name in NOUNS if name.lower() == f"assets.{noun}")
    attributes = NOUNS[type_name].model_json_schema()
    definitions = attributes.pop("$defs", {})
    others = {key: True for key in DOCUMENT_KEYS if key not in ("type", "attributes")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": type_name,
        "type": "object",
        "properties": {"type": {"const": type_name}, "attributes": attributes, **others},
        "required": ["type", "attributes"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of every noun."""
    nouns = [name.removeprefix("assets.").lower() for name in NOUNS]
    return {noun: schema_of(noun) for noun in nouns}


def write_schemas(folder: Path) -> list[Path]:
    """Write `<noun>.json` for every noun; the folder is made where it is absent."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for noun, schema in schemas().items():
        path = folder / f"{noun}.json"
        path.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", "utf-8")
        paths.append(path)
    return paths


def editor_header(noun: str, declaration: Path, folder: Path) -> str:
    """The line by which editors find the schema; empty if `lm-pipeline schema` has not written it.

    Args:
        declaration: the YAML file that gets the line.
        folder: the folder of declarations.
    """
    schema = folder / FOLDER / f"{noun}.json"
    if not schema.is_file():
        return ""
    return f"# yaml-language-server: $schema={Path(os.path.relpath(schema, declaration.parent)).as_posix()}\n"
