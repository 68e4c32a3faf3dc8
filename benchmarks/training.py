"""Training beside Hugging Face's Trainer and litgpt at 0.8, 10 and 50 M parameters, and an LSTM beside torch's.

    python benchmarks/training.py [--only 0.8M ...] [--quick]

Runs 14 minutes, with AVX2 alone 20; one size about 4. All sides train a Transformer in Llama form (the one that all
three know: rotary positions, RMSNorm, SwiGLU, no biases) on the bytes of this repository's pages: the same initial
weights, exported by us, the same batches in the same order, AdamW, clipping to norm 1, a constant rate, low enough
that the first steps do not leap: there, rounding alone would divide the losses that are compared. Each is a process
of its own that trains in segments; they take turns, segment by segment, and wait without work while another has its
turn. The best segment of each counts.

Each side computes in its own best way, found by a few steps of each: ours by its own `auto`, the peers by float32 and
bfloat16 (unless it is emulated), for Hugging Face with both attentions, and all of them compiled (torch.compile) in
the best of these. On AMD's processors with AVX2 ours has MKL take other kernels (`lm_pipeline/mkl.py`), the peers are
as they come. litgpt is its model, its loss and Lightning Fabric, step by step as its `pretrain` has it. The peers
live in `build/peers/huggingface` and `build/peers/litgpt` and are set up where absent, with the same torch as ours.
The LSTM's peer is `torch.nn.LSTM` in float32.

Prints one JSON line a comparison, in tokens a second, and one of the utilisation: products of the model's shapes at
the speed that such products alone reach here. Writes `benchmarks/results/training.json`.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lm_pipeline import mkl

mkl.use_avx2_kernels()  # before torch is imported, as in the process that trains

import numpy as np
import torch
from measuring import ROOT, peer_python, write_result

from lm_pipeline.models.huggingface.model import export_model
from lm_pipeline.models.language_model import LanguageModel, build_model
from lm_pipeline.models.storage import save_model
from lm_pipeline.specs.model import LstmModel, TransformerModel
from lm_pipeline.training.choices import DTYPES, product_seconds
from lm_pipeline.training.plan import TokenStream, make_plan

VOCAB_SIZE, BOS = 260, 259
SIZES: dict[str, dict[str, Any]] = {
    "0.8M": {"layers": 4, "heads": 4, "width": 128, "batch": 12, "context": 64, "probe": 20, "segments": [40] * 5},
    "10M": {"layers": 6, "heads": 6, "width": 384, "batch": 8, "context": 256, "probe": 2, "segments": [4] * 4},
    "50M": {"layers": 10, "heads": 10, "width": 640, "batch": 4, "context": 256, "probe": 1, "segments": [1, 2, 2]},
    "LSTM": {"layers": 2, "width": 512, "batch": 32, "context": 64, "segments": [5] * 5},
}
PEERS = {
    "huggingface": ["torch==2.13.0", "transformers==5.24.0", "accelerate==1.15.0"],
    "litgpt": ["torch==2.13.0", "litgpt==0.5.13"],
}
OPTIMIZER = {"learning_rate": 3e-4, "weight_decay": 0.1, "betas": [0.9, 0.99], "max_gradient_norm": 1.0}
OURS = {"schedule": "constant", "warmup_steps": 0, "spike_deviations": None, "log_interval": 10**9}


class Side:
    """One process that trains when it is its turn.

    Args:
        name: the script in `benchmarks/peers`, `training_<name>.py`.
        request: what it is told; see there.
        way: how it computes.
        segments: steps of each segment.
    """

    def __init__(self, name: str, request: dict[str, Any], way: dict[str, Any], segments: list[int]) -> None:
        own = Path(tempfile.mkdtemp(dir=request["scratch"]))
        path = own / "request.json"
        path.write_text(
            json.dumps(request | {"way": way, "segments": segments, "work_dir": str(own / "work")}), "utf-8"
        )
        python = peer_python(name, *PEERS[name]) if name in PEERS else Path(sys.executable)
        self.name, self.answers, self.errors = name, [], (own / "stderr").open("w+")
        self.process = subprocess.Popen(
            [python, ROOT / f"benchmarks/peers/training_{name}.py", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, cwd=own,
        )  # fmt: skip
        self.way = str(self._answer()["way"])

    def take_turn(self) -> dict[str, Any]:
        """Train a segment; returns {"seconds": of a step, "loss": mean of its steps, "peak_bytes"}."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.answers.append(self._answer())
        return self.answers[-1]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        self.errors.seek(0)
        raise SystemExit(f"{self.name} failed:\n{self.errors.read()[-3000:]}")

    def end(self) -> None:
        """Nobody needs it any more."""
        self.process.kill()
        self.process.wait()
        self.errors.close()


