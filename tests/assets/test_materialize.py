"""Assets materialized for real: metadata, checks, reuse, dependencies."""

import dagster as dg
import pytest

from lm_pipeline.artifacts import Store
from lm_pipeline.freshness import status
from lm_pipeline.project import load_project

KEYS = {
    "raw_documents": {"dagster/row_count", "dagster/column_schema", "preview", "num_bytes"},
    "documents": {"dagster/row_count", "dagster/column_schema", "preview", "funnel", "languages", "parts_built"},
    "rejected_documents": {"dagster/row_count", "dagster/column_schema", "preview", "reasons", "quarantine_reasons"},
    "corpus_statistics": {"statistics", "path"},
    "tiny/statistics": {"statistics", "path"},
    "tiny/unique_documents": {"dagster/row_count", "dagster/column_schema", "preview", "funnel", "shared_text"},
    "tiny/splits": {"dagster/row_count", "dagster/column_schema", "preview", "funnel", "per_corpus"},
    "tiny/tokenizer": {"vocab_size", "summary"},
    "tiny/token_shards": {"dagster/row_count", "splits", "bytes_per_token"},
    "tiny/baselines": {"unigram_bits_per_byte", "kneser_ney_5_bits_per_byte"},
    "tiny_gru/checkpoint": {"num_parameters", "tokens_per_second", "best_validation_loss", "curve", "training"},
    "tiny_gru/evaluation": {"bits_per_byte", "perplexity", "test", "samples"},
    "tiny_gru/report": {"report", "path"},
    "tiny/leaderboard": {"leaderboard", "path", "rows"},
}


def latest(instance: dg.DagsterInstance, asset: str) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def check_history(definitions: dg.Definitions, instance: dg.DagsterInstance, asset: str) -> dict[str, list[bool]]:
    """By check of the asset, what its evaluations said, the newest first."""
    found = {}
    for check in definitions.resolve_asset_graph().asset_check_keys:
        if check.asset_key == dg.AssetKey(asset.split("/")):
            records = instance.event_log_storage.get_asset_check_execution_history(check, limit=10)
            found[check.name] = [record.status.value == "SUCCEEDED" for record in records]
    return found


@pytest.fixture(scope="module")
def definitions(_built) -> dg.Definitions:
    from assets.definitions import defs

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_PIPELINE_HOME", str(_built.home.root))
        patch.setenv("LM_PIPELINE_DEFS", str(_built.defs))
        return defs()


def test_everything_is_built_and_asking_again_does_nothing(built, instance):
    from assets.building import build_names

    assert built.built.failed == {}
    assert len(built.built.built) == 19
    runs = instance.get_runs_count()
    again = build_names(built.home, ["tiny_en", "tiny_zh", "tiny", "tiny_gru", "tiny_ngram"], quiet=True)
    assert (again.built, again.failed, len(again.current)) == ([], {}, 19)
    assert again.as_text() == "Nothing to do: all 19 assets are current."
    assert instance.get_runs_count() == runs


@pytest.mark.parametrize("asset", KEYS)
def test_metadata_is_typed_and_complete(built, instance, asset):
    metadata = latest(instance, asset).metadata
    assert metadata.keys() >= KEYS[asset]
    if asset != "rejected_documents":
        assert metadata.keys() >= {"mlflow_run", "artifact", "code_version", "wall_seconds", "size_bytes"}
        assert isinstance(metadata["mlflow_run"], dg.UrlMetadataValue)
        assert metadata["mlflow_run"].value.startswith("http://127.0.0.1:5000/#/experiments/")
    for key, kind in {
        "dagster/row_count": dg.IntMetadataValue,
        "dagster/column_schema": dg.TableSchemaMetadataValue,
        "preview": dg.TableMetadataValue,
        "funnel": dg.MarkdownMetadataValue,
        "curve": dg.MarkdownMetadataValue,
        "bits_per_byte": dg.FloatMetadataValue,
        "report": dg.UrlMetadataValue,
        "leaderboard": dg.UrlMetadataValue,
    }.items():
        assert isinstance(metadata.get(key), kind | None), key


