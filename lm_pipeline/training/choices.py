"""What `auto` becomes: measured on the real model and batch, once per machine and shape, then kept for good.

bfloat16 is several times faster where the hardware has it (AMX, AVX512-BF16, tensor cores) and a hundred times slower
where it is emulated, so a small matrix product is timed before a whole step is risked. Which attention is faster
depends on precision and shape. torch.compile costs a minute or more before it can gain anything, so it is only
measured where the training is long enough. A checkpoint holds what was chosen: a resumed training never measures.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lm_pipeline.errors import InputError
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.loss import Penalties
from lm_pipeline.specs.training import Training
from lm_pipeline.training.clock import Clock
from lm_pipeline.training.measurements import best_of, matmul, remembered
from lm_pipeline.training.plan import Batch
from lm_pipeline.training.precision import autocast
from lm_pipeline.training.replicas import Replicas

SHARING = ("operations", "rows")
Timings = dict[str, Any]
Choices = dict[str, dict[str, Any]]

MIN_GAIN = 1.15
"""bfloat16 must be this many times faster to be chosen: less is within the noise of the measurement."""
MIN_COMPILE_GAIN = 1.05
"""The same of compiled code, and of threads with rows of their own, whose results are as exact."""
COMPILE_FROM_SECONDS = 600.0
"""Length of a training, by the measured step, from which compiling it is tried: it takes one or two minutes."""
ROUNDS = 5
"""Steps that are timed of each way to compute."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
IS_SET = "set in the experiment"
KEEPS_LOCK = "compiled code keeps the interpreter's lock, so threads cannot have rows of their own"


def resolve(
    model: LanguageModel, batch: Batch, training: Training, environment: Mapping[str, Any], folder: Path
) -> Choices:
    """The value of each setting that may be `auto`, with the reason and the timings.

    Weights, gradients and random generators are left as they were; the model is left as chosen (see `apply`).

    Args:
        model: the model, on its device.
        batch: what one pass of a process reads.
        training: the settings.
        environment: describes the machine.
        folder: where measurements are kept.
    """
    if training.num_steps == 0:
        return _unmeasured(model, training)
    subject = {
        **environment,
        "model": model.spec.model_dump(mode="json"),
        "vocab_size": model.vocab_size,
        "shape": list(batch.inputs_BT.shape),
        "keeps_documents_apart": batch.documents_BT is not None,
        **{name: getattr(training, name) for name in ("precision", "attention")},
    }
    undivided = _why_undivided(model, batch, training)
    if training.thread_sharing == "rows" and undivided is not None:
        raise InputError(f"training.thread_sharing is 'rows', but {undivided}. Set it to 'auto' or 'operations'.")
    timings: Timings = {"matmul_seconds": {}, "step_seconds": {}}
    if "auto" in (training.precision, training.attention) or training.compile == "auto":
        timings = remembered(folder, "steps", subject, lambda: _measure(model, batch, training))
    timings = {**timings, "sharing_seconds": {}, "undivided": undivided}
    if training.thread_sharing == "auto" and undivided is None:
        choices = decide(timings, training)
        apply(model, choices)
        chosen = {name: choices[name]["value"] for name in ("precision", "attention")}
        timings |= remembered(
            folder, "sharing", {**subject, **chosen}, lambda: _measure_sharing(model, batch, chosen["precision"])
        )
    choices = decide(timings, training)
    apply(model, choices)
    may_compile = training.compile == "auto" and training.batching == "packed" and training.thread_sharing != "rows"
    if may_compile and _is_long(timings, choices, training):
        chosen = {name: choices[name]["value"] for name in ("precision", "attention")}
        compiled = remembered(
            folder, "compiled", {**subject, **chosen}, lambda: _measure_compiled(model, batch, choices)
        )
        choices = decide({**timings, **compiled}, training)
    apply(model, choices)
    return choices


def _unmeasured(model: LanguageModel, training: Training) -> Choices:
    """What is `auto` where no step is trained: the validation of published weights depends on no machine's timings."""
    plain = {"precision": "float32", "attention": "fused", "compile": False, "thread_sharing": "operations"}
    open_settings = {name: value for name, value in plain.items() if getattr(training, name) == "auto"}
    nothing: Timings = {"matmul_seconds": {}, "step_seconds": {}, "sharing_seconds": {}, "undivided": None}
    choices = decide(nothing, training.model_copy(update=open_settings))
    for name in open_settings:
        choices[name]["reason"] = "no step is trained, so nothing is measured"
    apply(model, choices)
    return choices


