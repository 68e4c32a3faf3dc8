"""What every spec shares: frozen, strict, documented by the docstring under each field."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

_NUMERIC = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"


def no_bool(value: Any) -> Any:
    """YAML 1.1 reads `no`, `off`, `yes` as booleans; a number or a name must not come from one."""
    if isinstance(value, bool):
        raise ValueError(f"got the boolean {value}; YAML reads yes/no/on/off as booleans, so quote a word")
    return value


Float = Annotated[
    float,
    Field(allow_inf_nan=False),
    BeforeValidator(no_bool),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": _NUMERIC}]}),
]
"""A number; `1e-4`, which YAML reads as a string, is accepted."""

Int = Annotated[int, BeforeValidator(no_bool)]
"""A whole number; a boolean is refused."""

Fraction = Annotated[Float, Field(ge=0, le=1)]
"""A number from 0 to 1."""

FractionBelowOne = Annotated[Float, Field(ge=0, lt=1)]
"""A number from 0 up to 1, which itself is refused: of what is dropped something is left, and a mean forgets."""

Seed = Annotated[Int, Field(ge=0, lt=2**63)]
"""Seed of random numbers; neither torch nor numpy takes every other whole number."""

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,63}$"
"""Names of corpora, datasets and experiments: they become asset keys, partitions and folders."""


class Spec(BaseModel):
    """Base of every spec: immutable, unknown keys refused, field docstrings feed the schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
