"""What `auto` becomes: measured on the real model and batch, once per machine and shape, then kept for good.

bfloat16 is several times faster where the hardware has it (AMX, AVX512-BF16, tensor cores) and a hundred times slower
where it is emulated, so a small matrix product is timed before a whole step is risked. Which attention is faster
depends on precision and shape. torch.compile costs a minute or more before it can gain anything, so it is only
measured where the training is long enough. A checkpoint holds what was chosen: a resumed training never measures.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lm_pipeline.errors import InputError
from lm_pipeline.models.attention import Kernel
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.specs.model import EncoderModel, TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training.measurements import best_of, free_bytes, matmul, remembered
from lm_pipeline.training.plan import Batch
from lm_pipeline.training.ways import SHARING, Way, apply, seconds_of, try_compiled

Timings = dict[str, Any]
Choices = dict[str, dict[str, Any]]

MIN_GAIN = 1.15
"""bfloat16 must be this many times faster to be chosen: less is within the noise of the measurement."""
MIN_COMPILE_GAIN = 1.05
"""The same of compiled code, and of threads with rows of their own, whose results are as exact."""
MAX_LAG = 1.25
"""How many times as long a kernel of attention may take to be measured once more as it would run: what is compiled, or
in threads with rows of their own, gains more of one than of the other."""
COMPILE_FROM_SECONDS = 600.0
"""Length of a training, by the measured step, from which compiling it is tried."""
SECONDS_A_COMPILED_WAY = 300.0
"""Length of a training for each way that is compiled to be timed: the compiler takes half a minute and more."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
IS_SET = "set in the experiment"
TOO_LARGE = "takes more memory than there is"
STATEFUL = "a recurrent model's steps are two calls a layer of torch's own, which compiling leaves as they are"
HALF = "on a GPU torch runs recurrent layers under autocast in float16, whose small gradients vanish"
PRODUCT_SIZES = {"cpu": 256, "cuda": 4096}
"""Rows and columns of the matrices whose product tells whether bfloat16 is worth a step: on a GPU smaller ones take
as long as to be started."""


def resolve(
    model: LanguageModel,
    batch: Batch,
    training: Training,
    environment: Mapping[str, Any],
    folder: Path,
    begins: Callable[[], object] = lambda: None,
) -> Choices:
    """The value of each setting that may be `auto`, with the reason and the timings.

    Weights, gradients and random generators are left as they were; the model is left as chosen (see `apply`).

    Args:
        model: the model, on its device.
        batch: what one pass of a process reads.
        training: the settings.
        environment: describes the machine.
        folder: where measurements are kept.
        begins: called before each measurement of steps; never where all are kept already.
    """
    if training.num_steps == 0:
        return _unmeasured(model, training)
    subject = {
        **environment,
        "model": model.spec.model_dump(mode="json"),
        "vocab_size": model.vocab_size,
        "shape": list(batch.inputs_BT.shape),
        "keeps_documents_apart": batch.documents_BT is not None,
        "product_size": PRODUCT_SIZES[model.embedding.weight.device.type],
        **{name: getattr(training, name) for name in ("precision", "attention")},
    }

    def measured(name: str, measure: Callable[[], Timings], lasts: Callable[[Timings], bool]) -> Timings:
        def begin() -> Timings:
            begins()
            return measure()

        return remembered(folder, name, subject, begin, lasts)

    reasons = _reasons_against(model, batch, training)
    timings: Timings = {"matmul_seconds": {}, "step_seconds": {}, **reasons}
    if "auto" in (training.precision, training.attention) or training.compile == "auto":
        timings |= measured(
            "steps",
            lambda: _measure(model, batch, training),
            lasts=lambda found: not found["too_large"],
        )
    choices = decide(timings, training)
    precision = choices["precision"]["value"]
    attentions, shared = _attentions_in_question(timings, choices), _what_may_be_shared(training, reasons["undivided"])
    subject |= {"precision": precision, "attentions": attentions, "shared": shared}

    def ways(*, compiled: bool) -> list[Way]:
        return [Way(precision, attention, sharing, compiled) for attention in attentions for sharing in shared]

    num_ways = len(attentions) * len(shared)
    may_compile = training.compile == "auto" and training.batching == "packed" and reasons["uncompiled"] is None
    if training.compile is not True and "rows" in shared and (num_ways > 1 or may_compile):
        timings |= measured(
            "sharing",
            lambda: _measure_sharing(model, batch, ways(compiled=False)),
            lasts=lambda found: len(found["sharing_seconds"]) == num_ways,
        )
    tried, expected = ways(compiled=True), _expected_seconds(timings, choices, training)
    if training.compile == "auto":
        tried = tried[: int(expected / SECONDS_A_COMPILED_WAY)]
    if (training.compile is True and num_ways > 1) or (may_compile and expected >= COMPILE_FROM_SECONDS):
        subject["ways"] = tried
        timings |= measured(
            "compiled",
            lambda: try_compiled(model, batch, tried),
            lasts=lambda found: found["compile_error"] is None,
        )
    choices = decide(timings, training)
    apply(model, way_of(choices))
    return choices