def decide(timings: Timings, training: Training) -> Choices:
    """The choices that these timings lead to: a pure function.

    Args:
        timings: `matmul_seconds` by precision, `step_seconds` by `<precision>/<attention>`; `sharing_seconds` of
            threads that share operations or rows, where both were tried, and `undivided`, why rows cannot be (None
            where they can); where compiled code was tried, `compiled_seconds` (None if it failed), `compile_seconds`
            and `compile_error`.
        training: the settings; what is not `auto` there stays.
    """
    steps = timings["step_seconds"]
    precision, why = training.precision, IS_SET
    if precision == "auto":
        best = {name: min((s for key, s in steps.items() if key.startswith(name)), default=None) for name in DTYPES}
        precision, why = "float32", "bfloat16 matrix products are not faster here"
        if best["bfloat16"] is not None and best["float32"] is not None:
            precision = "bfloat16" if best["bfloat16"] < best["float32"] / MIN_GAIN else "float32"
            why = f"a bfloat16 step takes {best['bfloat16'] / best['float32']:.2f} of a float32 step"
    attention, because = training.attention, IS_SET
    if attention == "auto":
        of_both = {
            name: steps[f"{precision}/{name}"] for name in ("fused", "explicit") if f"{precision}/{name}" in steps
        }
        attention = min(of_both, key=of_both.__getitem__) if of_both else "fused"
        because = "the faster of both" if len(of_both) > 1 else "there is no attention to choose"
    choices: Choices = {
        "precision": {"value": precision, "reason": why, "matmul_seconds": timings["matmul_seconds"]},
        "attention": {"value": attention, "reason": because, "step_seconds": steps},
    }
    choices["thread_sharing"] = _decide_sharing(timings, training)
    choices["compile"] = _decide_compile(timings, choices, training)
    if choices["compile"]["value"] and choices["thread_sharing"]["value"] == "rows":
        choices["thread_sharing"] |= {"value": "operations", "reason": KEEPS_LOCK}
    return choices


def _decide_sharing(timings: Timings, training: Training) -> dict[str, Any]:
    seconds = timings.get("sharing_seconds")
    if training.thread_sharing != "auto":
        return {"value": training.thread_sharing, "reason": IS_SET}
    if not seconds:
        return {"value": "operations", "reason": timings.get("undivided") or "nothing was measured"}
    gain = seconds["operations"] / seconds["rows"]
    return {
        "value": "rows" if gain >= MIN_COMPILE_GAIN else "operations",
        "reason": f"with rows of its own for each thread a step is {gain:.2f} times as fast",
        "sharing_seconds": seconds,
    }


def _decide_compile(timings: Timings, choices: Choices, training: Training) -> dict[str, Any]:
    if training.compile != "auto":
        return {"value": training.compile, "reason": IS_SET}
    if training.batching == "length_buckets":
        return {"value": False, "reason": "each bucket has a shape of its own, which would be compiled"}
    if training.thread_sharing == "rows":
        return {"value": False, "reason": KEEPS_LOCK}
    if "compiled_seconds" not in timings:
        return {"value": False, "reason": f"the training is expected to take less than {COMPILE_FROM_SECONDS:.0f} s"}
    record = {name: timings[name] for name in ("compiled_seconds", "compile_seconds")}
    if timings["compiled_seconds"] is None:
        return {"value": False, "reason": f"it failed: {timings['compile_error']}", **record}
    gain = _step_seconds(timings, choices) / timings["compiled_seconds"]
    return {"value": gain >= MIN_COMPILE_GAIN, "reason": f"a compiled step is {gain:.2f} times as fast", **record}


def make_replicas(model: LanguageModel, choices: Choices) -> Replicas | None:
    """What computes the steps of one process on a CPU as chosen; None where the model itself does.

    Where threads share rows, each operation has one thread from here on.
    """
    if model.embedding.weight.device.type != "cpu" or choices["compile"]["value"]:
        return None
    precision, divides = choices["precision"]["value"], choices["thread_sharing"]["value"] == "rows"
    if not divides:
        return Replicas(model, precision, 1) if precision == "bfloat16" else None
    size = torch.get_num_threads()
    torch.set_num_threads(1)
    return Replicas(model, precision, size)


def apply(model: LanguageModel, choices: Choices) -> None:
    """Make the model compute as chosen; its precision is the context of `autocast`. See also `make_replicas`."""
    model.set_attention_kernel(choices["attention"]["value"])
    model.backbone._compiled_call_impl = None  # noqa: SLF001 - torch has no other way to take compile() back
    if choices["compile"]["value"]:
        model.backbone.compile(dynamic=False)


def _is_long(timings: Timings, choices: Choices, training: Training) -> bool:
    seconds = _step_seconds(timings, choices)
    return seconds is not None and seconds * training.accumulation * training.num_steps >= COMPILE_FROM_SECONDS


