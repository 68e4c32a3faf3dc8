"""Clusters of near duplicates: candidates by LSH, verified by true Jaccard similarity, joined by union-find.

Documents that share a band of their MinHash signatures are candidates (`minhash.py`). A candidate pair is a near
duplicate when the Jaccard similarity of its shingle sets reaches the threshold. Clusters are connected components.

**Large buckets.** Pairs that already are in one cluster are not compared. In a bucket of up to `_ALL_PAIRS`
documents every other pair is. In a larger one (boilerplate) a document is compared with the one before it and with
the `_LEADERS` most recent leaders, where a leader is a document that joined nothing when it came: the cost is linear
in the bucket, and a family of near duplicates is joined through its leader. A pair can only be missed there when it
differs from all of those, and it has as many other bands to meet in.

**Verdicts are kept.** What a pair's similarity is depends on its two texts alone. So the verdicts of an earlier search
spare the reading of texts that were compared then; they change nothing in the result. The walk over the buckets is
repeated until it meets no pair whose verdict is unknown: once to see which texts are needed, once with them.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import Columns, halves_of, mapped
from lm_pipeline.corpus.similarity.equal_keys import equal_keys_of_pass, num_passes
from lm_pipeline.corpus.similarity.minhash import band_column
from lm_pipeline.corpus.similarity.shingle_store import ShingleStore, jaccard
from lm_pipeline.corpus.threads import in_threads
from lm_pipeline.specs.dataset import NearDuplicates

_ALL_PAIRS = 256
_LEADERS = 64
_BELOW = -1.0  # a similarity that is known to be below the threshold, and no more

VERDICTS = pl.Schema({"text_hash": pl.String, "other_text_hash": pl.String, "similarity": pl.Float64})
"""Columns of a file of verdicts: two texts, and their similarity where it reaches the threshold or was asked for."""


@dataclass(frozen=True)
class _Verdicts:
    """What is known of pairs of rows. Keys are `smaller row * N + larger row`, ascending."""

    keys: NDArray[np.int64]
    similarities: NDArray[np.float64]

    @classmethod
    def of(cls, keys: NDArray[np.int64], similarities: NDArray[np.float64]) -> "_Verdicts":
        """Each pair once; a similarity says more than that it is below."""
        order = np.lexsort((-similarities, keys))
        keys, similarities = keys[order], similarities[order]
        first = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
        return cls(keys[first], similarities[first])

    def and_(self, keys: NDArray[np.int64], similarities: NDArray[np.float64]) -> "_Verdicts":
        """These and further ones."""
        return _Verdicts.of(np.concatenate([self.keys, keys]), np.concatenate([self.similarities, similarities]))

    def look_up(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Similarities; NaN for what is not known or only known to be below."""
        at = np.minimum(np.searchsorted(self.keys, keys), max(0, len(self.keys) - 1))
        if len(self.keys) == 0:
            return np.full(len(keys), np.nan)
        similarities = self.similarities[at]
        return np.where((self.keys[at] == keys) & (similarities != _BELOW), similarities, np.nan)


