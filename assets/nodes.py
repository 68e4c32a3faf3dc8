"""Dagster assets made from the nodes of the graph: one asset a node, its key, inputs and version taken from there."""

from collections.abc import Iterable, Mapping

import dagster as dg

from assets.checks import check_specs
from assets.corpora import DOCUMENTS
from assets.instance import ACCELERATOR
from assets.run import materialize_asset, result
from assets.schedules import experiment_schedule
from lm_pipeline.digests import digest_of
from lm_pipeline.graph import Node
from lm_pipeline.specs import DatasetSpec, ExperimentSpec
from lm_pipeline.stages.dataset import dataset_nodes
from lm_pipeline.stages.experiment import experiment_nodes
from lm_pipeline.stages.leaderboard import leaderboard_node

DESCRIPTIONS = {
    "quality_model": "A classifier of good and bad text, trained on corpora named as examples. Grain: one model.",
    "unique_documents": "Exact and near duplicates across all corpora, with partners. Grain: one row a document.",
    "splits": "Train, validation and test by group or cluster, after decontamination. Grain: one row a document.",
    "statistics": "Where documents went, what corpora share, duplicates side by side. Grain: one page.",
    "tokenizer": "A sentencepiece model trained on the training split. Grain: one model.",
    "token_shards": "Token ids in Megatron's .bin/.idx form, one pair a split. Grain: one sequence a document.",
    "baselines": "Unigram and Kneser-Ney 5-gram on the same tokens. Grain: one number a baseline and corpus.",
    "leaderboard": "All experiments of the dataset side by side. Grain: one row an experiment.",
    "base": "A pretrained model in the form that training writes. Grain: one model.",
    "checkpoint": "A trained model: weights, configuration, learning curve. Grain: one model.",
    "evaluation": "Perplexity, bits per byte with intervals, samples. Grain: one row a test document.",
    "report": "A self-contained page: data, tokenizer, curves, results, samples, lineage. Grain: one page.",
}
KINDS = {
    "quality_model": {"numpy"},
    "unique_documents": {"parquet", "polars"},
    "splits": {"parquet", "polars"},
    "statistics": {"html"},
    "tokenizer": {"sentencepiece"},
    "token_shards": {"numpy"},
    "baselines": {"numpy"},
    "leaderboard": {"html"},
    "base": {"huggingface"},
    "checkpoint": {"torch", "mlflow"},
    "evaluation": {"torch", "mlflow"},
    "report": {"html"},
}
POOLS = {"checkpoint": ACCELERATOR, "evaluation": ACCELERATOR}


def node_asset(node: Node) -> dg.AssetsDefinition:
    """The asset of a dataset's or experiment's node."""
    key = dg.AssetKey(node.asset.split("/"))

    @dg.asset(
        key=key,
        deps=list(_dependencies(node)),
        group_name=node.owner,
        kinds=KINDS[node.stage.name],
        description=DESCRIPTIONS[node.stage.name],
        code_version=digest_of([node.stage.version, dict(node.spec)])[:12],
        pool=POOLS.get(node.stage.name),
        tags={"stage": node.stage.name},
        check_specs=check_specs(node.stage.name, key),
    )
    def _materialize(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return result(context, materialize_asset(context, node.asset), key)

    return _materialize


def _dependencies(node: Node) -> Iterable[dg.AssetDep]:
    """Inputs as asset dependencies; of `documents`, exactly the partitions that the dataset names."""
    corpora = [asset.split("/", 1)[1] for asset in node.inputs.values() if asset.startswith("documents/")]
    if corpora:
        yield dg.AssetDep(DOCUMENTS, partition_mapping=dg.SpecificPartitionsPartitionMapping(corpora))
    for asset in node.inputs.values():
        if not asset.startswith("documents/"):
            yield dg.AssetDep(dg.AssetKey(asset.split("/")))


def dataset_definitions(name: str, spec: DatasetSpec) -> dg.Definitions:
    """A dataset's assets, all but the leaderboard, which needs to know every experiment."""
    return dg.Definitions(assets=[node_asset(node) for node in dataset_nodes(name, spec)])


def leaderboard_asset(name: str, experiments: Mapping[str, ExperimentSpec]) -> dg.AssetsDefinition:
    """A dataset's leaderboard."""
    return node_asset(leaderboard_node(name, experiments))


def experiment_definitions(name: str, spec: ExperimentSpec, dataset: DatasetSpec) -> dg.Definitions:
    """An experiment's assets and, if it declares one, its schedule."""
    assets = [node_asset(node) for node in experiment_nodes(name, spec, dataset)]
    return dg.Definitions(assets=assets, schedules=[experiment_schedule(name, spec)] if spec.schedule else [])
