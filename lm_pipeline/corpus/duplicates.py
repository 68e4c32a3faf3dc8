"""Exact and near duplicates across all corpora of a dataset, with their clusters kept.

Documents with the same text are exact duplicates. Of the distinct texts, those that share an LSH band of their MinHash
signatures are candidates, and near duplicates when their true Jaccard similarity reaches the threshold
(`near_duplicates.py`). Clusters are the connected components of exact and near duplicate pairs; one member of each
stays. Documents with fewer words than a shingle have exact duplicates only: their sets are empty and would all collide.

**What it costs.** All that is needed of a text is computed once per part of a corpus (`minhash.write_signatures`).
The search sorts keys that are on disk, some million at a time, and reads the texts of candidates alone, whose shingle
sets go to disk again. In memory are a few integers per document. Candidates that an earlier search has compared are
not read, so new documents cost the reading of their own signatures and of the texts that they resemble.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm_pipeline.corpus.documents import in_order
from lm_pipeline.corpus.equal_keys import equal_keys
from lm_pipeline.corpus.near_duplicates import NearClusters, fetch
from lm_pipeline.corpus.shared_text import examples, shared_text
from lm_pipeline.corpus.tables import TableFile, slices
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
        "duplicate_of": pl.String,  # id of the chosen document, for exact and near duplicates
        "similarity": pl.Float32,  # to it
        "score": pl.Float32,  # of the quality model; null without one
    }
)
"""Columns of `unique.parquet`."""


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
    corpora: Sequence[Sequence[Part]],
    spec: Duplicates,
    out: Path,
    previous: Path | None = None,
    min_score: float | None = None,
) -> dict[str, Any]:
    """Find every document's cluster, and which document of a cluster stays.

    Args:
        corpora: the parts of each corpus, in the dataset's order of corpora. All have scores or none.
        spec: what counts as a duplicate and which member is kept.
        out: an existing folder that receives `unique.parquet`: one row per document in canonical order (corpora as
            they are given, file, record) with the columns `UNIQUE`. `kind` is "exact" where the chosen document has
            the same text, or an earlier one has; "near" for other duplicates; "low_quality" for a chosen document
            below `min_score`. In a chain A ~ B ~ C the similarity of A and C can be below the threshold; it is stored
            as it is. With `exact: false` same texts share a cluster, so that no split divides them, but all stay. And
            `verdicts.parquet`, where near duplicates are searched for: the pairs that were compared.
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
    index = _index(corpora)
    num_rows = index.select(pl.len()).collect(engine="streaming").item()
    rows = np.arange(num_rows)
    first = _first_of_text(index, num_rows)
    documents = [part.documents for corpus in corpora for part in corpus]
    scores = _column(index, "score") if "score" in index.collect_schema() else None
    with TemporaryDirectory(dir=out) as scratch:
        near = None
        if spec.near is not None:
            near = NearClusters(index, first == rows, documents, spec.near, Path(scratch), previous)
        cluster_of = near.parents[first] if near else first
        passes = np.ones(num_rows, np.bool_) if scores is None or min_score is None else scores >= min_score
        order, undated = _preference(index, spec, scores, num_rows)
        chosen = _choose(cluster_of, passes, order)
        same_text = first == first[chosen]
        similarity = np.where(same_text, 1.0, np.nan).astype(np.float32)
        if near is not None:
            other = np.flatnonzero(~same_text)
            similarity[other] = near.similarities(first[other], first[chosen[other]])
            near.write_verdicts(out / "verdicts.parquet")
    removed = (chosen != rows) & ~(same_text & (not spec.exact))
    exact = removed & spec.exact & (same_text | (first != rows))
    kind = np.where(exact, "exact", np.where(removed, "near", np.where(passes, "", "low_quality")))
    _write(index, out / "unique.parquet", chosen, kind, similarity, scores)
    sizes = np.bincount(chosen)
    counts = {name: int((kind == name).sum()) for name in ("exact", "near", "low_quality")}
    summary = {
        "documents_in": num_rows,
        "kept": int((kind == "").sum()),
        **counts,
        "num_clusters": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()),
        **({} if undated is None else {"undated": undated}),
        "matrix": shared_text(index, chosen, sizes),
        "examples": examples(pl.scan_parquet(out / "unique.parquet"), documents),
    }
    assert summary["documents_in"] == summary["kept"] + sum(counts.values()), "a document was lost or counted twice"
    return summary