class NearClusters:
    """The clusters of near duplicates among distinct texts.

    `parents[row]` (int64, N) is the first row of the row's cluster.
    """

    def __init__(
        self,
        columns: Columns,
        distinct: NDArray[np.bool_],
        documents: Sequence[Path],
        spec: NearDuplicates,
        scratch: Path,
        previous: Path | None = None,
    ) -> None:
        """Find them.

        Args:
            columns: the signatures of N documents (`minhash.write_signatures`).
            distinct: which rows are searched (bool, N); no two of them have the same text.
            documents: of each part, the file with the texts.
            spec: bands and threshold.
            scratch: an existing folder for files that are of no use afterwards.
            previous: the verdicts of an earlier search with the same `spec`.
        """
        self._columns = columns
        self._num_rows = len(distinct)
        self._threshold = spec.threshold
        self._store = ShingleStore(scratch / "shingles.bin", columns, documents, spec.ngram)
        known = self._read_verdicts(previous, distinct)
        sketched = distinct & (columns["num_shingles"] > 0)
        buckets = _Buckets.write(columns, spec.num_bands, sketched, scratch)
        if len(known.keys) == 0:  # then every candidate's text is needed, and no walk has to find that out
            candidates = np.zeros(len(distinct), np.bool_)
            candidates[buckets.rows] = True
            self._store.add(np.flatnonzero(candidates))
        while True:
            wanted = np.zeros(len(distinct), np.bool_)
            self.parents, used, known = self._walk(buckets, known, wanted)
            if not wanted.any():
                break
            self._store.add(np.flatnonzero(wanted))
        self._known, self._used = known, used
        _flatten(self.parents)

    def similarities(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """True similarities of pairs of rows of a cluster each, compared now where that was not done before."""
        keys = np.minimum(left, right) * self._num_rows + np.maximum(left, right)
        similarities = self._known.look_up(keys)
        open_pairs = np.isnan(similarities)
        if open_pairs.any():
            rows = np.unique(np.concatenate([left[open_pairs], right[open_pairs]]))
            self._store.add(rows[self._store.place[rows] < 0])
            similarities[open_pairs] = self._store.similarities(left[open_pairs], right[open_pairs])
        self._used = self._used.and_(keys, similarities)
        return similarities

    def write_verdicts(self, path: Path) -> None:
        """Write the verdicts that this search has used, by text, for the next one."""
        left, right = self._used.keys // self._num_rows, self._used.keys % self._num_rows
        exact = self._used.similarities != _BELOW
        pl.DataFrame(
            {
                "text_hash": self._columns.hex("text", left),
                "other_text_hash": self._columns.hex("text", right),
                "similarity": pl.Series(np.where(exact, self._used.similarities, np.nan)).fill_nan(None),
            },
            schema=VERDICTS,
        ).write_parquet(path, compression="zstd")

    def _read_verdicts(self, path: Path | None, distinct: NDArray[np.bool_]) -> _Verdicts:
        if path is None:
            return _Verdicts(np.zeros(0, np.int64), np.zeros(0))
        verdicts = pl.read_parquet(path)
        texts = pl.concat([verdicts["text_hash"], verdicts["other_text_hash"]]).unique()
        rows = np.flatnonzero(_among(self._columns["text_low"], np.sort(halves_of(texts)[1]), distinct))
        present = pl.DataFrame({"text_hash": self._columns.hex("text", rows), "row": rows})
        pairs = verdicts.join(present, on="text_hash").join(
            present, left_on="other_text_hash", right_on="text_hash", suffix="_other"
        )
        left, right = pairs["row"].to_numpy(), pairs["row_other"].to_numpy()
        keys = np.minimum(left, right) * self._num_rows + np.maximum(left, right)
        return _Verdicts.of(keys, pairs["similarity"].fill_null(_BELOW).to_numpy())

    def _walk(
        self, buckets: "_Buckets", known: _Verdicts, wanted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], _Verdicts, _Verdicts]:
        """Parents, the verdicts that were used, and all that are known now; marks the rows whose texts are needed."""
        parents = np.arange(self._num_rows)
        used_keys, used_similarities = [], []
        store = (self._store.place, self._store.shingles, self._store.offsets)
        for rows, ends in buckets.pieces():
            keys, similarities = _join_buckets(
                rows, ends, (known.keys, known.similarities), store, self._threshold, parents, wanted
            )
            used_keys.append(keys)
            used_similarities.append(similarities)
            self._store.release()
        used = _Verdicts.of(
            np.concatenate([np.zeros(0, np.int64), *used_keys]), np.concatenate([np.zeros(0), *used_similarities])
        )
        return parents, used, known.and_(used.keys, used.similarities)


@numba.njit(cache=True)
def _among(keys, wanted, also):
    """Which keys are among the wanted ones (ascending), where `also` holds."""
    found = np.zeros(len(keys), np.bool_)
    for row in range(len(keys)):
        if also[row] and len(wanted):
            at = np.searchsorted(wanted, keys[row])
            found[row] = at < len(wanted) and wanted[at] == keys[row]
    return found