def _reasons_against(model: LanguageModel, batch: Batch, training: Training) -> dict[str, str | None]:
    """Why rows cannot be divided, nothing be compiled, bfloat16 not be thought of; None where they can.

    Raises:
        InputError: the settings ask for what cannot be.
    """
    undivided = _why_undivided(model, batch, training)
    if training.thread_sharing == "rows" and undivided is not None:
        raise InputError(f"training.thread_sharing is 'rows', but {undivided}. Set it to 'auto' or 'operations'.")
    uncompiled = STATEFUL if model.is_recurrent else None
    if training.compile is True and uncompiled is not None:
        raise InputError(f"training.compile is true, but {uncompiled}. Leave it out.")
    unreduced = HALF if model.is_recurrent and model.embedding.weight.device.type == "cuda" else None
    if training.precision == "bfloat16" and unreduced is not None:
        raise InputError(f"training.precision is 'bfloat16', but {unreduced}. Set it to 'auto' or 'float32'.")
    return {"undivided": undivided, "uncompiled": uncompiled, "unreduced": unreduced}


def way_of(choices: Choices) -> Way:
    """How steps are computed by these choices."""
    return Way(*(choices[name]["value"] for name in ("precision", "attention", "thread_sharing", "compile")))


def _unmeasured(model: LanguageModel, training: Training) -> Choices:
    """What is `auto` where no step is trained: the validation of published weights depends on no machine's timings."""
    plain = {"precision": "float32", "attention": "fused", "compile": False, "thread_sharing": "operations"}
    open_settings = {name: value for name, value in plain.items() if getattr(training, name) == "auto"}
    nothing: Timings = {"matmul_seconds": {}, "step_seconds": {}}
    choices = decide(nothing, training.model_copy(update=open_settings))
    for name in open_settings:
        choices[name]["reason"] = "no step is trained, so nothing is measured"
    apply(model, way_of(choices))
    return choices


