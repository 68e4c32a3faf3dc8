"""What the corpora of a dataset have in common, in numbers and in examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import Columns
from lm_pipeline.corpus.similarity.shingle_store import map_texts

EXACT, NEAR, LOW_QUALITY = 1, 2, 3
"""Codes of why a document is not kept."""

_NUM_EXAMPLES = 10
_EXCERPT_CHARACTERS = 160


def shared_text(
    columns: Columns, corpora: Sequence[str], cluster: NDArray[np.int64], sizes: NDArray[np.int64]
) -> list[list[Any]]:
    """How much text of each corpus stands in another one, or a second time in itself.

    Args:
        columns: `num_characters` of N documents, and which corpus each is of.
        corpora: the names of the corpora, by number.
        cluster: by row, its cluster (int64, N).
        sizes: by cluster, its number of documents.

    Returns:
        Rows `[corpus, other corpus, documents, characters]`: the documents of `corpus` that have a duplicate in
        `other corpus`, and their characters, in the order of the corpora. Pairs that share nothing are left out.
    """
    rows = np.flatnonzero(sizes[cluster] > 1)
    members = pl.DataFrame(
        {
            "cluster": cluster[rows],
            "corpus": columns.corpus_of[rows],
            "characters": columns["num_characters"][rows],
        }
    )
    in_cluster = members.group_by("cluster", "corpus").agg(pl.len(), pl.col("characters").sum())
    pairs = in_cluster.join(in_cluster, on="cluster", suffix="_other").filter(
        (pl.col("corpus") != pl.col("corpus_other")) | (pl.col("len") > 1)
    )
    totals = pairs.group_by("corpus", "corpus_other").agg(pl.col("len").sum(), pl.col("characters").sum())
    return [
        [corpora[own], corpora[other], num, characters]
        for own, other, num, characters in totals.sort("corpus", "corpus_other").iter_rows()
    ]


def examples(
    columns: Columns,
    documents: Sequence[Path],
    corpora: Sequence[str],
    chosen: NDArray[np.int64],
    kind: NDArray[np.int8],
    similarity: NDArray[np.float32],
) -> list[dict[str, Any]]:
    """At most 10 pairs of a removed document and the chosen one, side by side.

    Near duplicates first, from the most similar to the least, evenly spaced; exact ones where those are few.

    Args:
        columns: ids of N documents, and where they are (`part` and `row`).
        documents: of each part, the file with the texts.
        corpora: the names of the corpora, by number.
        chosen: by row, the chosen row that it is a duplicate of.
        kind: by row, `EXACT`, `NEAR` or another one.
        similarity: by row, that to the chosen document.
    """
    near = np.flatnonzero(kind == NEAR)
    near = near[np.argsort(-similarity[near], kind="stable")]
    places = np.unique(np.linspace(0, len(near) - 1, min(len(near), _NUM_EXAMPLES)).astype(int))
    rows = np.concatenate([near[places], np.flatnonzero(kind == EXACT)[:_NUM_EXAMPLES]])[:_NUM_EXAMPLES]
    wanted = np.unique(np.concatenate([rows, chosen[rows]]))
    ids = dict(zip(wanted.tolist(), columns.hex("id", wanted), strict=True))
    texts = {
        row: text[:_EXCERPT_CHARACTERS]
        for found, their_texts in map_texts(columns, documents, wanted, list)
        for row, text in zip(found.tolist(), their_texts, strict=True)
    }

    def side(row: int, prefix: str) -> dict[str, Any]:
        return {
            f"{prefix}corpus": corpora[columns.corpus_of[row]],
            f"{prefix}document_id": ids[row],
            f"{prefix}excerpt": texts[row],
        }

    return [
        {
            "kind": "exact" if kind[row] == EXACT else "near",
            "similarity": round(float(similarity[row]), 4),
            **side(row, ""),
            **side(int(chosen[row]), "kept_"),
        }
        for row in rows.tolist()
    ]
