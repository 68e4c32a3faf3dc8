"""The evaluation of one checkpoint, as a child process runs it: `python -m lm_pipeline evaluate request.json`."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.documents import SplitDocuments
from lm_pipeline.evaluation.loading import load_scorer
from lm_pipeline.evaluation.perplexity import as_masked, describe, measure, score_documents
from lm_pipeline.evaluation.scorer import Scorer
from lm_pipeline.generation.generate import complete
from lm_pipeline.specs.experiment import Evaluation, Samples
from lm_pipeline.specs.generation import Decoding, Sampling
from lm_pipeline.tokenization.loading import load_tokenizer
from lm_pipeline.tokenization.shards import Shard
from lm_pipeline.tokenization.tokenizer import Tokenizer
from lm_pipeline.training.progress import Reporter

Log = Callable[[str], None]


class EvaluationRequest(BaseModel):
    """What is evaluated, and where the results go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    """Name of the experiment, for messages."""
    evaluation: Evaluation
    """How it is measured."""
    checkpoint_dir: Path
    """Folder of the checkpoint: config.json, model.safetensors."""
    shards_dir: Path
    """Folder of the token shards."""
    tokenizer: Path
    """tokenizer.model, or a pretrained model's tokenizer.json."""
    output_dir: Path
    """Empty folder for the results."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a neural model runs, as it was trained (`training.device`)."""


def evaluate_from_request(path: Path) -> None:
    """Evaluate as the request says.

    Writes into its `output_dir`:
        evaluation.json: `{"test": {"overall": M, "corpora": {name: M}}, "validation": the same without intervals}`,
            see `perplexity.measure`; validation is {} where the dataset has no validation documents.
        documents.parquet: a row per test document: document_id, corpus, num_targets, num_bytes, nll.
        samples.json: `[{"prompt", "seed", "text" (what follows the prompt), "num_tokens"}]`.
        timing.json: seconds and tokens per second; the only file that differs between two equal evaluations.

    Lines of progress go to Dagster's log under Dagster, else to stderr.

    Args:
        path: the request, JSON as `EvaluationRequest` describes it.

    Raises:
        InputError: the request is malformed, the test split is empty, or the model is not finite.
    """
    request = read_request(path)
    with ExitStack() as exits:
        log = _print
        if os.environ.get("DAGSTER_PIPES_CONTEXT"):
            log = exits.enter_context(Reporter(num_steps=0)).info
        _evaluate(request, log)


def read_request(path: Path) -> EvaluationRequest:
    """Read and check a request.

    Raises:
        InputError: the file cannot be read, or a field is missing, unknown or of the wrong type.
    """
    try:
        return EvaluationRequest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"The request {path} cannot be read: {error.strerror}. Give a JSON file.") from error
    except ValidationError as error:
        raise InputError(f"{path} is no request for an evaluation: {error}") from error


def generate_samples(scorer: Scorer, tokenizer: Tokenizer, settings: Samples) -> list[dict[str, Any]]:
    """Continue each prompt at the seeds 0, 1, 2...

    Returns:
        `[{"prompt", "seed", "text", "num_tokens"}]`; the text is what follows the prompt.
    """
    decoding = Decoding(max_tokens=settings.max_tokens, **settings.model_dump(include=set(Sampling.model_fields)))
    texts = complete(scorer, tokenizer, settings.prompts, decoding, settings.num_per_prompt)
    return [
        {"prompt": text.prompt, "seed": text.seed, "text": text.text, "num_tokens": len(text.tokens)} for text in texts
    ]


def _evaluate(request: EvaluationRequest, log: Log) -> None:
    started = time.monotonic()
    # Samples are part of the artifact.
    scorer = load_scorer(request.checkpoint_dir, request.device, fixed_threads=True)
    tokenizer = load_tokenizer(request.tokenizer)
    if scorer.vocab_size != tokenizer.vocab_size:
        raise InputError(
            f"{request.experiment}: the model knows {scorer.vocab_size} tokens, the tokenizer {tokenizer.vocab_size}."
            " They belong to different datasets: materialize the checkpoint again."
        )
    loaded = time.monotonic()
    results, num_tokens = _measure_splits(request, scorer, log)
    measured = time.monotonic()
    samples = generate_samples(scorer, tokenizer, request.evaluation.samples) if scorer.is_causal else []
    _write_json(request.output_dir / "evaluation.json", results)
    _write_json(request.output_dir / "samples.json", samples)
    finished = time.monotonic()
    num_generated = sum(sample["num_tokens"] for sample in samples)
    timing = {
        "wall_seconds": finished - started,
        "scoring_seconds": measured - loaded,
        "scored_tokens_per_second": num_tokens / (measured - loaded),
        "generation_seconds": finished - measured,
        "generated_tokens_per_second": num_generated / (finished - measured),
    }
    _write_json(request.output_dir / "timing.json", timing)
    overall = results["test"]["overall"]
    log(
        f"{request.experiment}: {describe(overall)}"
        f" on {overall['documents']:,} test documents; {len(samples)} samples; {timing['wall_seconds']:.1f} s"
    )


def _measure_splits(request: EvaluationRequest, scorer: Scorer, log: Log) -> tuple[dict[str, Any], int]:
    settings = request.evaluation
    test = SplitDocuments.read(request.shards_dir, "test", settings.max_documents)
    scores = score_documents(scorer, test, _reporter(f"{request.experiment}: test", log))
    scores.write_parquet(request.output_dir / "documents.parquet", compression="zstd")
    results: dict[str, Any] = {"test": measure(scores, settings.num_bootstrap, settings.confidence, settings.seed)}
    results["validation"] = {}
    num_tokens = results["test"]["overall"]["tokens"]
    if Shard.open(request.shards_dir, "validation").num_documents:
        validation = SplitDocuments.read(request.shards_dir, "validation", settings.max_documents)
        scores = score_documents(scorer, validation, _reporter(f"{request.experiment}: validation", log))
        results["validation"] = measure(scores)
        num_tokens += results["validation"]["overall"]["tokens"]
    if not scorer.is_causal:
        results = {split: as_masked(measured) if measured else {} for split, measured in results.items()}
    return results, num_tokens


def _reporter(label: str, log: Log) -> Callable[[int, int], None]:
    return lambda done, total: log(f"{label}: {done:,} of {total:,} documents scored")


def _print(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
