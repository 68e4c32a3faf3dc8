"""Everything that a step changes, and how it goes into a checkpoint and comes back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Self

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from lm_pipeline.models.language_model import LanguageModel, published_weights
from lm_pipeline.models.state import State
from lm_pipeline.specs.training import Training
from lm_pipeline.training.averaging import Average, averaged
from lm_pipeline.training.checkpoint import Checkpoint
from lm_pipeline.training.clock import Clock
from lm_pipeline.training.optimizers import optimizer_tensors, restore_optimizers
from lm_pipeline.training.replicas import Replicas
from lm_pipeline.training.world import World, fill, whole


@dataclass
class Counters:
    """The numbers of a training, all of them JSON.

    Attributes:
        step: steps done, skipped ones included.
        position: next position of the plan; behind `step` by what rollbacks jumped over.
        num_tokens: targets learned from.
        seconds: time by part (see `clock`).
        logged_seconds: time in steps up to the last logged point.
        interval_nll: summed loss since the last logged point.
        interval_targets: targets since then.
        train_loss: mean loss per target of the last logged interval.
        gradient_norm: global norm of the last step's gradient, before clipping.
        recent_losses: by width of the batch, losses of the last good steps, with which the guard compares a new one:
            the shorter the text, the dearer each of its tokens.
        validations: step and loss of every validation.
        best_loss: lowest validation loss, if validated.
        best_step: the step that had it.
        consecutive_skips: steps skipped in a row just now.
        skipped_steps: all skipped steps.
        skip_reason: why the last one was.
        rollbacks: steps from which the training went back to a checkpoint.
        curve_bytes: length of the learning curve's file.
        resumed_from: steps at which a new process took over.
    """

    step: int = 0
    position: int = 0
    num_tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    logged_seconds: float = 0.0
    interval_nll: float = 0.0
    interval_targets: int = 0
    train_loss: float | None = None
    gradient_norm: float = 0.0
    recent_losses: dict[str, list[float]] = field(default_factory=dict)
    validations: list[tuple[int, float]] = field(default_factory=list)
    best_loss: float | None = None
    best_step: int | None = None
    consecutive_skips: int = 0
    skipped_steps: list[int] = field(default_factory=list)
    skip_reason: str = ""
    rollbacks: list[int] = field(default_factory=list)
    curve_bytes: int = 0
    resumed_from: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Self:
        """Those that a checkpoint holds.

        Raises:
            ValueError: these are not the counters of this version.
        """
        if differing := value.keys() ^ {one.name for one in fields(cls)}:
            raise ValueError(f"{', '.join(sorted(differing))}: counted by one of both only")
        try:
            return TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


@dataclass
class Session:
    """A training in progress.

    Attributes:
        model: the model.
        losses: its sums of a batch, as a module whose gradients are those of all processes.
        replicas: what computes them, where threads share rows or weights are cast once a step; None elsewhere.
        optimizers: what updates its weights.
        world: the processes that share the training.
        choices: every `auto` that was resolved, with its measurements.
        peak_flops: the most operations a second that this process's device reaches.
        environment: what decides the bits (see `environment.describe`).
        key: names the job; a checkpoint of another one is refused.
        counters: the numbers.
        carried: state of each micro-batch's rows before the next step; None where a text begins.
        average: moving average of the weights, where there is one.
        best_weights: weights of the best validation; None where not kept.
        clock: where the time goes.
    """

    model: LanguageModel
    losses: nn.Module
    replicas: Replicas | None
    optimizers: list[torch.optim.Optimizer]
    world: World
    choices: dict[str, Any]
    peak_flops: float
    environment: dict[str, Any]
    key: str
    counters: Counters
    carried: list[State | None]
    average: Average | None = None
    best_weights: dict[str, Tensor] | None = None
    clock: Clock = field(default_factory=Clock)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.model.embedding.weight.device

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """The weights that are trained; to look for them anew in every step would cost 1 % of a small one."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    @property
    def precision(self) -> str:
        """Arithmetic of forward passes: `float32` or `bfloat16`."""
        return self.choices["precision"]["value"]

    def to_checkpoint(self) -> Checkpoint:
        """All of it, as tensors and JSON."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        moments = optimizer_tensors(self.optimizers, self.model)
        tensors |= {f"optimizer.{name}": tensor for name, tensor in moments.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in (self.average or {}).items()}
        tensors |= {f"best.{name}": tensor for name, tensor in (self.best_weights or {}).items()}
        tensors[f"rng.cpu.{self.world.rank}"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors[f"rng.cuda.{self.world.rank}"] = torch.cuda.get_rng_state(self.device)
        rows = [state for state in self.carried if state is not None]
        carried = State.concatenate(rows) if rows else None
        if carried is not None:
            tensors |= {f"carried.{i}": self.world.gather_rows(t) for i, t in enumerate(carried.tensors)}
            if carried.documents is not None:
                tensors["carried.documents"] = self.world.gather_rows(carried.documents)
        self.counters.seconds = dict(self.clock.seconds)
        state = {
            "counters": asdict(self.counters),
            "choices": self.choices,
            "peak_flops": self.peak_flops,
            "environment": self.environment,
            "key": self.key,
            "carried_position": None if carried is None else carried.position,
        }
        return Checkpoint(tensors, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what the checkpoint holds; `environment` stays that of this process.

        Its tensors may be views of a file: all of them are copied, for the file goes when two later ones are there.
        """
        tensors, state = checkpoint.tensors, checkpoint.state
        weights = below("model.", tensors)
        for name, tensor in self.model.state_dict().items():
            fill(tensor, weights[name])
        restore_optimizers(self.optimizers, self.model, below("optimizer.", tensors))
        if self.average is not None:
            kept = below("average.", tensors)
            for name, tensor in self.average.items():
                fill(tensor, kept[name])
        self.best_weights = {name: tensor.clone() for name, tensor in below("best.", tensors).items()} or None
        rng = f"rng.cpu.{self.world.rank}"
        if rng in tensors:  # another number of processes has other generators: those seeded at the start stay
            torch.set_rng_state(tensors[rng])
        if self.device.type == "cuda" and f"rng.cuda.{self.world.rank}" in tensors:
            torch.cuda.set_rng_state(tensors[f"rng.cuda.{self.world.rank}"], self.device)
        self._restore_carried(below("carried.", tensors), state["carried_position"])
        self.counters = Counters.of(state["counters"])
        self.choices, self.peak_flops = state["choices"], state["peak_flops"]
        self.clock = Clock(self.counters.seconds)

    def _restore_carried(self, tensors: Mapping[str, Tensor], position: int | None) -> None:
        parts = len(self.carried)
        self.carried = [None] * parts
        if position is None:
            return
        mine = {name: self.world.rows(tensor).to(self.device) for name, tensor in tensors.items()}
        documents = mine.pop("documents").tensor_split(parts) if "documents" in mine else [None] * parts
        columns = [mine[str(index)].tensor_split(parts) for index in range(len(mine))]
        states = [State(position, tuple(column), kept) for *column, kept in zip(*columns, documents, strict=True)]
        # Products of matrices differ in the last bits by where in memory a factor begins, modulo 16 bytes; in a file it
        # begins anywhere. Copies lie as what is computed does.
        self.carried = [state.clone() for state in states]

    def weights(self) -> dict[str, Tensor]:
        """A copy, on the CPU, of the weights that are validated and published: the average where there is one.

        Of a distributed model it is the whole; all processes must ask.
        """
        with averaged(self.model, self.average):
            return {name: whole(t.detach()).cpu().clone() for name, t in published_weights(self.model).items()}

    def note_validation(self, loss: float, training: Training) -> None:
        """Remember a validation, and the weights of the best one where they are to be kept."""
        counters = self.counters
        counters.validations.append((counters.step, loss))
        if counters.best_loss is None or loss < counters.best_loss:
            counters.best_loss, counters.best_step = loss, counters.step
            if training.keep == "best":
                self.best_weights = self.weights()


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
