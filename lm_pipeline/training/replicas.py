"""Threads that divide the rows of a batch, each with a replica of the model.

An operation on a small batch is too short to be shared by threads: a step of 768 tokens through 0.8 M parameters is
1,500 operations of 30 us on average, and two threads that share each of them are hardly faster than one. Where each
thread takes its own rows of the batch through the whole model, they meet once a step (data parallelism within a
process; torch gives the interpreter's lock back while it computes).

A replica reads the weights of the model itself and has gradients of its own, which are added up in the order of the
replicas: equal settings give equal bits. In bfloat16 its linear layers read copies of their weights that are cast once
a step, where autocast would cast them in every replica, one by one. Every product has the same factors as under
autocast, and weights and sums of gradients stay float32.

Dropout draws from one generator, in whichever order threads come: a model that draws is not divided.

Compiled code calls its kernels with the interpreter's lock held, so threads would wait for each other. In inductor's
C++ wrapper a whole pass is one call, which gives the lock back. What is compiled is a pass from the tokens to the loss:
at a small model's size the embedding and the loss, left to themselves, take a tenth of the step.
"""

import contextlib
import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.loss import Penalties
from lm_pipeline.models.state import State
from lm_pipeline.training.clock import Clock
from lm_pipeline.training.plan import Batch
from lm_pipeline.training.precision import autocast

Part = tuple[Tensor, State]
_COMPILING = threading.Lock()
"""Held for a replica's first pass over a shape, which compiles: not all of the compiler is made for threads."""


