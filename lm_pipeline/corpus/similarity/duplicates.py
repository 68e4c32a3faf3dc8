"""Exact and near duplicates across all corpora of a dataset, with their clusters kept.

Documents with the same text and the same target are exact duplicates; so of one sentence all translations stay, in one
cluster, which no split divides. A label is no part of a text: of a text with two labels one document stays.

Of the distinct texts, those that share an LSH band of their MinHash signatures are candidates, and near duplicates when
their true Jaccard similarity reaches the threshold (`near_duplicates.py`). Clusters are the connected components of
exact and near duplicate pairs; one text of each stays. Documents with fewer words than a shingle have exact duplicates
only: their sets are empty and would all collide.

**What it costs.** All that is needed of a text is computed once per part of a corpus (`minhash.write_signatures`).
The search sorts keys that are on disk, some million at a time, and reads the texts of candidates alone, whose shingle
sets go to disk again. In memory are a few integers per document. Candidates that an earlier search has compared are
not read, so new documents cost the reading of their own signatures and of the texts that they resemble.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import Columns, batches_of, write_columns
from lm_pipeline.corpus.similarity.equal_keys import first_of_equal
from lm_pipeline.corpus.similarity.minhash import UNDATED, band_column
from lm_pipeline.corpus.similarity.near_duplicates import NearClusters
from lm_pipeline.corpus.similarity.shared_text import EXACT, LOW_QUALITY, NEAR, examples, shared_text
from lm_pipeline.corpus.tables import ROW_GROUP, TableFile
from lm_pipeline.corpus.threads import in_threads
from lm_pipeline.errors import InputError
from lm_pipeline.specs.dataset import Duplicates

UNIQUE = pl.Schema(
    {
        "document_id": pl.String,
        "corpus": pl.String,
        "text_hash": pl.String,  # xxh3_128 of the text, hex
        "cluster": pl.Int64,  # the row of the cluster's chosen document
        "kept": pl.Boolean,
        "kind": pl.String,  # why it is not kept
        "duplicate_of": pl.String,  # id of the chosen document (of that text and target), for exact and near duplicates
        "similarity": pl.Float32,  # to it
        "score": pl.Float32,  # of the quality model; null without one
    }
)
"""Columns of `unique.parquet`."""


KINDS = ("exact", "near", "low_quality")
"""Why a document is not kept, from 1; 0 is kept."""


@dataclass(frozen=True)
class Part:
    """The files of one part of a corpus that the search reads.

    Attributes:
        documents: its `documents.parquet`.
        decisions: which of them cleaning has kept; the others are not there for the search.
        signatures: what `minhash.write_signatures` made of the documents.
        scores: what `quality_model.write_scores` made of them; None without a quality model.
    """

    documents: Path
    decisions: Path
    signatures: Path
    scores: Path | None = None


def find_duplicates(
    corpora: Mapping[str, Sequence[Part]],
    spec: Duplicates,
    out: Path,
    previous: Path | None = None,
    min_score: float | None = None,
) -> dict[str, Any]:
    """Find every document's cluster, and which document of a cluster stays.

    Args:
        corpora: the parts of each corpus, by its name, in the dataset's order. All have scores or none.
        spec: what counts as a duplicate and which member is kept.
        out: an existing folder that receives `unique.parquet`: one row per document in canonical order (corpora as
            they are given, file, record) with the columns `UNIQUE`. `kind` is "exact" where the chosen document of
            that text and target, or an earlier one, has the same; "near" for other duplicates; "low_quality" for a
            chosen document below `min_score`. In a chain A ~ B ~ C the similarity of A and C can be below the
            threshold; it is stored as it is. With `exact: false` same texts share a cluster, so that no split divides
            them, but all stay. And `verdicts.parquet`, where near duplicates are searched for: the pairs that were
            compared.
        previous: `verdicts.parquet` of an earlier search with the same `spec.near`, which spares comparisons and
            changes nothing else.
        min_score: documents that score below are not chosen where another one is there, and not kept.

    Returns:
        `documents_in` = `kept` + `exact` + `near` + `low_quality`, `num_clusters` (of two or more),
        `largest_cluster`, `undated` (documents without a date that can be read; where the oldest are kept), `matrix`
        (see `shared_text`) and `examples` (at most 10 pairs with excerpts).

    Raises:
        InputError: there is no document, an id comes twice, or signatures or scores are not those of the documents.
    """
    parts = [part for corpus in corpora.values() for part in corpus]
    documents = [part.documents for part in parts]
    with TemporaryDirectory(dir=out) as scratch:
        columns = _columns(list(corpora.values()), spec, Path(scratch))
        rows = np.arange(columns.num_rows)
        first = first_of_equal(columns["text_low"], columns["text_high"])
        scores = np.asarray(columns["score"]) if "score" in columns else None
        near = None
        if spec.near is not None:
            near = NearClusters(columns, first == rows, documents, spec.near, Path(scratch), previous)
        cluster_of = near.parents[first] if near else first
        passes = np.ones(len(rows), np.bool_) if scores is None or min_score is None else scores >= min_score
        order, undated = _preference(columns, spec)
        chosen = _choose(cluster_of, passes, order)
        same_text = first == first[chosen]
        first_pair, chosen_pair = _pairs(columns, first, chosen, passes, order)
        similarity = np.where(same_text, 1.0, np.nan).astype(np.float32)
        if near is not None:
            other = np.flatnonzero(~same_text)
            similarity[other] = near.similarities(first[other], first[chosen[other]])
        removed = (chosen != rows) & ~(same_text & ((chosen_pair == rows) | (not spec.exact)))
        exact = removed & spec.exact & (same_text | (first_pair != rows))
        partner = np.where(same_text, chosen_pair, chosen)
        kind = np.select([exact, removed, ~passes], [EXACT, NEAR, LOW_QUALITY], 0).astype(np.int8)
        sizes = np.bincount(chosen)
        with ThreadPoolExecutor(1) as thread:
            names = list(corpora)
            written = thread.submit(
                _write, columns, names, out / "unique.parquet", chosen, partner, kind, similarity, scores
            )
            if near is not None:
                near.write_verdicts(out / "verdicts.parquet")
            matrix = shared_text(columns, names, chosen, sizes)
            pairs = examples(columns, documents, names, partner, kind, similarity)
            written.result()
    counts = dict(zip(KINDS, np.bincount(kind, minlength=1 + len(KINDS)).tolist()[1:], strict=True))
    summary = {
        "documents_in": len(rows),
        "kept": int((kind == 0).sum()),
        **counts,
        "num_clusters": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()),
        **({} if undated is None else {"undated": undated}),
        "matrix": matrix,
        "examples": pairs,
    }
    assert summary["documents_in"] == summary["kept"] + sum(counts.values()), "a document was lost or counted twice"
    return summary


def _columns(corpora: Sequence[Sequence[Part]], spec: Duplicates, scratch: Path) -> Columns:
    """What is known of all documents without their texts."""
    types: dict[str, Any] = dict.fromkeys(("id_high", "id_low", "text_high", "text_low", "pair"), np.uint64)
    types |= {"num_characters": np.int64, "num_shingles": np.int64, "part": np.uint32, "row": np.uint32}
    types |= {"date": np.int64} if spec.keep == "oldest" else {}
    types |= {band_column(band): np.uint64 for band in range(spec.near.num_bands if spec.near else 0)}
    types |= {"score": np.float32} if any(part.scores for parts in corpora for part in parts) else {}
    files = [
        [[path for path in (part.signatures, part.decisions, part.scores) if path] for part in parts]
        for parts in corpora
    ]
    for parts, described in zip(corpora, files, strict=True):
        for part, paths in zip(parts, described, strict=True):
            _check_lengths([part.documents, *paths])
    columns = write_columns(files, types, scratch, only="kept")
    if columns.num_rows == 0:
        raise InputError(
            "The corpora of this dataset have no document left after cleaning. Look at rejected.parquet and"
            " quarantine.parquet of their `documents` for the reasons, or loosen the cleaning rules."
        )
    repeated = np.flatnonzero(first_of_equal(columns["id_low"], columns["id_high"]) != np.arange(columns.num_rows))
    if len(repeated):
        raise InputError(
            f"The document id {columns.hex('id', repeated[:1])[0]} comes twice; ids are made of corpus, file and"
            " record, so some part was given twice. Materialize the corpora again."
        )
    return columns


def _check_lengths(files: Sequence[Path]) -> None:
    lengths = [pq.read_metadata(path).num_rows for path in files]
    if len(set(lengths)) > 1:
        raise InputError(
            f"{', '.join(map(str, files[1:]))} have {lengths[1:]} rows for the {lengths[0]} of {files[0]}. They come"
            " from different materializations: materialize the corpora of this dataset again."
        )


def _preference(columns: Columns, spec: Duplicates) -> tuple[NDArray[Any], int | None]:
    """By row: what `keep` compares, the smallest first; and how many documents have no date where that is asked."""
    if spec.keep == "longest":
        return -columns["num_characters"], None
    if spec.keep == "best_score":
        return -columns["score"], None
    if spec.keep == "oldest":
        return columns["date"], int((columns["date"] == UNDATED).sum())
    return np.zeros(columns.num_rows, np.int8), None


def _choose(cluster_of: NDArray[np.int64], passes: NDArray[np.bool_], order: NDArray[Any]) -> NDArray[np.int64]:
    """By row: the chosen row of its cluster: of those that pass, if any does, the first by order, then by row."""
    chosen = cluster_of.copy()
    members = np.flatnonzero((np.bincount(cluster_of, minlength=len(cluster_of)) > 1)[cluster_of])
    ranked = members[np.lexsort((members, order[members], ~passes[members], cluster_of[members]))]
    clusters, begins = np.unique(cluster_of[ranked], return_index=True)
    best = np.arange(len(cluster_of))
    best[clusters] = ranked[begins]
    return best[chosen]


def _pairs(
    columns: Columns,
    first: NDArray[np.int64],
    chosen: NDArray[np.int64],
    passes: NDArray[np.bool_],
    order: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By row: the first row with the same text and target, and the chosen one of those, as `_choose` chooses it."""
    if np.array_equal(columns["pair"], columns["text_low"]):  # there are no targets: texts have been compared
        return first, chosen
    first_pair = first_of_equal(columns["pair"], columns["text_high"])
    return first_pair, _choose(first_pair, passes, order)


