import subprocess
import sys

import pytest
import torch

from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.model import LstmModel, TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training import choices
from lm_pipeline.training.choices import COMPILE_FROM_SECONDS, MIN_GAIN, decide, resolve
from lm_pipeline.training.measurements import remembered
from lm_pipeline.training.plan import Batch
from lm_pipeline.training.ways import Way

MACHINE = {"device": "cpu", "threads": 1}
SPECS = {"lstm": LstmModel(width=16, dropout=0.5), "transformer": TransformerModel(width=16, num_heads=2, dropout=0.5)}
MATMUL = {"float32": 2.0, "bfloat16": 1.0}


def batch() -> Batch:
    tokens = torch.randint(40, (4, 9))
    return Batch(tokens[:, :-1], tokens[:, 1:], begins=True)


@pytest.mark.parametrize("family", SPECS)
def test_measuring_chooses_the_faster_says_why_and_touches_nothing(family, tmp_path):
    torch.manual_seed(0)
    model, read = build_model(SPECS[family], 40, 8), batch()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    chosen = resolve(model, read, Training(), MACHINE, tmp_path)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert set(chosen) == {"precision", "attention", "thread_sharing", "compile"}
    assert all(choice["reason"] for choice in chosen.values())
    matmul, steps = chosen["precision"]["matmul_seconds"], chosen["attention"]["step_seconds"]
    assert all(seconds > 0 for seconds in (*matmul.values(), *steps.values()))
    assert {key.split("/")[1] for key in steps} == ({"fused", "explicit"} if family == "transformer" else {"fused"})
    if matmul["bfloat16"] > matmul["float32"] / MIN_GAIN:
        assert all(key.startswith("float32") for key in steps)  # a slow step was never risked


def test_a_machine_and_shape_are_measured_once(tmp_path, monkeypatch):
    model = build_model(SPECS["lstm"], 40, 8)
    first = resolve(model, batch(), Training(), MACHINE, tmp_path)
    monkeypatch.setattr(choices, "_measure", lambda *_: pytest.fail("measured again"))
    assert resolve(model, batch(), Training(), MACHINE, tmp_path) == first
    with pytest.raises(pytest.fail.Exception):
        resolve(model, batch(), Training(), MACHINE | {"threads": 2}, tmp_path)


def test_where_no_step_is_trained_nothing_is_measured(tmp_path, monkeypatch):
    for name in ("_measure", "_measure_sharing", "try_compiled"):
        monkeypatch.setattr(choices, name, lambda *_: pytest.fail("measured"))
    model = build_model(SPECS["transformer"], 40, 8)
    chosen = resolve(model, batch(), Training(num_steps=0, attention="explicit"), MACHINE, tmp_path)
    values = {name: choice["value"] for name, choice in chosen.items()}
    assert values == {
        "precision": "float32",
        "attention": "explicit",
        "compile": False,
        "thread_sharing": "operations",
    }
    assert "no step is trained" in chosen["precision"]["reason"]
    assert chosen["attention"]["reason"] == choices.IS_SET


def test_what_is_set_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(choices, "_measure", lambda *_: pytest.fail("measured"))
    training = Training(precision="float32", attention="explicit", compile=False)
    chosen = resolve(build_model(SPECS["transformer"], 40, 8), batch(), training, MACHINE, tmp_path)
    assert [chosen[name]["value"] for name in ("precision", "attention", "compile")] == ["float32", "explicit", False]


@pytest.mark.parametrize(
    ("steps", "precision", "attention"),
    [
        ({"float32/fused": 3.0, "float32/explicit": 4.0}, "float32", "fused"),
        ({"float32/fused": 3.0, "float32/explicit": 4.0, "bfloat16/fused": 4.5, "bfloat16/explicit": 2.0},
         "bfloat16", "explicit"),
        ({"float32/fused": 3.0, "float32/explicit": 4.0, "bfloat16/fused": 2.9, "bfloat16/explicit": 2.8},
         "float32", "fused"),
    ],
)  # fmt: skip
def test_the_fastest_pair_is_chosen_and_reduced_precision_must_gain_clearly(steps, precision, attention):
    chosen = decide({"matmul_seconds": MATMUL, "step_seconds": steps}, Training())
    assert (chosen["precision"]["value"], chosen["attention"]["value"]) == (precision, attention)