@dataclass(frozen=True)
class _Buckets:
    """The buckets of all bands that hold more than one document, band after band: rows and ends, mapped from disk."""

    rows: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def write(cls, columns: Columns, num_bands: int, among: NDArray[np.bool_], scratch: Path) -> "_Buckets":
        """Find them and write them to the scratch folder."""

        def shared(place: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            band, step = place
            return equal_keys_of_pass(columns[band_column(band)], among, step)

        places = itertools.product(range(num_bands), range(num_passes(columns.num_rows)))
        paths = scratch / "buckets.rows", scratch / "buckets.ends"
        num = 0
        with paths[0].open("wb") as rows_file, paths[1].open("wb") as ends_file:
            for rows, ends in in_threads(shared, places, most=4):
                rows.tofile(rows_file)
                (ends + num).tofile(ends_file)
                num += len(rows)
        if num == 0:
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        return cls(*(mapped(path, np.int64) for path in paths))

    def pieces(self, num_buckets: int = 1 << 16) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Rows and ends of some buckets after the others."""
        for first in range(0, len(self.ends), num_buckets):
            begin = self.ends[first - 1] if first else 0
            ends = np.asarray(self.ends[first : first + num_buckets])
            yield np.asarray(self.rows[begin : ends[-1]]), ends - begin


@numba.njit(cache=True)
def _root(parents, member):
    while parents[member] != member:
        parents[member] = parents[parents[member]]
        member = parents[member]
    return member


@numba.njit(cache=True)
def _flatten(parents):
    for row in range(len(parents)):
        parents[row] = _root(parents, row)


@numba.njit(cache=True)
def _together(bucket, parents):
    """Whether all are in one cluster already: then no comparison can change anything."""
    root = _root(parents, bucket[0])
    for row in bucket[1:]:  # noqa: SIM110 - compiled: no generators
        if _root(parents, row) != root:
            return False
    return True


@numba.njit(cache=True)
def _similarity(a, b, known, store, threshold, wanted):
    """Of two rows: what is known, or what their sets say; NaN, and both wanted, where neither is there."""
    keys, similarities = known
    key = min(a, b) * len(wanted) + max(a, b)
    at = np.searchsorted(keys, key)
    if at < len(keys) and keys[at] == key:
        return similarities[at]
    place, shingles, offsets = store
    left, right = place[a], place[b]
    if left >= 0 and right >= 0:
        return jaccard(
            shingles[offsets[left] : offsets[left + 1]], shingles[offsets[right] : offsets[right + 1]], threshold
        )
    wanted[a] |= left < 0
    wanted[b] |= right < 0
    return np.nan


@numba.njit(cache=True)
def _try_to_join(a, b, known, store, threshold, parents, wanted, used):
    """Whether two rows are in one cluster, after comparing them unless they were already; and the verdicts used."""
    root_a, root_b = _root(parents, a), _root(parents, b)
    if root_a == root_b:
        return True, used
    similarity = _similarity(a, b, known, store, threshold, wanted)
    if np.isnan(similarity):
        return False, used
    keys, similarities, num = used
    if num[0] == len(keys):  # full: twice as many
        keys, similarities = np.append(keys, np.zeros_like(keys)), np.append(similarities, np.zeros_like(similarities))
    keys[num[0]] = min(a, b) * len(wanted) + max(a, b)
    similarities[num[0]] = similarity if similarity >= threshold else -1.0
    num[0] += 1
    if similarity < threshold:
        return False, (keys, similarities, num)
    parents[max(root_a, root_b)] = min(root_a, root_b)
    return True, (keys, similarities, num)


@numba.njit(cache=True)
def _join_buckets(rows, ends, known, store, threshold, parents, wanted):
    """Join what is similar among the documents of each bucket; see the module's docstring for large ones.

    Returns:
        The pairs whose verdicts were used, as keys of `_Verdicts`, and their similarities (`_BELOW` for those below).
    """
    used = np.zeros(1024, np.int64), np.zeros(1024, np.float64), np.zeros(1, np.int64)
    leaders = np.zeros(len(rows), np.int64)
    begin = 0
    for end in ends:
        bucket = rows[begin:end]
        begin = end
        if _together(bucket, parents):
            continue
        if len(bucket) <= _ALL_PAIRS:
            for i in range(1, len(bucket)):
                for j in range(i):
                    _, used = _try_to_join(bucket[i], bucket[j], known, store, threshold, parents, wanted, used)
            continue
        num_leaders = 0
        for i in range(len(bucket)):
            joined = False
            if i > 0:
                joined, used = _try_to_join(bucket[i], bucket[i - 1], known, store, threshold, parents, wanted, used)
            for at in range(num_leaders - 1, max(-1, num_leaders - 1 - _LEADERS), -1):
                also, used = _try_to_join(bucket[i], leaders[at], known, store, threshold, parents, wanted, used)
                joined |= also
            if not joined:
                leaders[num_leaders] = bucket[i]
                num_leaders += 1
    keys, similarities, num = used
    return keys[: num[0]].copy(), similarities[: num[0]].copy()
