"""Experiment nodes: `<experiment>/checkpoint`, `evaluation`, `report`. What imports torch runs as a child process."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_pipeline.artifacts import Artifact
from lm_pipeline.graph import Build, Node
from lm_pipeline.home import Home
from lm_pipeline.launch import torchrun
from lm_pipeline.pretrained import identify
from lm_pipeline.specs import DatasetSpec, ExperimentSpec
from lm_pipeline.stages import versions
from lm_pipeline.stages.pretrained import write_base
from lm_pipeline.tracking.spool import SpoolWriter
from lm_pipeline.training.saved import count_saved_steps

VOLATILE = {"curve.jsonl", "training.json", "timing.json"}
"""Files that hold times and rates: no part of an artifact's content digest."""


def experiment_nodes(name: str, spec: ExperimentSpec, dataset_spec: DatasetSpec) -> list[Node]:
    """The nodes of an experiment on the dataset that it names."""
    dataset = spec.dataset
    mixing = {"weights": dict(sorted(dataset_spec.weights.items())), "packing": dataset_spec.packing.model_dump()}
    shards = {"token_shards": f"{dataset}/token_shards", "tokenizer": f"{dataset}/tokenizer"}
    whole = spec.model_dump(mode="json")

    def node(
        stage: str,
        inputs: Mapping[str, str],
        fields: Mapping[str, Any],
        write: Any,
        experiment: str,
        outside: Any = None,
        count_saved: Any = None,
    ) -> Node:
        return Node(
            asset=f"{name}/{stage}",
            stage=versions.STAGES[stage],
            inputs=inputs,
            spec=fields,
            write=write,
            noun="experiment",
            owner=name,
            mlflow_experiment=experiment,
            outside=outside,
            count_saved_steps=count_saved,
        )

    checkpoint, evaluation = f"{name}/checkpoint", f"{name}/evaluation"
    base, pretrained = {}, []
    if isinstance(spec.base, str):
        base = {"base": f"{spec.base}/checkpoint"}
    elif spec.base is not None:
        source = spec.base
        base = {"base": f"{name}/base"}
        pretrained = [
            node(
                "base",
                {"tokenizer": f"{dataset}/tokenizer"},
                {},
                lambda build: write_base(source, build),
                f"{dataset}/pipeline",
                lambda home: identify(source, home),
            )
        ]
    return [
        *pretrained,
        node(
            "checkpoint",
            shards | base,
            {"task": spec.task, "model": whole["model"], "training": whole["training"], **mixing},
            lambda build: _write_checkpoint(name, spec, dataset_spec, build),
            dataset,
            count_saved=count_saved_steps,
        ),
        node(
            "evaluation",
            {"checkpoint": checkpoint, **shards},
            {"evaluation": whole["evaluation"]},
            lambda build: _write_evaluation(name, spec, build),
            f"{dataset}/pipeline",
        ),
        node(
            "report",
            {
                "checkpoint": checkpoint,
                "evaluation": evaluation,
                "baselines": f"{dataset}/baselines",
                "splits": f"{dataset}/splits",
                "unique": f"{dataset}/unique_documents",
                **shards,
            },
            {"experiment": name},
            lambda build: _write_report(name, spec, build),
            f"{dataset}/pipeline",
        ),
    ]


def _run(command: str, request: Mapping[str, Any], folder: Path, build: Build) -> None:
    """Run `python -m lm_pipeline COMMAND request.json` as a supervised child."""
    path = folder / "request.json"
    path.write_text(json.dumps(request, indent=1, ensure_ascii=False) + "\n", "utf-8")
    processes = request.get("training", {}).get("num_processes", 1)
    if processes > 1:
        build.run_child(torchrun([command, str(path)], processes))
    else:
        build.run_child([sys.executable, "-m", "lm_pipeline", command, str(path)])


def _write_checkpoint(name: str, spec: ExperimentSpec, dataset: DatasetSpec, build: Build) -> None:
    whole = spec.model_dump(mode="json")
    shards = build.inputs["token_shards"]
    work = build.store.work_dir("checkpoint", build.staging.key)
    build.spool.params(
        {
            "dataset": spec.dataset,
            "family": spec.model.family,
            "vocab_size": shards.summary["vocab_size"],
            **{f"model.{key}": value for key, value in whole["model"].items() if key != "family"},
            **({} if spec.model.family == "ngram" else whole["training"]),
        }
    )
    request = {
        "experiment": name,
        "model": whole["model"],
        "training": {} if spec.model.family == "ngram" else whole["training"],
        "shards_dir": str(shards.files_dir),
        "tokenizer": _tokenizer_of(build),
        "vocab_size": shards.summary["vocab_size"],
        "weights": dataset.weights,
        "mask_documents": dataset.packing.mask_documents,
        "work_dir": str(work),
        "base_dir": None if spec.base is None else str(build.inputs["base"].files_dir),
        "output_dir": str(build.staging.path),
        "spool": str(build.spool.path),
        "measurements": str(build.home.cache / "measurements"),
        "key": build.staging.key,
    }
    _run("train", request, work, build)
    summary = json.loads((build.staging.path / "training.json").read_text("utf-8"))
    build.staging.volatile |= VOLATILE
    build.staging.summary = summary
    costs = (
        "num_parameters",
        "num_tokens",
        "wall_seconds",
        "tokens_per_second",
        "mfu",
        "peak_memory_bytes",
        "peak_device_memory_bytes",
        "best_validation_loss",
    )
    build.spool.metrics(
        int(summary["num_steps"]), {key: summary[key] for key in costs if isinstance(summary.get(key), int | float)}
    )
    build.spool.params({"num_parameters": summary["num_parameters"], **_chosen(summary["choices"])})
    build.spool.metrics(0, _timed(summary["choices"]))
    # Publishing moves nothing: the staging's path is where the checkpoint stays.
    build.spool.model(
        name,
        checkpoint=str(build.staging.path),
        params={"family": spec.model.family, "num_parameters": summary["num_parameters"]},
        tags={"key": build.staging.key},
    )