def _index(corpora: Sequence[Sequence[Part]]) -> pl.LazyFrame:
    """What is known of all documents without their texts, in canonical order."""
    frames = []
    for parts in filter(None, corpora):
        files = [[path for path in (part.signatures, part.decisions, part.scores) if path] for part in parts]
        for part, paths in zip(parts, files, strict=True):
            _check_lengths([part.documents, *paths])
        schemas = [pl.read_parquet_schema(path) for path in files[0]]
        columns = pl.Schema({name: dtype for schema in schemas for name, dtype in schema.items()})
        frames.append(in_order(files, columns).filter("kept"))
    index = pl.concat(frames) if frames else pl.LazyFrame(schema={"document_id": pl.String})
    # Whether an id comes twice is asked in 64 bits of it first: almost always that is all there is to ask.
    keys = index.select(pl.col("document_id").str.head(16).str.to_integer(base=16, dtype=pl.UInt64, strict=False))
    counts = keys.select(pl.len(), num_distinct=pl.col("document_id").n_unique())
    num_rows, num_distinct = counts.collect(engine="streaming").row(0)
    if num_rows == 0:
        raise InputError(
            "The corpora of this dataset have no document left after cleaning. Look at the decisions and"
            " quarantine.parquet of their `documents` for the reasons, or loosen the cleaning rules."
        )
    if num_distinct < num_rows:
        _refuse_repeated_ids(index)
    return index


def _check_lengths(files: Sequence[Path]) -> None:
    lengths = [pq.read_metadata(path).num_rows for path in files]
    if len(set(lengths)) > 1:
        raise InputError(
            f"{', '.join(map(str, files[1:]))} have {lengths[1:]} rows for the {lengths[0]} of {files[0]}. They come"
            " from different materializations: materialize the corpora of this dataset again."
        )


def _refuse_repeated_ids(index: pl.LazyFrame) -> None:
    twice = index.group_by("document_id").agg("corpus").filter(pl.col("corpus").list.len() > 1).collect()
    if len(twice):
        identifier, corpora = twice.sort("document_id").row(0)
        raise InputError(
            f"The document id {identifier} comes twice (corpora {sorted(set(corpora))}); ids are made of corpus, file"
            " and record, so some part was given twice. Materialize the corpora again."
        )


def _column(index: pl.LazyFrame, name: str) -> NDArray[Any]:
    return index.select(name).collect(engine="streaming")[name].to_numpy()


def _first_of_text(index: pl.LazyFrame, num_rows: int) -> NDArray[np.int64]:
    """By row: the first row with the same text."""
    first = np.arange(num_rows)
    for sharing, _ in equal_keys(index, "text_key", num_rows):
        rows = np.sort(sharing)
        hashes = fetch(index, ["text_hash"], rows).with_columns(row=pl.Series(rows))
        first[rows] = hashes.select(pl.col("row").min().over("text_hash"))["row"].to_numpy()
    return first


def _preference(
    index: pl.LazyFrame, spec: Duplicates, scores: NDArray[np.float32] | None, num_rows: int
) -> tuple[NDArray[Any], int | None]:
    """By row: what `keep` compares, the smallest first; and how many documents have no date where that is asked."""
    if spec.keep == "longest":
        return -_column(index, "num_characters"), None
    if spec.keep == "best_score":
        assert scores is not None, "the spec refuses best_score without a quality model"
        return -scores, None
    if spec.keep == "oldest":
        dates = index.select("date").collect(engine="streaming")["date"]
        return dates.fill_null(np.iinfo(np.int64).max).to_numpy(), dates.null_count()
    return np.zeros(num_rows, np.int8), None


def _choose(cluster_of: NDArray[np.int64], passes: NDArray[np.bool_], order: NDArray[Any]) -> NDArray[np.int64]:
    """By row: the chosen row of its cluster: of those that pass, if any does, the first by order, then by row."""
    chosen = cluster_of.copy()
    members = np.flatnonzero((np.bincount(cluster_of, minlength=len(cluster_of)) > 1)[cluster_of])
    ranked = members[np.lexsort((members, order[members], ~passes[members], cluster_of[members]))]
    clusters, begins = np.unique(cluster_of[ranked], return_index=True)
    best = np.arange(len(cluster_of))
    best[clusters] = ranked[begins]
    return best[chosen]


def _write(
    index: pl.LazyFrame,
    path: Path,
    chosen: NDArray[np.int64],
    kind: NDArray[np.str_],
    similarity: NDArray[np.float32],
    scores: NDArray[np.float32] | None,
) -> None:
    """Write `unique.parquet`, some rows at a time."""
    duplicate = (kind == "exact") | (kind == "near")
    similarity = np.where(duplicate, similarity, np.nan)
    wanted = np.unique(chosen[duplicate])
    identifiers = fetch(index, ["document_id"], wanted)["document_id"]
    with TableFile(path, UNIQUE) as file:
        for begin, frame in slices(index.select("document_id", "corpus", "text_hash")):
            own = slice(begin, begin + len(frame))
            at = np.searchsorted(wanted, chosen[own])
            partner = pl.Series(np.where(duplicate[own], at, -1)).replace(-1, None)
            rows = frame.with_columns(
                cluster=pl.Series(chosen[own]),
                kept=pl.Series(kind[own] == ""),
                kind=pl.Series(kind[own], dtype=pl.String).replace("", None),
                duplicate_of=identifiers.gather(partner),
                similarity=pl.Series(similarity[own], dtype=pl.Float32).fill_nan(None),
                score=pl.lit(None, pl.Float32) if scores is None else pl.Series(scores[own], dtype=pl.Float32),
            )
            file.write(rows)
