"""Which measured documents are kept: decided from stored statistics alone.

Texts are not read for this, so another threshold costs what reading a few columns of numbers costs. One file of
decisions stands beside each part, row by row.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from lm_pipeline.corpus.document_tables import DECISIONS, ROW_DIGEST, TableWriter, hex_digest, sum_digests
from lm_pipeline.corpus.personal_data.find import KINDS
from lm_pipeline.corpus.quality.filters import columns_of_rules, with_reasons
from lm_pipeline.specs.cleaning import Cleaning


def decide(statistics: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    """Judge documents by what was measured on them.

    Args:
        statistics: with the columns of `STATISTICS`.
        cleaning: rules and thresholds.

    Returns:
        The columns of `DECISIONS`, row by row: a document is kept if no rule fails.
    """
    judged = with_reasons(statistics, cleaning)
    return judged.select(pl.col("reasons").list.len().eq(0).alias("kept"), "reasons").cast(DECISIONS)  # pyright: ignore[reportArgumentType] - a schema is a mapping


def decide_part(statistics_parquet: Path, cleaning: Cleaning, out: Path) -> dict[str, Any]:
    """Judge the documents of one part.

    Args:
        statistics_parquet: the part's statistics.
        cleaning: rules and thresholds.
        out: the file of decisions to write.

    Returns:
        Counts: `kept` and `rejected` documents, `characters_kept`, `characters_rejected`, `bytes_kept`; under `reasons`
        rejected documents by rule (one document may have several) and under `languages` kept documents by language;
        under `personal_data` spans in kept documents by kind; `row_digests` of the two.
    """
    counted = ("language", "num_bytes", "num_characters", *(f"num_{kind.name}" for kind in KINDS), ROW_DIGEST)
    columns = list(dict.fromkeys((*columns_of_rules(cleaning), *counted)))
    statistics = pl.read_parquet(statistics_parquet, columns=columns)
    decisions = decide(statistics, cleaning)
    statistics = statistics.select(counted)
    with TableWriter(out, DECISIONS) as table:
        table.write(decisions)
    kept = statistics.filter(decisions["kept"])
    rejected = statistics.filter(~decisions["kept"])
    rules = decisions["reasons"].explode(empty_as_null=False).struct.field("rule")
    return {
        "kept": len(kept),
        "rejected": len(rejected),
        "characters_kept": int(kept["num_characters"].sum()),
        "characters_rejected": int(rejected["num_characters"].sum()),
        "bytes_kept": int(kept["num_bytes"].sum()),
        "reasons": _counts(rules),
        "languages": _counts(kept["language"]),
        "personal_data": {kind.name: int(kept[f"num_{kind.name}"].sum()) for kind in KINDS},
        "row_digests": {
            "documents": hex_digest(sum_digests(kept[ROW_DIGEST])),
            "rejected": hex_digest(sum_digests(rejected[ROW_DIGEST])),
        },
    }


def _counts(values: pl.Series) -> dict[str, int]:
    counted = values.value_counts()
    return dict(sorted(Counter(dict(counted.iter_rows())).items()))