def decide(timings: Timings, training: Training) -> Choices:
    """The choices that these timings lead to: a pure function.

    Args:
        timings: `matmul_seconds` by precision, `step_seconds` by `<precision>/<attention>`, and `too_large`, those of
            these that memory did not suffice for; `sharing_seconds` by `<attention>/<what threads share>`, where that
            was tried, and `undivided`, why rows cannot be (None where they can); where compiled code was tried,
            `compiled_seconds` in the same way (nothing if it failed), `compile_seconds` and `compile_error`, and
            `uncompiled`, why it cannot be; `unreduced`, why bfloat16 is not thought of.
        training: the settings; what is not `auto` there stays.
    """
    steps = timings["step_seconds"]
    precision, why = training.precision, IS_SET
    if precision == "auto":
        best = {name: min((s for key, s in steps.items() if key.startswith(name)), default=None) for name in DTYPES}
        unreduced = timings.get("unreduced")
        precision, why = "float32", unreduced or "bfloat16 matrix products are not faster here"
        if unreduced is None and best["bfloat16"] is not None and best["float32"] is None:
            precision, why = "bfloat16", "a float32 step " + TOO_LARGE
        elif unreduced is None and best["bfloat16"] is not None and best["float32"] is not None:
            precision = "bfloat16" if best["bfloat16"] < best["float32"] / MIN_GAIN else "float32"
            why = f"a bfloat16 step takes {best['bfloat16'] / best['float32']:.2f} of a float32 step"
    choices: Choices = {
        "precision": {"value": precision, "reason": why, "matmul_seconds": timings["matmul_seconds"]},
        "attention": _decide_attention(timings, training, precision),
    }
    choices["compile"] = _decide_compile(timings, choices, training)
    seconds = timings.get("compiled_seconds" if choices["compile"]["value"] else "sharing_seconds", {})
    choices["thread_sharing"] = _decide_sharing(seconds, timings, training)
    shared_by = {name: s for name, s in seconds.items() if name.endswith("/" + choices["thread_sharing"]["value"])}
    if training.attention == "auto" and shared_by:
        choices["attention"] |= {
            "value": min(shared_by, key=shared_by.__getitem__).split("/")[0],
            "way_seconds": seconds,
        }
        if len(shared_by) > 1:
            choices["attention"]["reason"] = "the faster of both as it will run"
    return choices


def _decide_attention(timings: Timings, training: Training, precision: str) -> dict[str, Any]:
    """The faster kernel where nothing is compiled and threads share operations."""
    steps = timings["step_seconds"]
    if training.attention != "auto":
        return {"value": training.attention, "reason": IS_SET, "step_seconds": steps}
    of_both = _seconds_by_attention(timings, precision)
    because = "the faster of both" if len(of_both) > 1 else "there is no attention to choose"
    if len(of_both) == 1 and any(way.startswith(precision) for way in timings.get("too_large", ())):
        because = "the other " + TOO_LARGE
    value = min(of_both, key=of_both.__getitem__) if of_both else "fused"
    return {"value": value, "reason": because, "step_seconds": steps}


def _seconds_by_attention(timings: Timings, precision: str) -> dict[Kernel, float]:
    keys: dict[Kernel, str] = {"fused": f"{precision}/fused", "explicit": f"{precision}/explicit"}
    return {name: timings["step_seconds"][key] for name, key in keys.items() if key in timings["step_seconds"]}


def _attentions_in_question(timings: Timings, choices: Choices) -> list[Kernel]:
    """What may be the fastest where it is compiled or threads share rows, the likelier first."""
    chosen = choices["attention"]["value"]
    seconds = _seconds_by_attention(timings, choices["precision"]["value"])
    if choices["attention"]["reason"] == IS_SET or len(seconds) < 2:
        return [chosen]
    return sorted((name for name in seconds if seconds[name] <= MAX_LAG * seconds[chosen]), key=seconds.__getitem__)


def _decide_sharing(seconds: dict[str, float], timings: Timings, training: Training) -> dict[str, Any]:
    if training.thread_sharing != "auto":
        return {"value": training.thread_sharing, "reason": IS_SET}
    best = {
        sharing: min((s for name, s in seconds.items() if name.endswith("/" + sharing)), default=None)
        for sharing in SHARING
    }
    if best["rows"] is None:
        unmeasured = "steps with rows of its own for each thread failed" if seconds else "nothing was measured"
        return {"value": "operations", "reason": timings.get("undivided") or unmeasured}
    if best["operations"] is None:
        return {"value": "rows", "reason": "steps whose threads share operations failed", "sharing_seconds": seconds}
    gain = best["operations"] / best["rows"]
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
    if "compiled_seconds" not in timings:
        is_short = f"the training is expected to take less than {COMPILE_FROM_SECONDS:.0f} s"
        return {"value": False, "reason": timings.get("uncompiled") or is_short}
    record = {name: timings[name] for name in ("compiled_seconds", "compile_seconds")}
    if not timings["compiled_seconds"]:
        return {"value": False, "reason": f"it failed: {timings['compile_error']}", **record}
    gain = _step_seconds(timings, choices) / min(timings["compiled_seconds"].values())
    return {"value": gain >= MIN_COMPILE_GAIN, "reason": f"a compiled step is {gain:.2f} times as fast", **record}


