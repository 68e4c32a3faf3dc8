"""What the corpora of a dataset have in common, in numbers and in examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.near_duplicates import fetch
from lm_pipeline.corpus.shingle_store import read_texts

_NUM_EXAMPLES = 10
_EXCERPT_CHARACTERS = 160


def shared_text(index: pl.LazyFrame, cluster: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[list[Any]]:
    """How much text of each corpus stands in another one, or a second time in itself.

    Args:
        index: `corpus` and `num_characters` of N documents.
        cluster: by row, its cluster (int64, N).
        sizes: by cluster, its number of documents.

    Returns:
        Rows `[corpus, other corpus, documents, characters]`: the documents of `corpus` that have a duplicate in
        `other corpus`, and their characters, in the order of the corpora. Pairs that share nothing are left out.
    """
    rows = np.flatnonzero(sizes[cluster] > 1)
    members = fetch(index, ["corpus", "num_characters"], rows).with_columns(cluster=pl.Series(cluster[rows]))
    in_cluster = members.group_by("cluster", "corpus").agg(pl.len(), characters=pl.col("num_characters").sum())
    pairs = in_cluster.join(in_cluster, on="cluster", suffix="_other").filter(
        (pl.col("corpus") != pl.col("corpus_other")) | (pl.col("len") > 1)
    )
    totals = pairs.group_by("corpus", "corpus_other").agg(pl.col("len").sum(), pl.col("characters").sum())
    corpora = index.select("corpus").unique(maintain_order=True).collect(engine="streaming")["corpus"].to_list()
    return sorted(map(list, totals.iter_rows()), key=lambda row: (corpora.index(row[0]), corpora.index(row[1])))


def examples(unique: pl.LazyFrame, documents: Sequence[Path]) -> list[dict[str, Any]]:
    """At most 10 pairs of a removed and a kept document, side by side.

    Near duplicates first, from the most similar to the least, evenly spaced; exact ones where those are few.

    Args:
        unique: the rows of `unique.parquet`.
        documents: files with the texts.
    """
    columns = unique.select("document_id", "corpus", "kind", "duplicate_of", "similarity", "cluster")
    near = columns.filter(pl.col("kind") == "near").collect(engine="streaming")
    near = near.sort("similarity", descending=True, maintain_order=True)
    places = np.unique(np.linspace(0, len(near) - 1, min(len(near), _NUM_EXAMPLES)).astype(int))
    exact = columns.filter(pl.col("kind") == "exact").head(_NUM_EXAMPLES).collect(engine="streaming")
    chosen = pl.concat([near[places], exact]).head(_NUM_EXAMPLES).drop_nulls("duplicate_of")
    if chosen.is_empty():
        return []
    wanted = pl.concat([chosen["document_id"], chosen["duplicate_of"]]).unique().to_list()
    texts = {identifier: text for batch in read_texts(documents, wanted) for identifier, text in batch.iter_rows()}
    kept = np.unique(chosen["cluster"].to_numpy())
    corpus_of = dict(zip(kept.tolist(), fetch(unique, ["corpus"], kept)["corpus"], strict=True))
    return [
        {
            "kind": row["kind"],
            "similarity": round(row["similarity"], 4),
            "corpus": row["corpus"],
            "document_id": row["document_id"],
            "excerpt": texts[row["document_id"]][:_EXCERPT_CHARACTERS],
            "duplicate_of": row["duplicate_of"],
            "duplicate_of_corpus": corpus_of[row["cluster"]],
            "duplicate_of_excerpt": texts[row["duplicate_of"]][:_EXCERPT_CHARACTERS],
        }
        for row in chosen.iter_rows(named=True)
    ]
