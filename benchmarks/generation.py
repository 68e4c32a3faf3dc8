"""Greedy generation with the state, beside ours without it and beside Hugging Face's `generate` of the same weights.

    python benchmarks/generation.py [--rounds 2]

Runs four minutes. A Transformer of 13.8 M parameters in Llama form (6 layers, 384 wide) continues prompts of 16 tokens
in float32: one text by 240 tokens, about as many as `lm-pipeline generate` writes unasked (200), and to its context of
512, since the longer a text, the more a cache saves; and 16 texts at once by 240. Ours is what `lm-pipeline generate`
does (`NeuralContinuation`, which itself finds out how many threads are faster), distributions as float64 included;
without a cache (one text only) all of it is read for each token. Hugging Face has the weights by our export and its
cache. The peers have one and two threads, of which the faster counts. All take turns; the shortest run of each counts;
every token must be the same. Prints one JSON line a comparison and writes `benchmarks/results/generation.json`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lm_pipeline import mkl

mkl.use_avx2_kernels()  # before torch is imported, as in `lm-pipeline generate`

import numpy as np
import torch
from measuring import ROOT, peer_python, write_result
from training import PEERS

from lm_pipeline.allocator import keep_memory
from lm_pipeline.generation.neural_continuation import NeuralContinuation
from lm_pipeline.models.huggingface.model import export_model
from lm_pipeline.models.language_model import LanguageModel, build_model
from lm_pipeline.models.layout import lay_out_for_decoding
from lm_pipeline.specs.model import TransformerModel

VOCAB_SIZE, CONTEXT, PROMPT = 4096, 512, 16
SIZES = ((1, 240), (1, 496), (16, 240))
"""Texts at once, and tokens that each goes on by."""
SPEC = TransformerModel(form="llama", num_layers=6, num_heads=6, width=384, dropout=0.0)
Run = tuple[float, list[list[int]]]


def with_state(model: LanguageModel, prompts: list[list[int]], new: int) -> Run:
    """Seconds, and the new tokens of each row."""
    begin = time.perf_counter()
    texts = NeuralContinuation(model, prompts)
    chosen = [texts.next_log_probs().argmax(axis=1).tolist()]
    for _ in range(new - 1):
        texts.append(chosen[-1])
        chosen.append(texts.next_log_probs().argmax(axis=1).tolist())
    return time.perf_counter() - begin, [list(row) for row in zip(*chosen, strict=True)]


def without_cache(model: LanguageModel, prompts: list[list[int]], new: int, threads: int) -> Run:
    """The same by reading everything again for each token."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    begin = time.perf_counter()
    rows = torch.tensor(prompts)
    with torch.inference_mode():
        for _ in range(new):
            hidden, _ = model(rows)
            rows = torch.cat((rows, model.logits(hidden[:, -1]).argmax(dim=1, keepdim=True)), dim=1)
    seconds = time.perf_counter() - begin
    torch.set_num_threads(before)
    return seconds, rows[:, PROMPT:].tolist()


class HuggingFace:
    """Their model in a process of its own."""

    def __init__(self, folder: Path) -> None:
        python = peer_python("huggingface", *PEERS["huggingface"])
        self.process = subprocess.Popen(
            [python, ROOT / "benchmarks/peers/generation_huggingface.py", folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def generate(self, prompts: list[list[int]], new: int, threads: int) -> Run:
        """As ours."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"prompts": prompts, "new": new, "threads": threads}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                answer = json.loads(line.removeprefix("ANSWER "))
                return answer["seconds"], answer["tokens"]
        raise SystemExit("Hugging Face's side ended")


def compare(model: LanguageModel, theirs: HuggingFace, batch: int, new: int, rounds: int) -> list[dict[str, Any]]:
    """A line for each peer, of so many texts at once that go on by so many tokens."""
    prompts = np.random.default_rng(batch).integers(4, VOCAB_SIZE, (batch, PROMPT)).tolist()
    runs: dict[str, list[Run]] = {"ours": [], "without": [], "one": [], "two": []}
    with_state(model, prompts, 5)  # both sides have run before they are timed
    theirs.generate(prompts, 5, 1)
    for _ in range(rounds):
        runs["ours"].append(with_state(model, prompts, new))
        runs["one"].append(theirs.generate(prompts, new, 1))
        runs["two"].append(theirs.generate(prompts, new, 2))
        if batch == 1:  # 16 texts would take minutes
            runs["without"] += [without_cache(model, prompts, new, threads) for threads in (1, 2)]
    tokens = {json.dumps(run[1]) for side in runs.values() for run in side}
    assert len(tokens) == 1, "the tokens differ"
    best = {name: min(seconds for seconds, _ in side) for name, side in runs.items() if side}
    peers = {"Hugging Face's generate": min(best["one"], best["two"])}
    if "without" in best:
        peers["no cache"] = best["without"]
    return [
        {
            "name": f"generation of {new} tokens, {batch} at once, beside {name}",
            "ours": round(batch * new / best["ours"]),
            "peer": round(batch * new / seconds),
            "ratio": round(seconds / best["ours"], 2),
            "unit": "tokens/s",
            "work": f"{new} tokens after {PROMPT}, greedy, float32; all tokens equal",
        }
        for name, seconds in peers.items()
    ]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    keep_memory()  # as wherever a trained model is loaded
    torch.manual_seed(0)
    model = build_model(SPEC, VOCAB_SIZE, CONTEXT).requires_grad_(False).eval()
    lay_out_for_decoding(model)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, Path(folder))
        theirs = HuggingFace(Path(folder))
        for batch, new in SIZES:
            lines += compare(model, theirs, batch, new, options.rounds)
        theirs.process.kill()
        theirs.process.wait()
    for line in lines:
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    write_result("generation", lines)


if __name__ == "__main__":
    main()