class Replicas:
    """A model on the CPU as so many replicas, each with a thread; the calling thread is the first one's.

    Args:
        model: the model; its weights may change afterwards, its parts may not.
        precision: `float32` or `bfloat16`.
        size: replicas. With more than one, each operation should have one thread (`torch.set_num_threads(1)`).
        compiled: whether torch.compile fuses the passes of each; not for recurrent models.
    """

    def __init__(self, model: LanguageModel, precision: str, size: int, *, compiled: bool = False) -> None:
        self.model, self.precision, self.size, self.compiled = model, precision, size, compiled
        self.passes: set[tuple[object, ...]] = set()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.cast = _linear_weights(model) if precision == "bfloat16" else {}
        self.copies = [torch.empty_like(p, dtype=torch.bfloat16) for p in self.cast.values()]
        self.replicas = [self._replica() for _ in range(size)]
        self.sums_of = [self._sums_of(replica) for replica in self.replicas]
        self.trained = [[p for p in replica.parameters() if p.requires_grad] for replica in self.replicas]
        self.gradients: list[list[Tensor | None]] = [[] for _ in self.replicas]
        self.pool = ThreadPoolExecutor(size - 1, initializer=torch.set_num_threads, initargs=(1,)) if size > 1 else None

    def _replica(self) -> LanguageModel:
        replica = copy.deepcopy(self.model)
        values: dict[str, Tensor] = dict(self.model.named_parameters())
        values |= dict(zip(self.cast, self.copies, strict=True))
        for name, parameter in replica.named_parameters():
            parameter.data = values[name].detach()
        return replica

    def _sums_of(self, replica: LanguageModel) -> Callable[..., tuple[Tensor, Tensor, State]]:
        """The replica's `training_sums`; compiled, they give out no keys and values, which nobody goes on from."""
        if not self.compiled:
            return replica.training_sums

        def stateless(*arguments: Any) -> tuple[Tensor, Tensor, State]:
            objective, nll_sum, after = replica.training_sums(*arguments)
            return objective, nll_sum, State(after.position, ())

        return torch.compile(stateless, dynamic=False, options={"cpp_wrapper": self.size > 1})

    @torch.no_grad()
    def refresh(self) -> None:
        """Follow the model: cast its weights after each change of theirs, and train or evaluate as it does."""
        for replica in self.replicas:
            if replica.training != self.model.training:
                replica.train(self.model.training)
        if self.copies:
            torch._foreach_copy_(self.copies, list(self.cast.values()))  # pyright: ignore[reportPrivateImportUsage]

    def differentiate(
        self, batch: Batch, before: State | None, penalties: Penalties, scale: float, clock: Clock
    ) -> Part:
        """Add the gradients of `scale` times the objective to the model's.

        Returns:
            The sum of negative log-likelihoods, and the state after the batch, detached.
        """

        def work(index: int, part: Batch, state: State | None) -> Part:
            with self._autocast(part):
                objective, nll_sum, after = self.sums_of[index](
                    part.inputs_BT, part.targets_BT, state, part.documents_BT, penalties
                )
            if index == 0:
                clock.lap("forward")
            (objective * scale).backward()
            self.gradients[index] = [None if p.grad is None else p.grad.float() for p in self.trained[index]]
            for parameter in self.trained[index]:
                parameter.grad = None
            return nll_sum, after.detach()

        result = self._share(work, batch, before)
        self._collect()
        clock.lap("backward")
        return result

    def sums(self, batch: Batch, before: State | None) -> Part:
        """The sum of negative log-likelihoods without gradients, and the state after the batch."""

        def work(index: int, part: Batch, state: State | None) -> Part:
            with torch.no_grad(), self._autocast(part):
                _, nll_sum, after = self.sums_of[index](part.inputs_BT, part.targets_BT, state, part.documents_BT)
            return nll_sum, after

        return self._share(work, batch, before)

    def _autocast(self, part: Batch) -> contextlib.AbstractContextManager[Any]:
        """That of one thread; casts that all shared would be cleared by the first one that is done (see `autocast`)."""
        return autocast(self.precision, part.inputs_BT.device, keeps_casts=self.size == 1)

    def _share(self, work: Callable[..., Part], batch: Batch, before: State | None) -> Part:
        """Rows by rows, in threads; grad mode and autocast are a thread's own."""
        count = min(self.size, len(batch.inputs_BT))
        parts = batch.split(count)
        states = [None] * count if before is None else before.split(count)

        def one(index: int) -> Part:
            part, state = parts[index], states[index]
            kind = (work.__code__, index, part.inputs_BT.shape, part.documents_BT is None, state is None)
            with contextlib.nullcontext() if not self.compiled or kind in self.passes else _COMPILING:
                done = work(index, part, state)
            self.passes.add(kind)
            return done

        if self.pool is None or count == 1:
            return one(0)
        others = [self.pool.submit(one, i) for i in range(1, count)]
        done = [one(0), *(other.result() for other in others)]
        nll_sum = torch.stack([nll for nll, _ in done]).sum()
        return nll_sum, State.concatenate([after for _, after in done]) if self.model.is_recurrent else done[0][1]

    @torch.no_grad()
    def _collect(self) -> None:
        """Move the gradients of the replicas, in their order, into those of the model."""
        for gradients in self.gradients:
            pairs = [(p, grad) for p, grad in zip(self.parameters, gradients, strict=False) if grad is not None]
            added: list[tuple[Any, Tensor]] = [(p.grad, grad) for p, grad in pairs if p.grad is not None]
            for parameter, grad in pairs:
                if parameter.grad is None:
                    parameter.grad = grad
            if added:
                into, grads = zip(*added, strict=True)
                torch._foreach_add_(into, grads)  # pyright: ignore[reportPrivateImportUsage]
            gradients.clear()


def _linear_weights(model: LanguageModel) -> dict[str, nn.Parameter]:
    """Parameters of linear layers, by name: what autocast casts at each use.

    Layers that are used several times (ALBERT) are left to it: how their gradients are added up is its to say.
    """
    if getattr(model.spec, "share_layers", False):
        return {}
    return {
        f"{name}.{kind}": parameter
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        for kind, parameter in layer.named_parameters(recurse=False)
    }
