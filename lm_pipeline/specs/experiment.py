"""Experiment: which dataset, which model, how it is trained and evaluated."""

import re
import zoneinfo
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lm_pipeline.errors import nearest
from lm_pipeline.specs.base import Float, Fraction, Int, Spec


class NgramModel(Spec):
    """Interpolated modified Kneser-Ney n-gram model. Source: Chen & Goodman 1999."""

    family: Literal["ngram"] = "ngram"
    order: Int = Field(default=5, ge=1, le=8)
    """Longest n-gram; order 1 is the unigram."""


class _Neural(Spec):
    num_layers: Int = Field(default=2, ge=1)
    """Layers of the backbone."""
    width: Int = Field(default=256, ge=8)
    """Width of hidden states, in units."""
    dropout: Fraction = 0.0
    """Dropout probability between layers and on embeddings."""
    tie_embeddings: bool = True
    """Whether input and output embeddings are one matrix (Press & Wolf 2017)."""


class RnnModel(_Neural):
    """Elman network with tanh. Source: Elman 1990; as a language model, Mikolov et al. 2010."""

    family: Literal["rnn"] = "rnn"


class LstmModel(_Neural):
    """Long short-term memory. Source: Hochreiter & Schmidhuber 1997; Zaremba et al. 2014."""

    family: Literal["lstm"] = "lstm"


class GruModel(_Neural):
    """Gated recurrent unit. Source: Cho et al. 2014."""

    family: Literal["gru"] = "gru"


class CnnModel(_Neural):
    """Gated convolutional network. Source: Dauphin et al. 2017."""

    family: Literal["cnn"] = "cnn"
    kernel_size: Int = Field(default=4, ge=2)
    """Tokens that one causal convolution sees."""


class TransformerModel(_Neural):
    """Pre-norm decoder-only Transformer. Source: Vaswani et al. 2017; Radford et al. 2019 (GPT-2)."""

    family: Literal["transformer"] = "transformer"
    num_heads: Int = Field(default=4, ge=1)
    """Attention heads; `width` must be a multiple."""
    mlp_ratio: Float = Field(default=4.0, gt=0)
    """Width of the feed-forward layer, in multiples of `width`."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "TransformerModel":
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        return self


Model = Annotated[
    NgramModel | RnnModel | LstmModel | GruModel | CnnModel | TransformerModel, Field(discriminator="family")
]


class Training(Spec):
    """The training loop's settings."""

    num_steps: Int = Field(default=1000, ge=1)
    """Optimizer steps."""
    batch_size: Int = Field(default=32, ge=1)
    """Sequences per step."""
    context_length: Int = Field(default=128, ge=2)
    """Tokens per sequence; for recurrent models the truncation of backpropagation through time."""
    accumulation: Int = Field(default=1, ge=1)
    """Micro-batches a step is divided into; it changes memory, not the loss."""
    learning_rate: Float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW."""
    min_learning_rate_fraction: Fraction = 0.1
    """Learning rate at the last step, as a fraction of the peak."""
    warmup_steps: Int = Field(default=50, ge=0)
    """Steps of linear warm-up."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Shape of the learning rate after warm-up."""
    weight_decay: Float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay, on matrices only."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    """AdamW's moment decays."""
    max_gradient_norm: Float | None = 1.0
    """Gradients are scaled down to this global norm; `null` switches clipping off."""
    validation_interval: Int = Field(default=200, ge=1)
    """Steps between validations; the last step is always validated."""
    validation_batches: Int = Field(default=20, ge=1)
    """Batches of a validation, always the same ones."""
    checkpoint_interval: Int = Field(default=200, ge=1)
    """Steps between saved states."""
    log_interval: Int = Field(default=20, ge=1)
    """Steps between logged points."""
    keep: Literal["best", "last"] = "best"
    """Whether the checkpoint holds the weights of the best validation or of the last step."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of forward and backward; `auto` measures once and keeps the faster."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU where there is one."""
    num_threads: Int = Field(default=0, ge=0)
    """CPU threads; 0 takes the machine's cores. Part of what makes a run bitwise repeatable."""
    seed: Int = 0
    """Seed of initialisation, dropout and data order."""

    @model_validator(mode="after")
    def _micro_batches_are_not_empty(self) -> "Training":
        if self.accumulation > self.batch_size:
            raise ValueError(
                f"accumulation {self.accumulation} divides batch_size {self.batch_size} into empty parts: it may be at"
                " most batch_size"
            )
        return self


class Samples(Spec):
    """Text generated after training, at fixed seeds."""

    prompts: tuple[str, ...] = ("",)
    """Beginnings to continue; the empty prompt begins at the document's start."""
    num_per_prompt: Int = Field(default=2, ge=1)
    """Samples per prompt, at seeds 0, 1, 2..."""
    max_tokens: Int = Field(default=80, ge=1)
    """Tokens per sample at most."""
    temperature: Float = Field(default=0.8, ge=0)
    """0 is greedy."""
    top_k: Int = Field(default=50, ge=0)
    """Candidates kept; 0 keeps all."""


class Evaluation(Spec):
    """How a model is measured on the test split."""

    num_bootstrap: Int = Field(default=1000, ge=10)
    """Bootstrap resamples of test documents."""
    confidence: Float = Field(default=0.95, gt=0, lt=1)
    """Level of the confidence intervals."""
    seed: Int = 0
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
    training: Training = Training()
    """The training loop."""
    evaluation: Evaluation = Evaluation()
    """Measurement and samples."""
    schedule: Schedule | None = None
    """Scheduled re-training; changing it rebuilds nothing."""

    @model_validator(mode="after")
    def _ngram_has_no_training(self) -> "ExperimentSpec":
        if isinstance(self.model, NgramModel) and "training" in self.model_fields_set:
            raise ValueError("an 'ngram' model is counted, not trained: leave `training` out")
        return self