def _write(
    columns: Columns,
    corpora: Sequence[str],
    path: Path,
    chosen: NDArray[np.int64],
    partner: NDArray[np.int64],
    kind: NDArray[np.int8],
    similarity: NDArray[np.float32],
    scores: NDArray[np.float32] | None,
) -> None:
    """Write `unique.parquet`, some rows at a time."""
    names = pa.array(corpora, pa.large_string())
    kinds = pa.array([None, *KINDS], pa.large_string())

    def table(own: slice) -> pa.Table:
        is_duplicate = (kind[own] == EXACT) | (kind[own] == NEAR)
        partners = columns.digits("id", partner[own][is_duplicate])
        return pa.table(
            {
                "document_id": columns.digits("id", own),
                "corpus": names.take(pa.array(columns.corpus_of[own])),
                "text_hash": columns.digits("text", own),
                "cluster": chosen[own],
                "kept": kind[own] == 0,
                "kind": kinds.take(pa.array(kind[own])),
                "duplicate_of": partners.take(pa.array(np.cumsum(is_duplicate) - 1, mask=~is_duplicate)),
                "similarity": pa.array(similarity[own], mask=~is_duplicate),
                "score": pa.nulls(len(kind[own])) if scores is None else scores[own],
            }
        )

    with TableFile(path, UNIQUE) as file:
        for rows in in_threads(table, batches_of(columns.num_rows, ROW_GROUP), most=2):
            file.write(rows)