@pytest.mark.parametrize(
    ("steps", "too_large", "precision", "attention", "of"),
    [
        ({"float32/fused": 3.0}, ["float32/explicit"], "float32", "fused", "attention"),
        ({"bfloat16/fused": 3.0, "bfloat16/explicit": 4.0}, ["float32/fused", "float32/explicit"],
         "bfloat16", "fused", "precision"),
    ],
)  # fmt: skip
def test_what_takes_too_much_memory_is_not_chosen_and_is_the_reason(steps, too_large, precision, attention, of):
    timings = {"matmul_seconds": MATMUL, "step_seconds": steps, "too_large": too_large}
    chosen = decide(timings, Training())
    assert (chosen["precision"]["value"], chosen["attention"]["value"]) == (precision, attention)
    assert chosen[of]["reason"].endswith("takes more memory than there is")


LIMITED = """
import resource, sys, torch
from pathlib import Path
from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.model import TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training.choices import resolve
from lm_pipeline.training.plan import Batch

torch.set_num_threads(1)
tokens = torch.randint(40, (2, 1025), generator=torch.Generator().manual_seed(0))
model = build_model(TransformerModel(num_layers=2, width=16, num_heads=8), 40, 1024)
read = Batch(tokens[:, :-1], tokens[:, 1:], begins=True)
model.loss_sums(read.inputs_BT[:1, :64], read.targets_BT[:1, :64])[0].backward()  # threads and workspaces are there
used = next(int(line.split()[1]) << 10 for line in Path("/proc/self/status").open() if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + (160 << 20), resource.RLIM_INFINITY))
chosen = resolve(model, read, Training(precision="float32", compile=False), {"device": "cpu"}, Path(sys.argv[1]))
print(chosen["attention"]["value"], "|", chosen["attention"]["reason"])
"""


