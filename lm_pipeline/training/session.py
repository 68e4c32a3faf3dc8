"""Everything that a step changes, and how it goes into a checkpoint and comes back."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.state import State
from lm_pipeline.specs.training import Training
from lm_pipeline.training.checkpoint import Checkpoint


@dataclass
class Counters:
    """The numbers of a training, all of them JSON.

    Attributes:
        step: steps done, skipped ones included.
        position: next position of the plan; behind `step` by what rollbacks jumped over.
        num_tokens: targets learned from.
        train_seconds: time in steps.
        interval_seconds: time in steps since the last logged point.
        elapsed_seconds: time in all, validation and checkpoints included.
        interval_nll: summed loss since the last logged point.
        interval_targets: targets since then.
        train_loss: mean loss per target of the last logged interval.
        gradient_norm: global norm of the last step's gradient, before clipping.
        best_loss: lowest validation loss, if validated.
        best_step: the step that had it.
        consecutive_skips: steps skipped in a row just now.
        skipped_steps: all skipped steps.
        rollbacks: times the training went back to a checkpoint.
        curve_bytes: length of the learning curve's file.
        resumed_from: steps at which a new process took over.
    """

    step: int = 0
    position: int = 0
    num_tokens: int = 0
    train_seconds: float = 0.0
    interval_seconds: float = 0.0
    elapsed_seconds: float = 0.0
    interval_nll: float = 0.0
    interval_targets: int = 0
    train_loss: float | None = None
    gradient_norm: float = 0.0
    best_loss: float | None = None
    best_step: int | None = None
    consecutive_skips: int = 0
    skipped_steps: list[int] = field(default_factory=list)
    rollbacks: int = 0
    curve_bytes: int = 0
    resumed_from: list[int] = field(default_factory=list)


@dataclass
class Session:
    """A training in progress.

    Attributes:
        model: the model.
        optimizer: AdamW over its parameters.
        choices: every `auto` that was resolved, with its measurements.
        environment: what decides the bits (see `environment.describe`).
        key: names the job; a checkpoint of another one is refused.
        counters: the numbers.
        carried: state of each micro-batch's rows before the next step; None where a text begins.
        best_weights: weights of the best validation, on the CPU; None where not kept.
    """

    model: LanguageModel
    optimizer: torch.optim.AdamW
    choices: dict[str, Any]
    environment: dict[str, Any]
    key: str
    counters: Counters
    carried: list[State | None]
    best_weights: dict[str, Tensor] | None = None
    _clock: float = field(default_factory=time.perf_counter)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.model.embedding.weight.device

    @property
    def precision(self) -> str:
        """Arithmetic of forward passes: `float32` or `bfloat16`."""
        return self.choices["precision"]["precision"]

    def to_checkpoint(self) -> Checkpoint:
        """All of it, as tensors and JSON."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
        for row, state in enumerate(self.carried):
            if state is not None:
                tensors |= {f"carried.{row}.{index}": tensor for index, tensor in enumerate(state.tensors)}
        if self.best_weights is not None:
            tensors |= {f"best.{name}": tensor for name, tensor in self.best_weights.items()}
        state = {
            "counters": asdict(self.counters),
            "choices": self.choices,
            "environment": self.environment,
            "key": self.key,
            "carried_positions": [None if state is None else state.position for state in self.carried],
        }
        return Checkpoint(tensors, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what the checkpoint holds; `environment` stays that of this process."""
        tensors, state = checkpoint.tensors, checkpoint.state
        self.model.load_state_dict(_below("model.", tensors))
        self._restore_optimizer(_below("optimizer.", tensors))
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)
        self.carried = []
        for row, position in enumerate(state["carried_positions"]):
            parts = _below(f"carried.{row}.", tensors)
            carried = tuple(parts[str(index)].to(self.device) for index in range(len(parts)))
            self.carried.append(None if position is None else State(position, carried))
        self.best_weights = _below("best.", tensors) or None
        self.counters = Counters(**state["counters"])
        self.choices = state["choices"]

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's weights on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    def note_validation(self, loss: float, training: Training) -> None:
        """Remember the best validation, and its weights where they are to be kept."""
        if self.counters.best_loss is None or loss < self.counters.best_loss:
            self.counters.best_loss, self.counters.best_step = loss, self.counters.step
            if training.keep == "best":
                self.best_weights = self.weights()

    def note_time(self) -> None:
        """Add the time since the last call to the elapsed time."""
        now = time.perf_counter()
        self.counters.elapsed_seconds += now - self._clock
        self._clock = now


def make_optimizer(model: LanguageModel, training: Training) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused; weight decay on matrices, not on biases and norms."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas, fused=True)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