def _step_seconds(timings: Timings, choices: Choices) -> Any:
    if timings.get("sharing_seconds"):
        return min(timings["sharing_seconds"].values())
    return timings["step_seconds"].get(f"{choices['precision']['value']}/{choices['attention']['value']}")


def _measure(model: LanguageModel, batch: Batch, training: Training) -> Timings:
    device = model.embedding.weight.device
    products = best_of({name: matmul(dtype, device, 256) for name, dtype in DTYPES.items()}, device, rounds=10)
    precisions = list(DTYPES) if training.precision == "auto" else [training.precision]
    if training.precision == "auto" and products["bfloat16"] > products["float32"] / MIN_GAIN:
        precisions = ["float32"]
    attentions = [training.attention] if training.attention != "auto" else ["fused", "explicit"]
    if model.spec.family not in ("transformer", "encoder") and training.attention == "auto":
        attentions = ["fused"]  # nothing attends
    ways = {f"{p}/{a}": _trained_step(model, batch, p, a) for p in precisions for a in attentions}
    with torch.random.fork_rng():
        seconds = best_of(ways, device, ROUNDS)
    model.zero_grad()
    return {"matmul_seconds": products, "step_seconds": seconds}


def _trained_step(model: LanguageModel, batch: Batch, precision: str, attention: str) -> Callable[[], object]:
    """A step as it is trained uncompiled: on a CPU, bfloat16 casts each weight once a step."""
    if precision != "bfloat16" or model.embedding.weight.device.type != "cpu":
        return _step(model, batch, precision, attention)
    model.set_attention_kernel(attention)  # type: ignore[arg-type] # one of its names
    return _replicated_step(Replicas(model, precision, 1), batch, torch.get_num_threads())


def _why_undivided(model: LanguageModel, batch: Batch, training: Training) -> str | None:
    """Why threads cannot share the rows of a batch; None where they can."""
    if training.num_processes > 1 or model.embedding.weight.device.type != "cpu":
        return "only one process on a CPU divides its rows among threads"
    if training.compile is True:
        return KEEPS_LOCK
    if min(torch.get_num_threads(), len(batch.inputs_BT)) < 2:
        return "there is one thread, or one row"
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        model.loss_sums(batch.inputs_BT, batch.targets_BT, None, batch.documents_BT)
        draws = not torch.equal(before, torch.get_rng_state())
    return "dropout draws from one generator, which threads would reach in any order" if draws else None


def _measure_sharing(model: LanguageModel, batch: Batch, precision: str) -> Timings:
    threads, ways = torch.get_num_threads(), {}
    for sharing, size in zip(SHARING, (1, threads), strict=True):
        ways[sharing] = _replicated_step(Replicas(model, precision, size), batch, threads if size == 1 else 1)
    seconds = best_of(ways, model.embedding.weight.device, ROUNDS)
    model.zero_grad()
    torch.set_num_threads(threads)
    return {"sharing_seconds": seconds}


def _replicated_step(replicas: Replicas, batch: Batch, threads: int) -> Callable[[], object]:
    def step() -> None:
        torch.set_num_threads(threads)
        replicas.refresh()
        replicas.differentiate(batch, None, Penalties(), 1.0, Clock())

    return step


def _measure_compiled(model: LanguageModel, batch: Batch, choices: Choices) -> Timings:
    device = model.embedding.weight.device
    apply(model, {**choices, "compile": {"value": True}})
    compiled = _step(model, batch, choices["precision"]["value"], choices["attention"]["value"])
    begin = time.perf_counter()
    try:
        compiled()
        seconds = time.perf_counter() - begin
        return {
            "compiled_seconds": best_of({"compiled": compiled}, device, ROUNDS)["compiled"],
            "compile_seconds": seconds,
            "compile_error": None,
        }
    except Exception as error:  # noqa: BLE001 - no compiler, or code that it cannot take: recorded, and done without
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return {"compiled_seconds": None, "compile_seconds": time.perf_counter() - begin, "compile_error": text}


def _step(model: LanguageModel, batch: Batch, precision: str, attention: str) -> Callable[[], object]:
    device = model.embedding.weight.device
    batch = batch.to(device)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def step() -> None:
        model.set_attention_kernel(attention)  # type: ignore[arg-type] # one of its names
        with torch.random.fork_rng(), autocast(precision, device):
            nll_sum, _, _ = model.loss_sums(batch.inputs_BT, batch.targets_BT, None, batch.documents_BT)
        torch.autograd.grad(nll_sum, parameters)

    return step
