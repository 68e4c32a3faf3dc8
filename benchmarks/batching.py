"""Length buckets beside packing, and beside Hugging Face's sampler: padding, even steps, speed, loss.

    python benchmarks/batching.py [--data ../shared/data] [--losses]

Runs 2 minutes; with `--losses`, which does only that, 4. English film reviews (context 256) and Chinese poems (context
64), each with a tokenizer of its own (unigram, 4096 pieces, 98 % of characters). Padding and evenness are those of an
epoch's batches, of 4096 tokens or of the same mean number of rows:

- drawn: rows as they come, padded to the longest of the batch;
- grouped: Hugging Face's `LengthGroupedSampler` (`group_by_length`), padded likewise;
- buckets: ours, with 8, 16 and 32 of them; packed: windows, which have none.

Speed is targets a second of whole steps, packed and bucketed trainings taking turns, the median turn of each. With
`--losses` both train over the same number of targets, and whole held-out documents are scored as evaluation does it.

Prints one JSON line a comparison. Writes `benchmarks/results/batching.json`, with `--losses` `batching_losses.json`.
"""

import argparse
import gzip
import json
import lzma
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import ROOT, write_result
from transformers.trainer_pt_utils import LengthGroupedSampler

from lm_pipeline.evaluation.neural_scorer import NeuralScorer
from lm_pipeline.models.language_model import NeuralSpec
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.specs.model import LstmModel, TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.tokenization.tokenizer import Tokenizer, train_tokenizer
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.job import Job
from lm_pipeline.training.loop import take_step
from lm_pipeline.training.plan import TokenStream
from lm_pipeline.training.progress import Reporter
from lm_pipeline.training.row_plan import RowPlan

TOKENS, VOCAB_SIZE, HELD_OUT, TARGETS = 4096, 4096, 300, 600_000
MODELS: dict[str, NeuralSpec] = {
    "transformer": TransformerModel(form="llama", num_layers=4, width=128, num_heads=4),
    "lstm": LstmModel(num_layers=2, width=256),
}
COMPUTED: dict[str, dict[str, Any]] = {
    "transformer": {"precision": "bfloat16", "attention": "explicit", "thread_sharing": "rows"},
    "lstm": {"precision": "bfloat16", "thread_sharing": "rows"},
}
"""What `auto` becomes on the machine of the committed result, set so that both ways compute alike."""
SEGMENTS, SEGMENT_STEPS = 4, 8


