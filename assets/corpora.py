"""The assets of all corpora: one dynamic partition each."""

import dagster as dg

from assets.checks import check_specs
from assets.metadata import rejected_metadata
from assets.run import materialize_asset, result
from lm_pipeline.digests import digest_of

CORPORA = dg.DynamicPartitionsDefinition(name="corpora")
RAW = dg.AssetKey("raw_documents")
DOCUMENTS = dg.AssetKey("documents")
REJECTED = dg.AssetKey("rejected_documents")
STATISTICS = dg.AssetKey("corpus_statistics")


@dg.asset(
    key=RAW,
    partitions_def=CORPORA,
    group_name="corpora",
    kinds={"file"},
    description="The raw files of a corpus with their SHA-256, bytes untouched. Grain: one row a file.",
    check_specs=check_specs("raw_documents", RAW),
)
def raw_documents(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """List (or fetch) a corpus's raw files."""
    return result(context, materialize_asset(context, f"raw_documents/{context.partition_key}"), RAW)


@dg.multi_asset(
    name="documents",
    partitions_def=CORPORA,
    specs=[
        dg.AssetSpec(
            DOCUMENTS,
            deps=[RAW],
            group_name="corpora",
            kinds={"parquet", "polars"},
            description="Clean documents, with language and place in the raw file. Grain: one row a document.",
        ),
        dg.AssetSpec(
            REJECTED,
            deps=[RAW],
            group_name="corpora",
            kinds={"parquet", "polars"},
            description="What cleaning rejected, with every failed rule. Grain: one row a document.",
        ),
    ],
    check_specs=check_specs("documents", DOCUMENTS),
)
def documents(context: dg.AssetExecutionContext):
    """Clean a corpus; parts whose bytes and rules are unchanged are not cleaned again."""
    outcome = materialize_asset(context, f"documents/{context.partition_key}")
    yield result(context, outcome, DOCUMENTS)
    manifest = outcome.artifact.manifest
    # Reasons follow from the rows and the rules: another threshold is another version of what was rejected.
    version = digest_of([manifest["summary"]["row_digests"]["rejected"], manifest["spec"]["cleaning"]])
    yield dg.MaterializeResult(
        asset_key=REJECTED,
        data_version=dg.DataVersion(version),
        metadata=rejected_metadata(outcome),
    )


@dg.asset(
    key=STATISTICS,
    deps=[DOCUMENTS],
    partitions_def=CORPORA,
    group_name="corpora",
    kinds={"html"},
    description="Funnel, lengths, languages, domains, distributions and samples of every fate. Grain: one page.",
    check_specs=check_specs("corpus_statistics", STATISTICS),
)
def corpus_statistics(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Look at a cleaned corpus."""
    return result(context, materialize_asset(context, f"corpus_statistics/{context.partition_key}"), STATISTICS)
