"""Control ids: the tokens that no text spells, and which of them stand where."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTROLS_FILE = "controls.json"
"""Beside tokens and tokenizers whose control ids are not ours."""


@dataclass(frozen=True)
class Controls:
    """Control ids of a vocabulary; the defaults are those of the tokenizers that are trained here.

    Attributes:
        bos: begins a document.
        eos: ends one; GPT-2's is its BOS as well.
        pad: fills up; None where there is none.
        mask: stands in for a token that an encoder has to fill in; None where there is none.
        excluded: ids that no document holds after its BOS: their probability is shared out among the others.
        first_piece: ids below never replace a token that is to be predicted (see `models.masking`).
    """

    bos: int = 1
    eos: int = 2
    pad: int | None = 0
    mask: int | None = 3
    excluded: tuple[int, ...] = (0, 1, 3)
    first_piece: int = 4

    def as_json(self) -> dict[str, Any]:
        """For files and configurations."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, value: dict[str, Any] | None) -> "Controls":
        """Those that `as_json` gave; of None, ours."""
        return OURS if value is None else cls(**{**value, "excluded": tuple(value["excluded"])})

    @classmethod
    def read(cls, folder: Path) -> "Controls":
        """Those of a folder of tokens or of a tokenizer; ours where it says nothing."""
        path = folder / CONTROLS_FILE
        return cls.of(json.loads(path.read_text("utf-8"))) if path.is_file() else OURS

    def write(self, folder: Path) -> None:
        """Say so in a folder, unless they are ours."""
        if self != OURS:
            (folder / CONTROLS_FILE).write_text(json.dumps(self.as_json()) + "\n", "utf-8")


OURS = Controls()
