"""Pretrained: a model or a tokenizer that was made elsewhere."""

from typing import Any, ClassVar

from pydantic import Field

from lm_pipeline.specs.base import Spec


class Pretrained(Spec):
    """What Hugging Face transformers has saved: `config.json`, safetensors, `tokenizer.json` or `tokenizer.model`."""

    tag: ClassVar[str] = "pretrained"
    """Which member of a union it is."""

    huggingface: str = Field(min_length=1)
    """A folder, from the one that the home is in; or a model of the Hugging Face Hub, `owner/name`, or
    `owner/name@revision` for one of its commits, branches or tags."""


def kind_of_tokenizer(value: Any) -> str:
    """Tag of the tokenizer that a value is meant for: a pretrained one names where it is."""
    return (
        "pretrained" if isinstance(value, Pretrained) or (isinstance(value, dict) and "huggingface" in value) else "own"
    )


def kind_of_base(value: Any) -> str:
    """Tag of the base that a value is meant for: an experiment's is a name, a pretrained one has keys."""
    return "own" if isinstance(value, str) else "pretrained"
