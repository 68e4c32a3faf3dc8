"""A report's data as the stages would give it, English and Chinese."""

import math
from typing import Any

import pytest

from lm_pipeline.reports.data import ReportData
from lm_pipeline.specs import ExperimentSpec


def measurement(bits_per_byte: float, documents: int = 842, num_bytes: int = 1_061_344) -> dict[str, Any]:
    tokens = round(num_bytes / 3.6)
    nll = bits_per_byte * math.log(2) * num_bytes
    perplexity = math.exp(nll / tokens)
    return {
        "documents": documents,
        "tokens": tokens,
        "bytes": num_bytes,
        "nll": nll,
        "perplexity": perplexity,
        "perplexity_interval": [perplexity * 0.94, perplexity * 1.07],
        "bits_per_byte": bits_per_byte,
        "bits_per_byte_interval": [bits_per_byte * 0.984, bits_per_byte * 1.017],
    }


def measured(bits_per_byte: float) -> dict[str, Any]:
    corpora = {
        "python_docs": measurement(bits_per_byte * 0.97, 610, 700_122),
        "chinese_law": measurement(bits_per_byte * 1.08, 232, 361_222),
    }
    return {"overall": measurement(bits_per_byte), "corpora": corpora}


def curve(num_steps: int = 1000) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(20, num_steps + 1, 20):
        loss = 4.35 + 3.9 * math.exp(-step / 160) + 0.07 * math.sin(step * 1.7)
        rows.append({"step": step, "tokens": step * 4096, "train_loss": loss, "learning_rate": 1e-3})
        if step % 100 == 0:
            rows.append({"step": step, "validation_loss": 4.45 + 3.8 * math.exp(-step / 170)})
    return rows


def artifact(stage: str, asset: str, letter: str, **more: Any) -> dict[str, Any]:
    return {
        "asset": asset,
        "stage": stage,
        "key": letter * 40,
        "digest": letter * 64,
        "created": "2026-11-22T02:10:31Z",
        "code_version": "0.1.0",
        "spec": {},
        **more,
    }


def corpus(records: int, language: str) -> dict[str, Any]:
    rejected, quarantined = records // 9, 7
    return {
        "records_in": records,
        "kept": records - rejected - quarantined,
        "rejected": rejected,
        "quarantined": quarantined,
        "reasons": {"min_words": rejected - 100, "min_stop_words": 160, "max_hash_ratio": 41, "min_alpha_words": 12},
        "quarantine_reasons": {"invalid_utf8": 5, "too_long": 2},
        "languages": {language: records - rejected - quarantined - 31, "und": 31},
        "bytes_kept": 9_812_311,
    }


def lineage() -> list[dict[str, Any]]:
    return [
        artifact("evaluation", "lstm_small/evaluation", "e"),
        artifact("checkpoint", "lstm_small/checkpoint", "c", spec={"model": {"family": "lstm"}}),
        artifact("token_shards", "mixed/token_shards", "d"),
        artifact(
            "raw_documents",
            "raw_documents[chinese_law]",
            "a",
            spec={"source": {"kind": "wheel", "member": "data/laws.db"}},
            files=[{"path": "法律/laws.db", "bytes": 88_123_392, "sha256": "f" * 64}],
        ),
    ]


def samples() -> list[dict[str, Any]]:
    english = " is sorted in place, and the method returns None.\n\nIf key is given, it is called once for each item."
    return [
        {"prompt": "The list", "seed": 0, "text": english, "num_tokens": 31},
        {
            "prompt": "第一条",
            "seed": 1,
            "text": "　为了保护公民、法人和其他组织的合法权益，维护社会秩序，根据宪法，制定本法。\n"
            "第二条　国务院有关部门应当依照本法的规定，在各自的职责范围内负责有关的监督管理工作。",
            "num_tokens": 52,
        },
        {"prompt": "", "seed": 2, "text": "<script>alert('x')</script> & \"quoted\" <b>not bold</b>", "num_tokens": 14},
    ]


@pytest.fixture
def report_data() -> ReportData:
    return example()


def example() -> ReportData:
    spec = ExperimentSpec.model_validate(
        {
            "description": "Does a two-layer LSTM beat counting on mixed English and 中文 text?",
            "dataset": "mixed",
            "model": {"family": "lstm", "num_layers": 2, "width": 192},
            "evaluation": {"samples": {"prompts": ["The list", "第一条", ""]}},
        }
    )
    corpora = {"python_docs": corpus(12_114, "en"), "chinese_law": corpus(3_870, "zh")}
    kept = sum(item["kept"] for item in corpora.values())
    losses = {"exact": 1203, "near": 412, "repeated": 3, "low_quality": 70, "contaminated": 37, "bridging": 4}
    validation = test = 842
    train = kept - sum(losses.values()) - validation - test
    return ReportData(
        experiment="lstm_small",
        spec=spec.model_dump(mode="json"),
        corpora=corpora,
        splits={
            "documents_in": kept,
            "train": train,
            "validation": validation,
            "test": test,
            **losses,
            "bytes": {"train": 8_412_331, "validation": 1_010_233, "test": 1_061_344},
            "per_corpus": {
                "python_docs": {"train": train - 2100, "validation": 600, "test": 610},
                "chinese_law": {"train": 2100, "validation": 242, "test": 232},
            },
        },
        unique={
            "documents_in": kept,
            "kept": kept - 1688,
            "exact": 1203,
            "near": 412,
            "num_clusters": 311,
            "matrix": [["python_docs", "python_docs", 1905, 2_204_113], ["python_docs", "chinese_law", 2, 913]],
        },
        tokenizer={
            "algorithm": "unigram",
            "vocab_size": 4096,
            "character_coverage": 0.9995,
            "training_bytes": 8_412_331,
            "pieces_digest": "9f" * 32,
            "longest_pieces": [" implementation", " documentation", "中华人民共和国", "人民政府", "return"],
        },
        shards={
            "splits": {
                "train": {"documents": train, "tokens": 2_341_887, "bytes": 8_412_331},
                "validation": {"documents": 842, "tokens": 281_003, "bytes": 1_010_233},
                "test": {"documents": 842, "tokens": 294_818, "bytes": 1_061_344},
            },
            "dtype": "uint16",
            "bytes_per_token": 3.72,
            "byte_fallback_fraction": 0.0021,
            "num_used_pieces": 4011,
            "top_pieces": [{"id": 270, "piece": " the", "count": 90211}, {"id": 261, "piece": "\n", "count": 71002}],
            "round_trip_failures": 0,
        },
        curve=curve(),
        training={
            "num_parameters": 1_378_560,
            "num_steps": 1000,
            "num_tokens": 4_096_000,
            "wall_seconds": 71.3,
            "tokens_per_second": 57_447.0,
            "peak_memory_bytes": 412_000_000,
            "final_train_loss": 4.36,
            "best_validation_loss": 4.461,
            "best_step": 1000,
            "uniform_loss": math.log(4096),
            "resumed_from": [],
            "choices": {"precision": {"precision": "bfloat16", "float32_seconds": 0.121, "bfloat16_seconds": 0.064}},
            "threads": 2,
            "device": "cpu",
            "flops_per_token": 8_271_360,
            "skipped_steps": [],
        },
        evaluation={"test": measured(1.873), "validation": measured(1.861)},
        baselines={"unigram": measured(2.714), "kneser_ney_5": measured(1.942)},
        samples=samples(),
        lineage=lineage(),
    )
