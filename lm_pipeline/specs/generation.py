"""Generation: how tokens are chosen and when a text ends."""

from typing import Annotated

from pydantic import Field, model_validator

from lm_pipeline.specs.base import Float, Fraction, Int, Seed, Spec


class Sampling(Spec):
    """How the next token is drawn; the steps apply in the order of the fields."""

    repetition_penalty: Float = Field(default=1.0, ge=1)
    """Factor on the log probability of every token that the text has already, its prompt included (Keskar et al. 2019);
    1 is none."""
    temperature: Float = Field(default=0.8, ge=0)
    """Divides log probabilities; 0 takes the most probable token (greedy), whatever the fields below say."""
    top_k: Int = Field(default=50, ge=0)
    """Candidates kept (Fan et al. 2018); 0 keeps all."""
    top_p: Fraction = Field(default=1.0, gt=0)
    """Keeps the fewest candidates whose probabilities reach this mass (Holtzman et al. 2020); 1 keeps all."""
    min_p: Fraction = 0.0
    """Drops candidates less probable than this fraction of the most probable one (Nguyen et al. 2024); 0 keeps all."""


class Decoding(Sampling):
    """A text: how its tokens are chosen and where it ends."""

    max_tokens: Int = Field(default=200, ge=1)
    """Tokens generated at most; the end of the document ends a text earlier."""
    max_seconds: Annotated[Float, Field(gt=0)] | None = None
    """Time after which all texts of a request end where they are, in seconds; `null` gives them all the time."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings before which the text ends; they are not part of it."""
    seed: Seed = 0
    """Seed of the draws: one seed, one text."""
    num_beams: Int = Field(default=1, ge=1)
    """Texts that beam search follows side by side; 1 draws instead."""
    length_penalty: Float = 1.0
    """Beam search ranks texts by log probability over (number of tokens ^ length_penalty): above 0, longer."""

    @model_validator(mode="after")
    def _beams_do_not_draw(self) -> "Decoding":
        if self.num_beams > 1 and self.temperature != 0:
            raise ValueError(
                f"num_beams {self.num_beams} searches for the most probable text and draws nothing: set temperature to"
                f" 0 (it is {self.temperature}), or num_beams to 1"
            )
        if self.num_beams == 1 and self.length_penalty != 1.0:
            raise ValueError("length_penalty is of beam search: set num_beams to 2 or more, or leave it out")
        return self
