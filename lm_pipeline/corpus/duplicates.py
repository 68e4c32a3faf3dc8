"""Exact and near duplicates across all corpora of a dataset, with their clusters kept.

Documents with the same text are exact duplicates. Of the distinct texts, those that share an LSH band of their MinHash
signatures are candidates (see `minhash.py`); a candidate pair is a near duplicate when the *true* Jaccard similarity
of its shingle sets reaches the threshold. Clusters are the connected components of exact and near duplicate pairs.
Documents with fewer words than a shingle have exact duplicates only: their sets are empty and would all collide.

**Large buckets.** Pairs that already are in one cluster are not compared. In a bucket of up to `_ALL_PAIRS`
documents every other pair is. In a larger one (boilerplate) a document is compared with the one before it and with
the `_LEADERS` most recent leaders, where a leader is a document that joined nothing when it came: the cost is linear
in the bucket, and a family of near duplicates is joined through its leader. A pair can only be missed there when it
differs from all of those, and it has as many other bands to meet in.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from lm_pipeline.corpus.minhash import ngram_hashes, shingle_sets
from lm_pipeline.errors import InputError
from lm_pipeline.specs.dataset import Duplicates, NearDuplicates

_ALL_PAIRS = 256
_LEADERS = 64
_BATCH_ROWS = 4096
_NUM_EXAMPLES = 10
_EXCERPT_CHARACTERS = 160


def find_duplicates(documents: pl.LazyFrame, signatures: Sequence[Path], spec: Duplicates, out: Path) -> dict[str, Any]:
    """Find every document's cluster, and which document of a cluster stays.

    Args:
        documents: `document_id`, `corpus` and `text` in canonical order: corpora as the dataset names them, file,
            record. Read in batches, twice.
        signatures: files of `write_signatures` that together cover all documents; ignored where `spec.near` is null.
        spec: what counts as a duplicate and which member is kept.
        out: an existing folder that receives `unique.parquet`, one row per document in the order given:
            `document_id`, `corpus`, `text_hash` (xxh3_128 of the text, hex), `cluster` (row of the cluster's kept
            document), `kept`, `kind` ("exact" where an earlier document has the same text, else "near"),
            `duplicate_of` (id of the kept document) and `similarity` to it. In a chain A ~ B ~ C the similarity of A
            and C can be below the threshold; it is stored as it is. These three are null for what is kept.
            With `exact: false` same texts share a cluster, so that no split divides them, but all stay.

    Returns:
        `documents_in`, `kept`, `exact`, `near`, `num_clusters` (of two or more), `largest_cluster`, `matrix` (rows
        `[corpus of the removed, corpus of the kept, count]`) and `examples` (at most 10 pairs with excerpts).

    Raises:
        InputError: there is no document, an id comes twice, or a signature is missing.
    """
    table = _hash_texts(documents)
    rows = np.arange(len(table))
    first = table.select(pl.col("row").min().over("text_hash"))["row"].to_numpy()
    cluster_of, near_clusters = first.copy(), None
    if spec.near is not None:
        distinct = rows[first == rows]
        near_clusters = _NearClusters(table, distinct, documents, signatures, spec.near)
        component = rows.copy()
        component[distinct] = near_clusters.components
        cluster_of = component[first]
    length = table["num_characters"].to_numpy() if spec.keep == "longest" else np.zeros(len(table), np.int64)
    representative = _representatives(cluster_of, length)
    same_text = first == first[representative]
    kept = (representative == rows) | (same_text & (not spec.exact))
    exact = (first != rows) & spec.exact
    similarity = np.ones(len(table))
    if near_clusters is not None:
        other = np.flatnonzero(~same_text)
        similarity[other] = near_clusters.similarities(first[other], first[representative[other]])
    table = table.with_columns(
        cluster=pl.Series(representative, dtype=pl.Int64),
        kept=pl.Series(kept),
        kind=pl.Series(np.where(exact, "exact", "near"), dtype=pl.String),
        duplicate_of=table["document_id"].gather(representative),
        similarity=pl.Series(similarity, dtype=pl.Float32),
    )
    of_removed = pl.when(~pl.col("kept")).then(pl.col("kind", "duplicate_of", "similarity"))
    unique = table.select("document_id", "corpus", "text_hash", "cluster", "kept", of_removed)
    unique.write_parquet(out / "unique.parquet", compression="zstd")
    return _summarise(unique, documents)


def batches(documents: pl.LazyFrame, *columns: str) -> Iterator[pl.DataFrame]:
    """Read a frame's columns in order, a bounded number of rows at a time."""
    return documents.select(columns).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True)