def _chosen(choices: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What each `auto` became, and why: the setting itself stays `auto` among a run's parameters."""
    values = {f"chosen.{name}": choice["value"] for name, choice in choices.items()}
    return values | {f"chosen.{name}.reason": choice["reason"] for name, choice in choices.items()}


def _timed(choices: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The seconds that led to them: of a product, and of a step in each way that was tried."""
    return {
        f"chosen.{kind}/{way}": seconds
        for choice in choices.values()
        for kind, ways in choice.items()
        if isinstance(ways, dict)
        for way, seconds in ways.items()
    }


def _write_evaluation(name: str, spec: ExperimentSpec, build: Build) -> None:
    shards, checkpoint = build.inputs["token_shards"], build.inputs["checkpoint"]
    work = build.store.work_dir("evaluation", build.staging.key)
    request = {
        "experiment": name,
        "evaluation": spec.evaluation.model_dump(mode="json"),
        "checkpoint_dir": str(checkpoint.files_dir),
        "shards_dir": str(shards.files_dir),
        "tokenizer": _tokenizer_of(build),
        "output_dir": str(build.staging.path),
        "device": spec.training.device,
    }
    _run("evaluate", request, work, build)
    result = json.loads((build.staging.path / "evaluation.json").read_text("utf-8"))
    result["samples"] = json.loads((build.staging.path / "samples.json").read_text("utf-8"))
    build.staging.volatile |= VOLATILE
    build.staging.summary = result
    overall = result["test"]["overall"]
    measures = ("bits_per_byte", "perplexity") if overall["perplexity"] is not None else ("masked_perplexity",)
    build.log("test: " + ", ".join(f"{key.replace('_', ' ')} {overall[key]:.4g}" for key in measures))
    values = {f"test/{key}": overall[key] for key in measures}
    for corpus, measured in result["test"]["corpora"].items():
        values[f"test/{corpus}/{measures[0]}"] = measured[measures[0]]
    # The results stand once, beside the model that was measured; this run says what the measuring cost.
    build.spool.metrics(0, json.loads((build.staging.path / "timing.json").read_text("utf-8")))
    with training_run(build.home, checkpoint) as spool:
        spool.model_metrics(values, dataset_name=f"{spec.dataset}/test", dataset_digest=shards.digest)


def training_run(home: Home, checkpoint: Artifact) -> SpoolWriter:
    """The tracking spool of the run that trained a checkpoint."""
    return SpoolWriter(home.spool / f"{checkpoint.manifest['provenance']['spool']}.jsonl")


def _write_report(name: str, spec: ExperimentSpec, build: Build) -> None:
    from lm_pipeline.lineage import lineage_table
    from lm_pipeline.reports.report import ReportData, write_report

    inputs = build.inputs
    curve = [
        json.loads(line) for line in inputs["checkpoint"].path("curve.jsonl").read_text("utf-8").splitlines() if line
    ]
    lineage = lineage_table(build.store, inputs["evaluation"])
    data = ReportData(
        experiment=name,
        spec=spec.model_dump(mode="json"),
        corpora={  # corpora that were only searched for, or examples of quality, are not the dataset's
            row["corpus"]: row["summary"]
            for row in lineage
            if row["stage"] == "documents" and row["corpus"] in inputs["unique"].manifest["spec"]["corpora"]
        },
        unique=inputs["unique"].summary,
        splits=inputs["splits"].summary,
        tokenizer=inputs["tokenizer"].summary,
        shards=inputs["token_shards"].summary,
        curve=curve,
        training=inputs["checkpoint"].summary,
        evaluation={key: inputs["evaluation"].summary[key] for key in ("test", "validation")},
        baselines=inputs["baselines"].summary,
        samples=inputs["evaluation"].summary["samples"],
        lineage=[{key: value for key, value in row.items() if key != "summary"} for row in lineage],
    )
    build.staging.summary = write_report(data, build.staging.path)
    build.staging.volatile.add("report.html")
    with training_run(build.home, inputs["checkpoint"]) as spool:
        spool.artifact(build.staging.path / "report.html")


def _tokenizer_of(build: Build) -> str:
    from lm_pipeline.tokenization.loading import tokenizer_file

    return str(tokenizer_file(build.inputs["tokenizer"]))
