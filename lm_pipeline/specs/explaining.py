"""What a spec refuses, in the words of YAML: given, expected, nearest."""

import re
import types
import typing
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lm_pipeline.errors import nearest


def explain(item: Any, keys: Sequence[int | str], models: Sequence[type[BaseModel]]) -> str:
    """One of pydantic's errors.

    Args:
        item: as `ValidationError.errors` gives it.
        keys: where it is, as the file has it.
        models: those that the last key stands in.
    """
    given = item["input"]
    match item["type"]:
        case "extra_forbidden":
            known = {name for model in models for name in model.model_fields}
            return f"unknown key {keys[-1]!r}. {nearest(str(keys[-1]), known)}"
        case "union_tag_invalid":
            context = item["ctx"]
            tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
            discriminator = context["discriminator"].strip("'")
            return f"{discriminator}: {context['tag']!r} is unknown. {nearest(context['tag'], tags)}"
        case "union_tag_not_found":
            return f"expected the key {item['ctx']['discriminator']}. Given: {given!r}."
        case "model_type" | "model_attributes_type":
            nullable = any(types.NoneType in typing.get_args(field.annotation) for field in _fields(keys, models))
            return f"expected keys and values{', or null' if nullable else ''}. Given: {given!r}."
        case "tuple_type" | "list_type":
            examples = [example for field in _fields(keys, models) for example in _examples(field, given)]
            return f"expected a list{f', such as {examples[0]}' if examples else ''}. Given: {given!r}."
        case "literal_error":
            options = [option.strip(" '") for option in re.split(r", | or ", item["ctx"]["expected"])]
            return f"got {given!r}. {nearest(str(given), options)}"
        case "missing":
            return (
                f"this item, counted from 0, is missing. Given: {given!r}."
                if isinstance(keys[-1], int)
                else "this key is required and missing."
            )
        case _:
            message = item["msg"].removeprefix("Value error, ").replace("Tuple should have", "expected a list with")
            return message if isinstance(given, dict) else f"{message.rstrip('.')}. Given: {given!r}."


def in_words(error: ValidationError, model: type[BaseModel]) -> str:
    """All that is wrong with the fields of a model that stand side by side, on a line.

    >>> from lm_pipeline.specs.generation import Decoding
    >>> try:
    ...     Decoding.model_validate({"top_p": 0})
    ... except ValidationError as error:
    ...     in_words(error, Decoding)
    'top_p: Input should be greater than 0. Given: 0.'
    """
    problems = []
    for item in error.errors():
        place = "".join(f"{key}: " for key in item["loc"][:1])
        problems.append(place + explain(item, item["loc"], [model]))
    return " ".join(problems)


def _fields(keys: Sequence[int | str], models: Sequence[type[BaseModel]]) -> list[FieldInfo]:
    """The fields that the last key may be."""
    return [model.model_fields[str(keys[-1])] for model in models if keys and keys[-1] in model.model_fields]


def _examples(field: FieldInfo, given: Any) -> list[str]:
    """Lists, as YAML has them, that a field takes: of what was given, its default, words."""
    default = field.get_default(call_default_factory=True)
    telling = list(default) if isinstance(default, tuple) and "" not in default else []  # an empty word says nothing
    candidates = [[given], telling, ["a", "b"]]
    annotated: Any = typing.Annotated[field.annotation, field]  # pyright: ignore[reportInvalidTypeForm]
    taken = TypeAdapter(annotated)
    examples = []
    for candidate in filter(None, candidates):
        try:
            taken.validate_python(candidate)
        except ValidationError:
            continue
        examples.append(yaml.safe_dump(candidate, default_flow_style=True, allow_unicode=True, width=1000).strip())
    return examples
