"""Training: the settings of the loop."""

from typing import Literal

from pydantic import Field, model_validator

from lm_pipeline.specs.base import Float, Fraction, Int, Spec


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