def _hash_texts(documents: pl.LazyFrame) -> pl.DataFrame:
    """All documents without their texts: row, document_id, corpus, text_hash, num_characters."""
    parts = []
    for batch in batches(documents, "document_id", "corpus", "text"):
        hashes = [xxhash.xxh3_128_hexdigest(text.encode()) for text in batch["text"]]
        parts.append(
            batch.select(
                "document_id", "corpus", num_characters=pl.col("text").str.len_chars().cast(pl.Int64)
            ).with_columns(text_hash=pl.Series(hashes, dtype=pl.String))
        )
    table = pl.concat(parts) if parts else pl.DataFrame()
    if table.is_empty():
        raise InputError(
            "The corpora of this dataset have no document left after cleaning. Look at the decisions and"
            " quarantine.parquet of their `documents` for the reasons, or loosen the cleaning rules."
        )
    twice = table.filter(pl.col("document_id").is_duplicated())
    if len(twice):
        raise InputError(
            f"The document id {twice['document_id'][0]} comes twice (corpora {twice['corpus'].unique().to_list()});"
            " ids are made of corpus, file and record, so some part was given twice. Materialize the corpora again."
        )
    return table.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


def _representatives(cluster_of: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """By row: the row of its cluster's longest member; the first of equals."""
    order = np.lexsort((np.arange(len(cluster_of)), -length, cluster_of))
    clusters, begins = np.unique(cluster_of[order], return_index=True)
    chosen = np.zeros(len(cluster_of), np.int64)
    chosen[clusters] = order[begins]
    return chosen[cluster_of]


class _NearClusters:
    """Clusters of near duplicates among distinct texts, and the shingle sets by which they were verified.

    `components[i]` is a row of the table: the first member of the cluster of `distinct[i]`.
    """

    def __init__(
        self,
        table: pl.DataFrame,
        distinct: NDArray[np.int64],
        documents: pl.LazyFrame,
        signatures: Iterable[Path],
        spec: NearDuplicates,
    ) -> None:
        rows, keys = _band_keys(table[distinct].select("row", "document_id"), signatures, spec)
        meets = np.zeros(len(rows), np.bool_)
        for band in keys:
            _, inverse, counts = np.unique(band, return_inverse=True, return_counts=True)
            meets |= counts[inverse] > 1
        rows, keys = rows[meets], keys[:, meets]
        self._position = np.full(len(table), -1, np.int64)
        self._position[rows] = np.arange(len(rows))
        self._shingles, self._offsets = _read_shingles(documents, self._position >= 0, spec.ngram)
        sets = self._shingles, self._offsets
        parents = np.arange(len(rows))
        for band in keys:
            order = np.argsort(band, kind="stable")
            begins = np.flatnonzero(np.concatenate([[True], band[order][1:] != band[order][:-1]]))
            ends = np.append(begins[1:], len(order))
            for begin, end in zip(begins[ends - begins > 1], ends[ends - begins > 1], strict=True):
                _join_bucket(order[begin:end], sets, spec.threshold, parents)
        self.components = distinct.copy()
        candidate = self._position[distinct] >= 0
        roots = [_root(parents, at) for at in self._position[distinct[candidate]]]
        self.components[candidate] = rows[roots]

    def similarities(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """True Jaccard similarity of pairs of rows; both must be members of clusters."""
        return _jaccard_pairs(self._position[left], self._position[right], (self._shingles, self._offsets))


def _band_keys(
    wanted: pl.DataFrame, signatures: Iterable[Path], spec: NearDuplicates
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Rows (ascending, int64, N) that have a signature, and their LSH keys (uint64, num_bands x N)."""
    rows, keys, found = [], [], 0
    for path in signatures:
        part = pl.read_parquet(path, columns=["document_id", "signature"])
        part = part.join(wanted, on="document_id", how="inner", maintain_order="left")
        found += len(part)
        part = part.drop_nulls("signature")
        if len(part) == 0:
            continue
        minima = part["signature"].to_numpy().reshape(len(part), spec.num_bands, spec.rows_per_band)
        rows.append(part["row"].to_numpy())
        keys.append(_fold_rows(minima))
    if found != len(wanted):
        raise InputError(
            f"{found} signatures were found for {len(wanted)} documents. Signatures and documents come from different"
            " materializations: materialize the corpora of this dataset again."
        )
    if not rows:
        return np.zeros(0, np.int64), np.zeros((spec.num_bands, 0), np.uint64)
    all_rows = np.concatenate(rows)
    order = np.argsort(all_rows)
    return all_rows[order], np.ascontiguousarray(np.concatenate(keys)[order].T)


@numba.njit(cache=True)
def _fold_rows(minima):
    """One key per band from its rows' hashes: (N, bands, rows) to (N, bands)."""
    num, num_bands, num_rows = minima.shape
    keys = np.empty((num, num_bands), np.uint64)
    for document in range(num):
        for band in range(num_bands):
            keys[document, band] = ngram_hashes(minima[document, band], num_rows)[0]
    return keys


def _read_shingles(
    documents: pl.LazyFrame, wanted: NDArray[np.bool_], ngram: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Shingle sets of the wanted rows, in order."""
    sets, sizes, begin = [np.zeros(0, np.uint64)], [np.zeros(1, np.int64)], 0
    if wanted.any():
        for batch in batches(documents, "text"):
            texts = batch["text"].filter(pl.Series(wanted[begin : begin + len(batch)]))
            begin += len(batch)
            shingles, offsets = shingle_sets(texts, ngram)
            sets.append(shingles)
            sizes.append(np.diff(offsets))
    return np.concatenate(sets), np.cumsum(np.concatenate(sizes))


@numba.njit(cache=True)
def _jaccard(left, right, threshold):
    """Jaccard similarity of two ascending arrays of distinct values; 0 as soon as it cannot reach the threshold."""
    # With i shared values the similarity is i / (|A| + |B| - i), so this many must be shared.
    total = len(left) + len(right)
    spare = min(len(left), len(right)) - threshold * total / (1 + threshold) + 1e-6
    a = b = shared = 0
    short, long = (left, right) if len(left) <= len(right) else (right, left)
    while a < len(short) and b < len(long):
        if short[a] == long[b]:
            shared += 1
            a += 1
            b += 1
        elif short[a] < long[b]:
            a += 1
            spare -= 1
            if spare < 0:
                return 0.0
        else:
            b += 1
    return shared / (total - shared)


@numba.njit(cache=True)
def _jaccard_pairs(left, right, sets):
    shingles, offsets = sets
    similarities = np.empty(len(left), np.float64)
    for pair in range(len(left)):
        a, b = left[pair], right[pair]
        similarities[pair] = _jaccard(shingles[offsets[a] : offsets[a + 1]], shingles[offsets[b] : offsets[b + 1]], 0.0)
    return similarities


@numba.njit(cache=True)
def _root(parents, member):
    while parents[member] != member:
        parents[member] = parents[parents[member]]
        member = parents[member]
    return member


@numba.njit(cache=True)
def _try_to_join(a, b, sets, threshold, parents):
    """Whether two documents are in one cluster, after comparing them unless they were already."""
    root_a, root_b = _root(parents, a), _root(parents, b)
    if root_a == root_b:
        return True
    shingles, offsets = sets
    left, right = shingles[offsets[a] : offsets[a + 1]], shingles[offsets[b] : offsets[b + 1]]
    if _jaccard(left, right, threshold) < threshold:
        return False
    parents[max(root_a, root_b)] = min(root_a, root_b)
    return True


@numba.njit(cache=True)
def _join_bucket(bucket, sets, threshold, parents):
    """Join what is similar among the documents of one bucket; see the module's docstring for large ones."""
    if len(bucket) <= _ALL_PAIRS:
        for i in range(1, len(bucket)):
            for j in range(i):
                _try_to_join(bucket[i], bucket[j], sets, threshold, parents)
        return
    leaders = np.empty(len(bucket), np.int64)
    num_leaders = 0
    for i in range(len(bucket)):
        joined = i > 0 and _try_to_join(bucket[i], bucket[i - 1], sets, threshold, parents)
        for at in range(num_leaders - 1, max(-1, num_leaders - 1 - _LEADERS), -1):
            joined |= _try_to_join(bucket[i], leaders[at], sets, threshold, parents)
        if not joined:
            leaders[num_leaders] = bucket[i]
            num_leaders += 1


def _summarise(unique: pl.DataFrame, documents: pl.LazyFrame) -> dict[str, Any]:
    removed = unique.filter(~pl.col("kept"))
    sizes = unique["cluster"].value_counts()["count"]
    corpora = unique["corpus"]
    order = {name: place for place, name in enumerate(corpora.unique(maintain_order=True))}
    counts = Counter(zip(removed["corpus"], corpora.gather(removed["cluster"]), strict=True))
    matrix = sorted(counts.items(), key=lambda item: (order[item[0][0]], order[item[0][1]]))
    summary = {
        "documents_in": len(unique),
        "kept": int(unique["kept"].sum()),
        "exact": int((removed["kind"] == "exact").sum()),
        "near": int((removed["kind"] == "near").sum()),
        "num_clusters": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()),  # type: ignore[arg-type]
        "matrix": [[removed_from, kept_in, count] for (removed_from, kept_in), count in matrix],
        "examples": _examples(unique, removed, documents),
    }
    assert summary["documents_in"] == summary["kept"] + summary["exact"] + summary["near"]
    return summary


def _examples(unique: pl.DataFrame, removed: pl.DataFrame, documents: pl.LazyFrame) -> list[dict[str, Any]]:
    """Near duplicates first, from the most similar to the least, evenly spaced; exact ones where those are few."""
    near = removed.filter(pl.col("kind") == "near").sort("similarity", descending=True, maintain_order=True)
    places = np.unique(np.linspace(0, len(near) - 1, min(len(near), _NUM_EXAMPLES)).astype(int))
    chosen = pl.concat([near[places], removed.filter(pl.col("kind") == "exact")]).head(_NUM_EXAMPLES)
    if chosen.is_empty():
        return []
    wanted = pl.concat([chosen["document_id"], chosen["duplicate_of"]]).unique()
    excerpt = pl.col("text").str.head(_EXCERPT_CHARACTERS)
    found = documents.filter(pl.col("document_id").is_in(wanted.implode())).select("document_id", excerpt).collect()
    excerpts = dict(found.iter_rows())
    corpora = dict(
        unique.filter(pl.col("document_id").is_in(wanted.implode())).select("document_id", "corpus").iter_rows()
    )
    return [
        {
            "kind": row["kind"],
            "similarity": round(row["similarity"], 4),
            "corpus": row["corpus"],
            "document_id": row["document_id"],
            "excerpt": excerpts[row["document_id"]],
            "duplicate_of": row["duplicate_of"],
            "duplicate_of_corpus": corpora[row["duplicate_of"]],
            "duplicate_of_excerpt": excerpts[row["duplicate_of"]],
        }
        for row in chosen.iter_rows(named=True)
    ]