def test_attention_that_does_not_fit_the_memory_is_done_without(tmp_path):
    """Explicit attention keeps above 260 MB here, and gets 160."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "fused | the other takes more memory than there is\n"
    assert not list(tmp_path.glob("steps-*")), "tomorrow there may be more"


def test_a_cpu_is_not_asked_to_try_attention_beyond_its_memory():
    model, rows = build_model(SPECS["transformer"], 40, 8), torch.empty(1, 1 << 22, dtype=torch.int64, device="meta")
    assert not choices._may_fit(model, Batch(rows, rows, begins=True), Way("bfloat16", "explicit"))
    assert choices._may_fit(model, batch(), Way("bfloat16", "explicit"))


def test_what_failed_is_tried_again_next_time(tmp_path):
    found = iter([{"compile_error": "no compiler"}, {"compile_error": None}])
    for expected in ("no compiler", None, None):
        measured = remembered(tmp_path, "x", {}, lambda: next(found), lasts=lambda one: one["compile_error"] is None)
        assert measured["compile_error"] == expected


def test_what_stands_against_bfloat16_is_the_reason_for_float32():
    steps = {"float32/fused": 3.0, "bfloat16/fused": 1.0}
    chosen = decide({"matmul_seconds": MATMUL, "step_seconds": steps, "unreduced": choices.HALF}, Training())
    assert (chosen["precision"]["value"], chosen["precision"]["reason"]) == ("float32", choices.HALF)


def test_compiling_must_gain_and_a_failure_is_recorded():
    timings = {"matmul_seconds": MATMUL, "step_seconds": {"float32/fused": 1.0}}

    def value(**compiled):
        return decide({**timings, **compiled}, Training())["compile"]

    assert not value()["value"]
    assert str(int(COMPILE_FROM_SECONDS)) in value()["reason"]
    assert value(compiled_seconds={"fused/operations": 0.8}, compile_seconds=30.0)["value"]
    assert not value(compiled_seconds={"fused/operations": 0.99}, compile_seconds=30.0)["value"]
    assert value(compiled_seconds={"fused/operations": 0.99, "fused/rows": 0.8}, compile_seconds=30.0)["value"]
    failed = value(compiled_seconds={}, compile_seconds=1.0, compile_error="no compiler")
    assert (failed["value"], failed["reason"]) == (False, "it failed: no compiler")


STEPS = {"float32/fused": 1.0, "float32/explicit": 1.1}
SHARING = {"fused/operations": 1.0, "explicit/operations": 1.1, "fused/rows": 0.9, "explicit/rows": 0.8}
COMPILED = {"fused/operations": 0.6, "explicit/operations": 0.5, "fused/rows": 0.7, "explicit/rows": 0.49}


@pytest.mark.parametrize(
    ("measured", "settings", "attention", "sharing"),
    [
        ({}, {}, "fused", "operations"),
        ({"sharing_seconds": SHARING}, {}, "explicit", "rows"),
        ({"sharing_seconds": SHARING}, {"thread_sharing": "operations"}, "fused", "operations"),
        ({"sharing_seconds": SHARING}, {"attention": "fused"}, "fused", "rows"),
        ({"compiled_seconds": COMPILED}, {"compile": True}, "explicit", "operations"),
        ({"compiled_seconds": {}, "compile_error": "no compiler"}, {"compile": True}, "fused", "operations"),
        ({"compiled_seconds": {"explicit/rows": 0.5}, "compile_error": "x"}, {"compile": True}, "explicit", "rows"),
        ({"sharing_seconds": {"explicit/rows": 0.5}}, {}, "explicit", "rows"),  # the others took too much memory
    ],
)
def test_attention_is_chosen_as_it_will_run(measured, settings, attention, sharing):
    chosen = decide({"matmul_seconds": MATMUL, "step_seconds": STEPS, **measured}, Training(**settings))
    assert (chosen["attention"]["value"], chosen["thread_sharing"]["value"]) == (attention, sharing)
    if measured.get("sharing_seconds") == SHARING and "attention" not in settings:
        assert "as it will run" in chosen["attention"]["reason"]
        assert chosen["attention"]["way_seconds"] == SHARING


FUSED = [("fused", "operations"), ("fused", "rows")]
EXPLICIT = [("explicit", "operations"), ("explicit", "rows")]


@pytest.mark.parametrize(
    ("explicit", "settings", "timed", "compiled"),
    [
        (0.9, {"compile": False}, EXPLICIT + FUSED, []),
        (1.5, {"compile": False}, FUSED, []),  # far slower
        (1.1, {"compile": False, "thread_sharing": "rows"}, [FUSED[1], EXPLICIT[1]], []),
        (1.1, {"compile": False, "thread_sharing": "operations"}, [], []),
        (1.1, {"num_steps": 599}, FUSED + EXPLICIT, []),  # a step takes a second
        (1.1, {"num_steps": 600}, FUSED + EXPLICIT, FUSED),
        (0.9, {"num_steps": 300, "accumulation": 4}, EXPLICIT + FUSED, EXPLICIT + FUSED),
        (1.1, {"num_steps": 5, "compile": True}, [], FUSED + EXPLICIT),
        (1.1, {"num_steps": 5, "compile": True, "thread_sharing": "rows", "attention": "fused"}, [], []),
    ],
)
def test_ways_are_timed_as_far_as_the_training_is_worth_it(explicit, settings, timed, compiled, tmp_path, monkeypatch):
    asked = {"sharing_seconds": [], "compiled_seconds": []}

    def measure(name, ways):
        asked[name] = [(way.attention, way.sharing) for way in ways]
        seconds = {f"{way.attention}/{way.sharing}": 1.0 for way in ways}
        return {name: seconds, "compile_seconds": 1.0, "compile_error": None}

    steps = {"matmul_seconds": MATMUL, "step_seconds": {"float32/fused": 1.0, "float32/explicit": explicit}}
    monkeypatch.setattr(choices, "_measure", lambda *_: steps | {"too_large": []})
    monkeypatch.setattr(choices, "_measure_sharing", lambda _model, _batch, ways: measure("sharing_seconds", ways))
    monkeypatch.setattr(choices, "try_compiled", lambda _model, _batch, ways: measure("compiled_seconds", ways))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    model = build_model(TransformerModel(width=16, num_heads=2, dropout=0.0), 40, 8)
    resolve(model, batch(), Training(**settings), MACHINE, tmp_path)
    assert asked == {"sharing_seconds": timed, "compiled_seconds": compiled}