def reviews(data: Path) -> list[str]:
    """English: 4,000 reviews of films, of some 300 tokens each."""
    with gzip.open(data / "large/imdb/train.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file][::6][:4000]


def poems(data: Path) -> list[str]:
    """Chinese: 11,700 poems with their titles."""
    with lzma.open(data / "large/zh-poetry/poems.jsonl.xz", "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    return ["\n".join((poem["title"], *poem["lines"])) for poem in found]


CORPORA = {"reviews": (reviews, 256), "poems": (poems, 64)}


def tokenize(texts: list[str], folder: Path) -> tuple[TokenStream, list[np.ndarray]]:
    """Training documents, and held-out ones."""
    train_tokenizer(texts, TokenizerSpec(vocab_size=VOCAB_SIZE, character_coverage=0.98), folder)
    tokenizer = Tokenizer.load(folder / "tokenizer.model")
    documents = tokenizer.encode_batch(texts)
    order = np.random.default_rng(0).permutation(len(documents))
    train = [documents[number] for number in order[HELD_OUT:]]
    stream = TokenStream(np.concatenate(train), np.cumsum([0, *map(len, train)]), bos_id=1)
    return stream, [documents[number] for number in order[:HELD_OUT]]


def plan_of(stream: TokenStream, context: int, num_buckets: int) -> RowPlan:
    """Ours."""
    return RowPlan(stream, batch_size=TOKENS // context, context_length=context, seed=0, num_buckets=num_buckets)


def batches(stream: TokenStream, context: int) -> dict[str, list[tuple[int, int]]]:
    """By way: tokens computed and targets, of each batch of an epoch."""
    lengths = [
        min(context, length - begin)
        for length in (np.diff(stream.offsets) - 1).tolist()
        for begin in range(0, length, context)
    ]
    rows = round(TOKENS / np.mean(lengths))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randperm(len(lengths), generator=generator).tolist()
    grouped = list(LengthGroupedSampler(rows, lengths=lengths, generator=generator))
    found = {}
    for name, order in (("drawn", drawn), ("grouped", grouped)):
        parts = [[lengths[row] for row in order[at : at + rows]] for at in range(0, len(order), rows)]
        found[name] = [(len(part) * max(part), sum(part)) for part in parts]
    for number in (8, 16, 32):
        buckets = plan_of(stream, context, number).buckets
        read = [buckets.batch(position) for position in range(buckets.steps_per_epoch)]
        found[f"{number} buckets"] = [(rows.width * rows.capacity, int(rows.lengths_R.sum())) for rows in read]
    return found


def job_of(stream: TokenStream, spec: NeuralSpec, context: int, folder: Path, batching: dict[str, Any]) -> Job:
    """A training that is driven step by step."""
    training = Training(
        num_steps=1000,
        batch_size=TOKENS // context,
        context_length=context,
        learning_rate=2e-3,
        compile=False,
        log_interval=10**6,
        **COMPUTED[spec.family],
        **batching,
    )
    return Job(spec, training, VOCAB_SIZE, stream, None, folder, "benchmark", lambda rows: [str(row) for row in rows])


WAYS: dict[str, dict[str, Any]] = {"packed": {}, "buckets": {"batching": "length_buckets"}}


def trainings(stream: TokenStream, spec: NeuralSpec, context: int, folder: Path) -> Iterator[tuple[str, Any, Any, Any]]:
    """Both ways: name, session, plan, settings."""
    for name, batching in WAYS.items():
        job = job_of(stream, spec, context, folder / name, batching)
        session = begin(job, Reporter(1000, quiet=True))
        yield name, session, job.plan(stream, 0), job.training


def speeds(stream: TokenStream, spec: NeuralSpec, context: int, folder: Path) -> dict[str, float]:
    """Targets a second, the median of several turns."""
    sides = [(*side, torch.get_num_threads()) for side in trainings(stream, spec, context, folder)]
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(SEGMENTS):
        for name, session, plan, training, threads in sides:
            torch.set_num_threads(threads)  # of one whose threads share rows, operations have one
            before, started = session.counters.num_tokens, time.perf_counter()
            for _ in range(SEGMENT_STEPS):
                take_step(session, plan, training)
            found[name].append((session.counters.num_tokens - before) / (time.perf_counter() - started))
    return {name: float(np.median(turns)) for name, turns in found.items()}


def losses(
    stream: TokenStream, held_out: list[np.ndarray], spec: NeuralSpec, context: int, folder: Path
) -> dict[str, float]:
    """Nats a token of whole documents, after so many targets."""
    found = {}
    for name, session, plan, training in trainings(stream, spec, context, folder):
        while session.counters.num_tokens < TARGETS:
            take_step(session, plan, training)
        scored = NeuralScorer(session.model).document_log_probs(held_out)
        found[name] = -float(np.concatenate(scored).mean())
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--losses", action="store_true", help="train both ways and score held-out documents")
    arguments = parser.parse_args()
    results = []

    def tell(**result: Any) -> None:
        results.append(result)
        print(json.dumps(result), flush=True)

    for corpus, (read, context) in CORPORA.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            stream, held_out = tokenize(read(arguments.data), folder)
            if arguments.losses:
                found = losses(stream, held_out, MODELS["transformer"], context, folder)
                unit = "nats a token of whole documents"
                tell(name=f"{corpus}: transformer", unit=unit, targets=TARGETS, **found)
                continue
            for way, parts in batches(stream, context).items():
                computed, targets = (np.array(column) for column in zip(*parts, strict=True))
                tell(
                    name=f"{corpus}: {way}",
                    padding=round(1 - targets.sum() / computed.sum(), 4),
                    deviation_of_targets=round(targets.std() / targets.mean(), 3),
                    deviation_of_computed=round(computed.std() / computed.mean(), 3),
                    steps=len(parts),
                )
            for model, spec in MODELS.items():
                speed = speeds(stream, spec, context, folder / model)
                tell(
                    name=f"{corpus}: {model}, buckets beside packed",
                    ours=round(speed["buckets"]),
                    peer=round(speed["packed"]),
                    ratio=round(speed["buckets"] / speed["packed"], 3),
                    unit="targets/s",
                    work=f"context {context}, {TOKENS} tokens a step",
                )
    write_result("batching_losses" if arguments.losses else "batching", results)


if __name__ == "__main__":
    main()