def _expected_seconds(timings: Timings, choices: Choices, training: Training) -> float:
    """Of the whole training, uncompiled; 0 where no step was timed."""
    return (_step_seconds(timings, choices) or 0.0) * training.accumulation * training.num_steps


def _step_seconds(timings: Timings, choices: Choices) -> Any:
    if timings.get("sharing_seconds"):
        return min(timings["sharing_seconds"].values())
    return timings["step_seconds"].get(f"{choices['precision']['value']}/{choices['attention']['value']}")


def product_seconds(device: torch.device) -> dict[str, float]:
    """Seconds of a small matrix product in each precision: where bfloat16 is emulated, a large one takes a minute."""
    size = PRODUCT_SIZES[device.type]
    return best_of({name: matmul(dtype, device, size) for name, dtype in DTYPES.items()}, device, rounds=10)


def _measure(model: LanguageModel, batch: Batch, training: Training) -> Timings:
    products = product_seconds(model.embedding.weight.device)
    precisions = list(DTYPES) if training.precision == "auto" else [training.precision]
    if training.precision == "auto" and products["bfloat16"] > products["float32"] / MIN_GAIN:
        precisions = ["float32"]
    attentions: list[Kernel] = ["fused", "explicit"] if training.attention == "auto" else [training.attention]
    if model.spec.family not in ("transformer", "encoder") and training.attention == "auto":
        attentions = ["fused"]  # nothing attends
    ways = [Way(p, a) for p in precisions for a in attentions]
    tried = [way for way in ways if way.attention == "fused" or len(attentions) == 1 or _may_fit(model, batch, way)]
    found = seconds_of(model, batch, tried)
    seconds = {f"{way.precision}/{way.attention}": taken for way, taken in found.items()}
    too_large = [f"{way.precision}/{way.attention}" for way in ways if way not in found]
    return {"matmul_seconds": products, "step_seconds": seconds, "too_large": too_large}


def _may_fit(model: LanguageModel, batch: Batch, way: Way) -> bool:
    """Whether there is room for what explicit attention keeps: scores and their softmax, T x T numbers a head.

    A CPU is not asked to try: it would not refuse, but kill the process.
    """
    spec, (num_rows, length) = model.spec, batch.inputs_BT.shape
    assert isinstance(spec, TransformerModel | EncoderModel)
    kept = 2 * spec.num_layers * num_rows * spec.num_heads * length**2 * DTYPES[way.precision].itemsize
    return kept < free_bytes(model.embedding.weight.device)


def _why_undivided(model: LanguageModel, batch: Batch, training: Training) -> str | None:
    """Why threads cannot share the rows of a batch; None where they can."""
    if training.num_processes > 1 or model.embedding.weight.device.type != "cpu":
        return "only one process on a CPU divides its rows among threads"
    if min(torch.get_num_threads(), len(batch.inputs_BT)) < 2:
        return "there is one thread, or one row"
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        model.loss_sums(batch.inputs_BT, batch.targets_BT, None, batch.documents_BT)
        draws = not torch.equal(before, torch.get_rng_state())
    return "dropout draws from one generator, which threads would reach in any order" if draws else None


def _what_may_be_shared(training: Training, undivided: str | None) -> list[str]:
    if training.thread_sharing != "auto":
        return [training.thread_sharing]
    return list(SHARING) if undivided is None else ["operations"]


def _measure_sharing(model: LanguageModel, batch: Batch, ways: list[Way]) -> Timings:
    found = seconds_of(model, batch, ways)
    return {"sharing_seconds": {f"{way.attention}/{way.sharing}": seconds for way, seconds in found.items()}}
