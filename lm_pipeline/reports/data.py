"""What a report is made from."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ReportData:
    """The parts of one experiment, as plain JSON values; a key that a part lacks is shown as not measured.

    Attributes:
        experiment: its name.
        spec: its full spec (`ExperimentSpec` dump).
        corpora: by name, the summary of its `documents`: records_in, kept, rejected, quarantined, reasons
            {rule: n}, quarantine_reasons {reason: n}, languages {code: n}, bytes_kept...
        splits: the summary of `splits`: documents_in, train, validation, test, every exclusion
            (`corpus/division/splits.py`), bytes {split: n}, per_corpus {corpus: {split: n}}.
        unique: the summary of `unique_documents`: documents_in, kept, exact, near, num_clusters, matrix...
        tokenizer: the summary of `tokenizer`: vocab_size, algorithm, pieces_digest, training_bytes...
        shards: the summary of `token_shards`: splits {split: {documents, tokens, bytes}}, bytes_per_token, dtype...
        curve: the rows of curve.jsonl; empty for a model that is counted.
        training: training.json.
        evaluation: evaluation.json.
        baselines: baselines.json.
        samples: samples.json: [{prompt, seed, text (what follows the prompt), num_tokens}].
        lineage: every ancestor artifact, nearest first (`lineage.lineage_table`): {stage, asset (or None), key, digest,
            created, code_version, spec, files [{path, bytes, sha256}]}. `files` stand on `raw_documents` only.
    """

    experiment: str
    spec: dict[str, Any]
    corpora: dict[str, dict[str, Any]]
    splits: dict[str, Any]
    unique: dict[str, Any]
    tokenizer: dict[str, Any]
    shards: dict[str, Any]
    curve: list[dict[str, Any]]
    training: dict[str, Any]
    evaluation: dict[str, Any]
    baselines: dict[str, Any]
    samples: list[dict[str, Any]]
    lineage: list[dict[str, Any]] = field(default_factory=list)


BASELINES = {"unigram": "Unigram", "kneser_ney_5": "Kneser-Ney 5-gram"}
"""Keys of baselines.json and how people call them."""


def overall_on_test(data: ReportData) -> dict[str, Any]:
    """The model's overall measurement on the test split."""
    return data.evaluation.get("test", {}).get("overall", {})


def baseline_measurements(baselines: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(name, overall measurement) of each baseline that was measured."""
    return [
        (title, baselines[key]["overall"]) for key, title in BASELINES.items() if "overall" in baselines.get(key, {})
    ]