def test_counts_in_the_metadata_are_those_of_the_data(built, instance):
    def of(asset: str, key: str):
        return latest(instance, asset).metadata[key].value

    assert of("documents", "dagster/row_count") == 60
    assert of("rejected_documents", "dagster/row_count") == 1
    assert of("tiny/unique_documents", "dagster/row_count") == of("tiny/splits", "dagster/row_count") == 120
    assert of("documents", "records_in") == 62
    preview = latest(instance, "documents").metadata["preview"]
    assert isinstance(preview, dg.TableMetadataValue)
    assert {"document_id", "text", "language"} <= preview.records[0].data.keys()
    curve = of("tiny_gru/checkpoint", "curve")
    assert "data:image/png;base64," in curve


def test_pages_open_over_http(built, instance):
    for asset, key in (("tiny_gru/report", "report"), ("tiny/leaderboard", "leaderboard")):
        url = latest(instance, asset).metadata[key].value
        assert url.startswith("http://127.0.0.1:5000/#/experiments/")
        assert url.endswith(f"/artifacts/{key}.html")


def test_every_declared_check_was_evaluated(definitions, instance):
    from assets.checks import CHECKS

    for asset in KEYS:
        stage = asset.rsplit("/", 1)[-1]
        history = check_history(definitions, instance, asset)
        assert set(history) == {check.name for check in CHECKS.get(stage, ())}, asset
        assert all(outcomes and outcomes[0] for outcomes in history.values()), (asset, history)


def test_reuse_gives_the_same_data_version_and_evaluates_the_checks_again(definitions, instance):
    from assets.building import _execute

    for asset, partition in (("documents", "tiny_en"), ("tiny/splits", None), ("tiny_gru/checkpoint", None)):
        before = latest(instance, asset)
        checks = check_history(definitions, instance, asset)
        keys = [dg.AssetKey("documents"), dg.AssetKey("rejected_documents")]
        if partition is None:
            keys = [dg.AssetKey(asset.split("/"))]
        else:
            before = partition_version(instance, asset, partition)
        assert _execute(definitions, instance, keys, partition) == {}
        after = latest(instance, asset)
        version = dg.DataVersion((after.tags or {})["dagster/data_version"])
        if partition is None:
            assert (before.tags or {})["dagster/data_version"] == version.value
        else:
            assert before == version.value
        assert after.metadata["reused"].value is True
        assert (after.tags or {})["reused"] == "true"
        assert after.metadata.keys() >= KEYS[asset]
        for name, outcomes in check_history(definitions, instance, asset).items():
            assert len(outcomes) == len(checks[name]) + 1
            assert all(outcomes)


def partition_version(instance: dg.DagsterInstance, asset: str, partition: str) -> str:
    records = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition])
    [record] = instance.fetch_materializations(records, limit=1).records
    materialization = record.event_log_entry.asset_materialization
    assert materialization is not None
    return (materialization.tags or {})["dagster/data_version"]


def test_a_dataset_depends_on_exactly_its_corpora(definitions, instance):
    instance.add_dynamic_partitions("corpora", ["another"])
    try:
        graph = definitions.resolve_asset_graph()
        for asset in ("tiny/unique_documents", "tiny/splits", "tiny/tokenizer", "tiny/token_shards"):
            key = dg.AssetKey(asset.split("/"))
            mapping = graph.get_partition_mapping(key, dg.AssetKey("documents"))
            assert isinstance(mapping, dg.SpecificPartitionsPartitionMapping)
            assert list(mapping.partition_keys) == ["tiny_en", "tiny_zh"]
    finally:
        instance.delete_dynamic_partition("corpora", "another")


def test_one_run_a_corpus_and_one_for_the_rest(built, instance):
    partitions = [run.tags.get("dagster/partition") for run in instance.get_runs()]
    assert {"tiny_en", "tiny_zh", None} <= set(partitions)
    first = sorted(instance.get_run_records(), key=lambda record: record.create_timestamp)[:3]
    assert [record.dagster_run.tags.get("dagster/partition") for record in first] == ["tiny_en", "tiny_zh", None]


def test_a_corpus_that_is_not_materialized_is_named(project):
    from assets.building import build_names

    outcome = build_names(project.home, ["tiny/unique_documents"], only=True, quiet=True)
    reason = outcome.failed["tiny/unique_documents"]
    assert "needs documents/tiny_en, which is not materialized" in reason
    assert "lm-pipeline materialize tiny_en" in reason


def test_the_graph_says_current(built):
    states = status(load_project().graph, built.home)
    assert {states[asset].status for asset in ("tiny/splits", "tiny_gru/report", "tiny/leaderboard")} == {"current"}
    assert Store(built.home.artifacts).failure("tiny_gru/checkpoint") is None
