"""Ways to compute the same step, and how long each takes."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch

from lm_pipeline.models.attention import Kernel
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.loss import Penalties
from lm_pipeline.training.clock import Clock
from lm_pipeline.training.measurements import best_of
from lm_pipeline.training.plan import Batch
from lm_pipeline.training.precision import autocast
from lm_pipeline.training.replicas import Replicas

SHARING = ("operations", "rows")
"""What the threads of a CPU may share."""
ROUNDS = 5
"""Steps that are timed of each way."""


class Way(NamedTuple):
    """How a step is computed.

    Attributes:
        precision: `float32` or `bfloat16`.
        attention: the kernel.
        sharing: one of `SHARING`.
        compiled: whether torch.compile fuses the model.
    """

    precision: str
    attention: Kernel
    sharing: str = "operations"
    compiled: bool = False


def apply(model: LanguageModel, way: Way) -> None:
    """Make the model compute that way; its precision is the context of `autocast`. See also `make_replicas`."""
    model.set_attention_kernel(way.attention)
    model.backbone._compiled_call_impl = None  # noqa: SLF001 - torch has no other way to take compile() back
    if way.compiled:
        model.backbone.compile(dynamic=False)


def make_replicas(model: LanguageModel, way: Way) -> Replicas | None:
    """What computes the steps of one process on a CPU that way; None where the model itself does."""
    is_plain = way.precision == "float32" and way.sharing == "operations" and not way.compiled
    if model.embedding.weight.device.type != "cpu" or is_plain:
        return None
    size = torch.get_num_threads() if way.sharing == "rows" else 1
    return Replicas(model, way.precision, size, compiled=way.compiled)


def seconds_of(model: LanguageModel, batch: Batch, ways: Iterable[Way]) -> dict[Way, float]:
    """The shortest step of each way, forwards and backwards, after one that may compile.

    Weights, gradients and random generators are left as they were; what the model is set to is not.
    """
    with _left_alone(model):
        steps = {way: _step(model, batch, way) for way in ways}
        return best_of(steps, model.embedding.weight.device, ROUNDS)


def try_compiled(model: LanguageModel, batch: Batch, ways: Iterable[Way]) -> dict[str, Any]:
    """What `decide` knows of compiled ways: their seconds (none of one that fails), those of compiling, what failed."""
    begin, compiled, errors = time.perf_counter(), [], []
    for way in ways:
        try:
            with _left_alone(model):
                _step(model, batch, way)()
            compiled.append(way)
        except Exception as error:  # noqa: BLE001 - no compiler, or code that it cannot take: recorded, and done without
            errors.append(f"{type(error).__name__}: {error}".splitlines()[0][:200])
    record = {"compile_seconds": time.perf_counter() - begin, "compile_error": "; ".join(errors) or None}
    seconds = {f"{way.attention}/{way.sharing}": taken for way, taken in seconds_of(model, batch, compiled).items()}
    return {"compiled_seconds": seconds, **record}


@contextlib.contextmanager
def _left_alone(model: LanguageModel) -> Iterator[None]:
    """Random generators, gradients and the number of threads are afterwards as before."""
    threads, device = torch.get_num_threads(), model.embedding.weight.device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # left to it, it would ask every GPU
            yield
    finally:
        model.zero_grad()
        torch.set_num_threads(threads)


def _step(model: LanguageModel, batch: Batch, way: Way) -> Callable[[], object]:
    """On a CPU, bfloat16 casts each weight once a step, as it is trained."""
    apply(model, way)
    replicas, threads = make_replicas(model, way), torch.get_num_threads()
    parameters = [p for p in model.parameters() if p.requires_grad]
    moved = batch.to(model.embedding.weight.device)

    def of_replicas() -> None:
        assert replicas is not None
        torch.set_num_threads(1 if way.sharing == "rows" else threads)
        replicas.refresh()
        replicas.differentiate(batch, None, Penalties(), 1.0, Clock())

    def of_the_model() -> None:
        torch.set_num_threads(threads)
        model.set_attention_kernel(way.attention)
        with autocast(way.precision, moved.inputs_BT.device):
            nll_sum, _, _ = model.loss_sums(moved.inputs_BT, moved.targets_BT, None, moved.documents_BT)
        torch.autograd.grad(nll_sum, parameters)

    return of_the_model if replicas is None else of_replicas
