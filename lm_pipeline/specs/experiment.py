"""Experiment: which dataset, which model, how it is trained and evaluated."""

import re
import zoneinfo
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from lm_pipeline.errors import nearest
from lm_pipeline.specs.base import Float, Int, Seed, Spec
from lm_pipeline.specs.generation import Sampling
from lm_pipeline.specs.model import EncoderModel, Model, NgramModel, TransformerModel
from lm_pipeline.specs.pretrained import Pretrained, kind_of_base
from lm_pipeline.specs.training import Training


class Samples(Sampling):
    """Text generated after training, at fixed seeds."""

    prompts: tuple[str, ...] = ("",)
    """Beginnings to continue; the empty prompt begins at the document's start."""
    num_per_prompt: Int = Field(default=2, ge=1)
    """Samples per prompt, at seeds 0, 1, 2..."""
    max_tokens: Int = Field(default=80, ge=1)
    """Tokens per sample at most."""


class Evaluation(Spec):
    """How a model is measured on the test split."""

    num_bootstrap: Int = Field(default=1000, ge=10)
    """Bootstrap resamples of test documents."""
    confidence: Float = Field(default=0.95, gt=0, lt=1)
    """Level of the confidence intervals."""
    seed: Seed = 0
    """Seed of the bootstrap."""
    max_documents: Int | None = Field(default=None, ge=1)
    """Test documents evaluated, from the first; `null` is all of them."""
    samples: Samples = Samples()
    """Generated samples."""


class Schedule(Spec):
    """When the experiment is trained again on what is new."""

    cron: str
    """Five-field cron expression."""
    timezone: str = "UTC"
    """IANA name of the time zone."""

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        fields = value.split()
        if len(fields) != 5 or not all(re.fullmatch(r"[0-9A-Za-z*/,\-]+", field) for field in fields):
            raise ValueError("expected five fields (minute hour day month weekday), such as '0 3 * * 1'")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise ValueError(f"there is no such time zone. {nearest(value, ['UTC', 'Asia/Shanghai', 'Europe/London'])}")
        return value


class ExperimentSpec(Spec):
    """One model trained and evaluated on one dataset."""

    description: str = ""
    """What the experiment tries. For people; changing it rebuilds nothing."""
    dataset: str
    """Name of the dataset."""
    task: Literal["language_modeling"] = "language_modeling"
    """What the model learns."""
    model: Model
    """The model's family and shape."""
    base: (
        Annotated[Annotated[str, Tag("own")] | Annotated[Pretrained, Tag("pretrained")], Discriminator(kind_of_base)]
        | None
    ) = None
    """Experiment on the same dataset, or pretrained model, whose weights this one begins with; `null` begins anew. The
    models must be alike but for `lora` and dropout; the dataset has the pretrained model's tokenizer."""
    training: Training = Training()
    """The training loop."""
    evaluation: Evaluation = Evaluation()
    """Measurement and samples."""
    schedule: Schedule | None = None
    """Scheduled re-training; changing it rebuilds nothing."""

    @model_validator(mode="after")
    def _ngram_has_no_training(self) -> "ExperimentSpec":  # first: those below speak of single settings of `training`
        if isinstance(self.model, NgramModel) and "training" in self.model_fields_set:
            raise ValueError("an 'ngram' model is counted, not trained: leave `training` out")
        return self

    @model_validator(mode="after")
    def _sharded_models_have_layers(self) -> "ExperimentSpec":
        if self.training.strategy == "fsdp2" and self.model.family in ("rnn", "lstm", "gru"):
            raise ValueError(
                f"strategy 'fsdp2' shards layers of their own, and torch's {self.model.family} is one fused block: take"
                " 'ddp'"
            )
        return self

    @model_validator(mode="after")
    def _models_without_attention_choose_none(self) -> "ExperimentSpec":
        if self.training.attention != "auto" and not isinstance(self.model, TransformerModel | EncoderModel):
            raise ValueError(
                f"training.attention is {self.training.attention!r}, and the family {self.model.family!r} has no"
                " attention: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _what_adapts_has_a_base(self) -> "ExperimentSpec":
        if isinstance(self.model, NgramModel) and self.base is not None:
            raise ValueError("an 'ngram' model is counted anew: leave `base` out")
        if isinstance(self.model, TransformerModel | EncoderModel) and self.model.lora and self.base is None:
            raise ValueError("`lora` adapts trained weights: name the experiment that they are from as `base`")
        if self.training.num_steps == 0 and self.base is None:
            raise ValueError("num_steps 0 publishes trained weights as they are: say whose as `base`")
        return self