def text() -> np.ndarray:
    """The bytes of this repository's pages, cut to whole windows of every size."""
    names = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pages = b"".join((ROOT / name).read_bytes() for name in sorted(names.split()))
    return np.frombuffer(pages[: len(pages) // 256 * 256], np.uint8).astype(np.uint16)


def prepare(name: str, scratch: Path) -> tuple[dict[str, Any], LanguageModel]:
    """What all sides of a size are told, and the model that they begin with."""
    size = SIZES[name]
    if name == "LSTM":
        spec = LstmModel(num_layers=size["layers"], width=size["width"], dropout=0.0)
    else:
        spec = TransformerModel(
            form="llama", num_layers=size["layers"], num_heads=size["heads"], width=size["width"], dropout=0.0
        )
    torch.manual_seed(0)
    model = build_model(spec, VOCAB_SIZE, size["context"])
    tokens = text()
    stream = TokenStream(tokens, np.array([0, len(tokens)]), BOS)
    plan = make_plan(
        stream,
        carries_state=name == "LSTM",
        batch_size=size["batch"],
        context_length=size["context"],
        seed=0,
    )
    read = [plan.batch(step) for step in range(sum(size["segments"]))]
    batches = torch.stack([torch.cat((b.inputs_BT, b.targets_BT[:, -1:]), dim=1) for b in read]).clamp(min=0)
    folders = {part: scratch / part for part in ("base", "huggingface")}
    for folder in folders.values():
        folder.mkdir()
    save_model(model.state_dict(), {"family": spec.family, "model": spec.model_dump(mode="json")}, folders["base"])
    if name != "LSTM":
        export_model(model, folders["huggingface"])
    np.save(scratch / "tokens.npy", tokens)
    np.save(scratch / "batches.npy", batches.numpy())
    steps = {"num_steps": sum(size["segments"]), "batch_size": size["batch"], "context_length": size["context"]}
    request = {
        "scratch": str(scratch), "tokens": str(scratch / "tokens.npy"), "batches": str(scratch / "batches.npy"),
        "base": str(folders["base"]), "huggingface": str(folders["huggingface"]), "bos_id": BOS,
        "vocab_size": VOCAB_SIZE, "model": spec.model_dump(mode="json"), "training": OPTIMIZER | steps,
    }  # fmt: skip
    return request, model


def precisions() -> list[str]:
    """What is worth a trial here: where bfloat16 is emulated, a step takes a hundred times as long."""
    seconds = product_seconds(torch.device("cpu"))
    return [name for name in DTYPES if seconds[name] < 2 * seconds["float32"]]


def best_way(name: str, request: dict[str, Any], size: str, *, quick: bool) -> dict[str, Any]:
    """How a side is fastest, by the second of two short segments of each way."""
    if name == "ours" and (quick or size == "LSTM"):  # `auto` has measured the rest
        return {}

    def seconds(way: dict[str, Any]) -> float:
        side = Side(name, request, way, [SIZES[size]["probe"]] * 2)
        found = [side.take_turn()["seconds"] for _ in range(2)]
        side.end()
        return found[-1]

    attentions = [{"attention": kind} for kind in ("eager", "sdpa")] if name == "huggingface" else [{}]
    tried = ["bfloat16"] if quick else precisions()
    ways = [{"precision": precision, **a, "compile": False} for precision in tried for a in attentions]
    timed = {json.dumps(way): seconds(way) for way in ([{}] if name == "ours" else ways)}
    best = json.loads(min(timed, key=timed.__getitem__))
    if not quick:
        compiled = best | {"compile": True}
        timed[json.dumps(compiled)] = seconds(compiled)
    return json.loads(min(timed, key=timed.__getitem__))


def compare(size: str, request: dict[str, Any], *, quick: bool) -> tuple[list[dict[str, Any]], float]:
    """A line for each peer, and seconds of our step."""
    segments = SIZES[size]["segments"]
    ours = {"training": request["training"] | OURS}
    sides = [Side("ours", request | ours, best_way("ours", request | ours, size, quick=quick), segments)]
    if size == "LSTM":
        sides.append(Side("lstm", request, {}, segments))
    else:
        sides.append(Side("ours", request | ours, {"precision": "float32"}, segments))
        sides += [Side(name, request, best_way(name, request, size, quick=quick), segments) for name in PEERS]
    for _ in segments:
        for side in sides:
            side.take_turn()
    tokens = request["training"]["batch_size"] * request["training"]["context_length"]
    best = [min(answer["seconds"] for answer in side.answers[1:]) for side in sides]
    lines = [
        {
            "name": f"training, {size}, beside {'our float32' if side.name == 'ours' else side.name}",
            "ours": round(tokens / best[0]),
            "peer": round(tokens / seconds),
            "ratio": round(seconds / best[0], 2),
            "unit": "tokens/s",
            "work": f"{tokens} tokens a step; {sides[0].way} | {side.way}",
            "peak_mb": [round(s.answers[-1]["peak_bytes"] / 1e6) for s in (sides[0], side)],
            f"loss of steps {sum(segments[:-1]) + 1} to {sum(segments)}": [
                round(s.answers[-1]["loss"], 4) for s in (sides[0], side)
            ],
        }
        for side, seconds in zip(sides[1:], best[1:], strict=True)
    ]
    losses = [side.answers[-1]["loss"] for side in sides]
    assert max(losses) < 1.01 * min(losses), f"not the same training: {losses}"
    for side in sides:
        side.end()
    return lines, best[0]


def utilisation(size: str, model: LanguageModel, num_tokens: int, seconds: float) -> dict[str, Any]:
    """Our step's operations a second, beside those of its own products (forward and both gradients) alone."""
    shapes = [tuple(p.shape) for name, p in model.named_parameters() if p.dim() == 2 and name != "embedding.weight"]
    speeds = {}
    for precision in (DTYPES[name] for name in precisions()):
        work = spent = 0.0
        for rows, columns in set(shapes):
            x, w = torch.randn(num_tokens, columns).to(precision), torch.randn(rows, columns).to(precision)
            g = torch.randn(num_tokens, rows).to(precision)
            times = []
            for _ in range(6):
                begin = time.perf_counter()
                _ = x @ w.t(), g @ w, g.t() @ x
                times.append(time.perf_counter() - begin)
            spent += shapes.count((rows, columns)) * min(times)
            work += shapes.count((rows, columns)) * 6.0 * num_tokens * rows * columns
        speeds[precision] = work / spent
    peak = max(speeds.values())
    reached = model.flops_per_token() * num_tokens / seconds
    return {
        "name": f"training, {size}, of the products of its shapes",
        "ours": round(reached / 1e9, 1),
        "peer": round(peak / 1e9, 1),
        "ratio": round(reached / peak, 2),
        "unit": "GFLOP/s",
        "work": "operations of the model, attention included, in a whole step; products alone, on all cores",
    }


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--quick", action="store_true", help="peers in bfloat16, uncompiled")
    options = parser.parse_args()
    for name, requirements in PEERS.items():
        peer_python(name, *requirements)
    lines: list[dict[str, Any]] = []
    for size in options.only:
        with tempfile.TemporaryDirectory() as folder:
            request, model = prepare(size, Path(folder))
            found, seconds = compare(size, request, quick=options.quick)
            if size != "LSTM":
                num_tokens = SIZES[size]["batch"] * SIZES[size]["context"]
                found.append(utilisation(size, model, num_tokens, seconds))
        for line in found:
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
            sys.stdout.flush()
            assert math.isfinite(line["ratio"])
        lines += found
    if len(options.only) == len(SIZES) and not options.quick:
        write_result("training", lines)


if __name__ == "__main__":
    main()
