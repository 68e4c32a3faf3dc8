"""Training: the settings of the loop."""

from typing import Any, Literal

from pydantic import Field, model_validator

from lm_pipeline.specs.base import Float, Fraction, FractionBelowOne, Int, Seed, Spec


class Training(Spec):
    """The training loop's settings."""

    num_steps: Int = Field(default=1000, ge=0)
    """Optimizer steps; 0 publishes the experiment's `base` as it is, to evaluate, to generate or to score with it."""
    batch_size: Int = Field(default=32, ge=1)
    """Sequences per step, over all processes."""
    batching: Literal["packed", "length_buckets"] = "packed"
    """What a sequence is. `packed`: `context_length` tokens of the shuffled documents joined into one stream.
    `length_buckets`: one document, or a piece of a longer one, batched with others of similar length; a batch has as
    many as fit into `batch_size` x `context_length` tokens, and no recurrent state is carried from step to step."""
    num_buckets: Int = Field(default=16, ge=1)
    """`length_buckets`: lengths to which sequences are padded, at most; chosen so that padding is least."""
    context_length: Int = Field(default=128, ge=2)
    """Tokens per sequence; for recurrent models the truncation of backpropagation through time."""
    accumulation: Int = Field(default=1, ge=1)
    """Micro-batches a step is divided into; it changes memory, not the loss."""
    optimizer: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    """AdamW (Loshchilov & Hutter 2019); Adam (Kingma & Ba 2015), whose decay is part of the gradient; SGD with
    momentum; Muon (Jordan et al. 2024) for the backbone's matrices, with AdamW for all else."""
    learning_rate: Float = Field(default=1e-3, gt=0)
    """Peak learning rate. Muon's is scaled per matrix so that its updates are as large as AdamW's (Liu et al. 2025)."""
    min_learning_rate_fraction: Fraction = 0.1
    """Lowest learning rate of a schedule that decays, as a fraction of the peak."""
    warmup_steps: Int = Field(default=50, ge=0)
    """Steps of linear warm-up."""
    schedule: Literal["constant", "linear", "cosine", "wsd", "plateau"] = "cosine"
    """Shape of the learning rate after warm-up. `wsd`: stable, then linear decay (Hu et al. 2024); `plateau`: reduced
    whenever validation has stopped improving."""
    decay_fraction: Fraction = 0.2
    """`wsd`: the part of all steps, at the end, over which the rate decays."""
    plateau_factor: Float = Field(default=0.5, gt=0, lt=1)
    """`plateau`: what the rate is multiplied by at each reduction."""
    plateau_patience: Int = Field(default=2, ge=1)
    """`plateau`: validations without an improvement before a reduction."""
    weight_decay: Float = Field(default=0.01, ge=0)
    """Weight decay, on matrices only."""
    betas: tuple[FractionBelowOne, FractionBelowOne] = (0.9, 0.99)
    """Moment decays of AdamW and Adam."""
    momentum: FractionBelowOne = 0.95
    """`sgd` and `muon`: Nesterov momentum; 0 has none."""
    max_gradient_norm: Float | None = Field(default=1.0, gt=0)
    """Gradients are scaled down to this global norm; `null` switches clipping off."""
    label_smoothing: Float = Field(default=0.0, ge=0, lt=1)
    """Probability mass spread evenly over the vocabulary in the target that is trained on (Szegedy et al. 2016).
    Losses are always reported without it."""
    z_loss: Float = Field(default=0.0, ge=0)
    """Weight of the squared log of the softmax's normaliser, added to what is trained on (PaLM: 1e-4)."""
    average_decay: Float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of an exponential moving average of the weights, which is then what is validated and published;
    `null` has none."""
    spike_deviations: Float | None = Field(default=6.0, gt=0)
    """A step whose loss lies this many standard deviations above the mean of recent steps is skipped; `null` lets
    spikes pass. What is not finite is always skipped."""
    validation_interval: Int = Field(default=200, ge=1)
    """Steps between validations; the last step is always validated."""
    validation_batches: Int | None = Field(default=20, ge=1)
    """Batches of a validation, always the same ones; `null` reads the whole split."""
    early_stopping_patience: Int | None = Field(default=None, ge=1)
    """Validations without an improvement after which the training ends; `null` trains all steps."""
    checkpoint_interval: Int = Field(default=200, ge=1)
    """Steps between saved states."""
    asynchronous_checkpoints: bool = False
    """Several processes: whether states are written in the background while the training goes on."""
    snapshot_interval: Int | None = Field(default=None, ge=1)
    """Steps between copies of the weights that are published beside the result; `null` publishes none."""
    max_snapshot_megabytes: Float | None = Field(default=None, gt=0)
    """Disk budget of those copies. When they outgrow it, every second one goes and the interval doubles."""
    log_interval: Int = Field(default=20, ge=1)
    """Steps between logged points."""
    keep: Literal["best", "last"] = "best"
    """Whether the checkpoint holds the weights of the best validation or of the last step."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of forward and backward; `auto` measures once and keeps the faster."""
    attention: Literal["auto", "fused", "explicit"] = "auto"
    """Attention by torch's fused kernel or by the formula written out; `auto` measures once and keeps the faster."""
    compile: Literal["auto"] | bool = "auto"
    """Whether torch.compile fuses the model, which is for models without recurrence; `auto` measures where the
    training is long enough to pay for it."""
    thread_sharing: Literal["auto", "operations", "rows"] = "auto"
    """What the threads of a CPU share: each operation, or the rows of a batch, of which each takes its own through the
    whole model. `auto` measures once and keeps the faster; with dropout, on a GPU and in several processes it is
    `operations`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train and to evaluate; `auto` takes a GPU where there is one."""
    num_processes: Int = Field(default=1, ge=1)
    """Processes that share each step, one per GPU. They divide the batch; data order and loss stay the same."""
    strategy: Literal["ddp", "fsdp2"] = "ddp"
    """Several processes: each holds all weights (`ddp`) or a part of each (`fsdp2`)."""
    num_threads: Int = Field(default=0, ge=0)
    """CPU threads per process; 0 takes the machine's cores. Part of what makes a run bitwise repeatable."""
    seed: Seed = 0
    """Seed of initialisation, dropout and data order."""

    @model_validator(mode="after")
    def _micro_batches_are_not_empty(self) -> "Training":
        if self.batch_size % self.num_processes:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of num_processes {self.num_processes}")
        if self.accumulation * self.num_processes > self.batch_size:
            raise ValueError(
                f"accumulation {self.accumulation} x num_processes {self.num_processes} divide batch_size"
                f" {self.batch_size} into empty parts: their product may be at most batch_size"
            )
        return self

    @model_validator(mode="after")
    def _processes_are_there_for_what_needs_them(self) -> "Training":
        if self.num_processes == 1 and (self.strategy != "ddp" or self.asynchronous_checkpoints):
            raise ValueError(
                "strategy and asynchronous_checkpoints are only read where num_processes is above 1: leave them out or"
                " raise it"
            )
        if self.strategy == "fsdp2" and self.optimizer == "muon":
            raise ValueError("muon needs whole matrices, and fsdp2 shards them: take strategy 'ddp' or 'adamw'")
        return self

    @model_validator(mode="after")
    def _compiled_code_is_of_one_shape(self) -> "Training":
        if self.compile is True and self.batching == "length_buckets":
            raise ValueError(
                "compile true compiles for one shape of batches, and 'length_buckets' has one for each bucket: leave"
                " compile out or take batching 'packed'"
            )
        return self

    @model_validator(mode="after")
    def _no_setting_is_ignored(self) -> "Training":
        for name, (setting, values) in ONLY_WITH.items():
            given, default = getattr(self, name), type(self).model_fields[name].default
            if given != default and not _holds(getattr(self, setting), values):
                wanted = " or ".join(map(repr, values)) if values else "set"
                raise ValueError(
                    f"{name} is {given!r}, but it is only read where {setting} is {wanted}; here {setting} is"
                    f" {getattr(self, setting)!r}. Leave {name} out or change {setting}"
                )
        return self

    @model_validator(mode="after")
    def _what_is_waited_for_can_come(self) -> "Training":
        if self.num_steps == 0:  # nothing is trained, so nothing is waited for
            return self
        validations = -(-self.num_steps // self.validation_interval)
        # By value, not by what was given: requests to child processes have every field.
        if self.warmup_steps != type(self).model_fields["warmup_steps"].default and self.warmup_steps >= self.num_steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} leaves no step at the peak rate: it must be below num_steps"
                f" {self.num_steps}"
            )
        if self.snapshot_interval is not None and self.snapshot_interval > self.num_steps:
            raise ValueError(
                f"snapshot_interval {self.snapshot_interval} publishes nothing: it may be at most num_steps"
                f" {self.num_steps}. Lower it or leave it out"
            )
        if self.early_stopping_patience is not None and validations <= self.early_stopping_patience:
            raise ValueError(
                f"early_stopping_patience {self.early_stopping_patience} never runs out: {self.num_steps} steps with"
                f" validation_interval {self.validation_interval} have {validations} validations. Validate more often"
            )
        return self


ONLY_WITH: dict[str, tuple[str, tuple[Any, ...]]] = {
    "min_learning_rate_fraction": ("schedule", ("linear", "cosine", "wsd", "plateau")),
    "decay_fraction": ("schedule", ("wsd",)),
    "plateau_factor": ("schedule", ("plateau",)),
    "plateau_patience": ("schedule", ("plateau",)),
    "betas": ("optimizer", ("adamw", "adam", "muon")),
    "momentum": ("optimizer", ("sgd", "muon")),
    "max_snapshot_megabytes": ("snapshot_interval", ()),
    "num_buckets": ("batching", ("length_buckets",)),
}
"""Setting -> the setting that must have one of these values (any but null where there are none) for it to be read."""


def _holds(given: Any, values: tuple[Any, ...]) -> bool:
    return given in values if values else given is not None
