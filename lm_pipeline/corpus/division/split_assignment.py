"""Which side each document is put on: by the ledger, by what it belongs to, else by hash.

The rules are those of `splits.py`. Of a document some 60 bytes are in memory, none of them of its text or its id; of a
group its name.
"""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import numba
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lm_pipeline.corpus.columns import batches_of, halves_of, hex_of
from lm_pipeline.corpus.division.split_ledger import SPLITS, UNDECIDED, Ledger
from lm_pipeline.corpus.tables import ROW_GROUP, slices
from lm_pipeline.errors import InputError
from lm_pipeline.specs.dataset import Split

EXCLUSIONS = ("exact", "near", "repeated", "low_quality", "contaminated", "bridging")
FATES = (*SPLITS, *EXCLUSIONS)
"""What becomes of a document."""
FEWEST_UNITS = 3
"""Groups or clusters of a corpus from which each split gets one."""
TRAIN, VALIDATION, TEST = range(3)
_NO_GROUP = -1


@dataclass(frozen=True)
class Table:
    """What is known of N documents without their texts.

    Attributes:
        corpora: names, in the order of the documents.
        corpus: of each document its number (int32, N).
        groups: "group:<corpus>:<group>", each once.
        group: of each document its number (int32, N), `_NO_GROUP` where it has none.
        high: upper half of the hash of its text (uint64, N).
        low: lower half.
        cluster: the row of its cluster's chosen document (int64, N).
        kept: bool, N.
        exclusion: why it is not kept, a place in `FATES` (int8, N); no meaning where it is.
        num_bytes: of its text (int64, N).
    """

    corpora: list[str]
    corpus: NDArray[np.int32]
    groups: pl.Series
    group: NDArray[np.int32]
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    cluster: NDArray[np.int64]
    kept: NDArray[np.bool_]
    exclusion: NDArray[np.int8]
    num_bytes: NDArray[np.int64]

    @classmethod
    def read(cls, unique: Path, documents: pl.LazyFrame) -> Self:
        """Read `unique.parquet` and its documents side by side.

        Raises:
            InputError: they are not the same documents in the same order.
        """
        num = pq.read_metadata(unique).num_rows
        types: dict[str, Any] = {
            "corpus": np.int32,
            "group": np.int32,
            "high": np.uint64,
            "low": np.uint64,
            "cluster": np.int64,
        }
        types |= {"kept": np.bool_, "exclusion": np.int8, "num_bytes": np.int64}
        columns: dict[str, Any] = {name: np.empty(num, dtype) for name, dtype in types.items()}
        corpora: dict[str, int] = {}
        groups: dict[str, int] = {}
        listed = pl.scan_parquet(unique).select("document_id", "corpus", "text_hash", "cluster", "kept", "kind")
        given = documents.select("document_id", pl.col("group").cast(pl.String), "num_bytes")
        none = (num, pl.DataFrame({"document_id": []}, schema={"document_id": pl.String}))
        for (begin, own), (_, found) in zip_longest(slices(listed), slices(given), fillvalue=none):
            if not own["document_id"].equals(found["document_id"]):
                raise InputError(
                    f"{unique} lists {num} documents, the corpora have {given.select(pl.len()).collect().item()}, and"
                    " they are not the same in the same order. Materialize unique_documents again."
                )
            names = own.select(key=pl.format("group:{}:{}", "corpus", found["group"]))["key"]  # null without a group
            rows = slice(begin, begin + len(own))
            columns["corpus"][rows] = _numbers(own["corpus"], corpora)
            columns["group"][rows] = _numbers(names, groups)
            columns["high"][rows], columns["low"][rows] = halves_of(own["text_hash"])
            columns["cluster"][rows], columns["kept"][rows] = own["cluster"], own["kept"]
            kinds = own["kind"].replace_strict(FATES, range(len(FATES)), default=0, return_dtype=pl.Int8)
            columns["exclusion"][rows], columns["num_bytes"][rows] = kinds, found["num_bytes"]
        return cls(corpora=list(corpora), groups=pl.Series(list(groups), dtype=pl.String), **columns)


def _numbers(names: pl.Series, known: dict[str, int]) -> pl.Series:
    """Each name's number, in the order in which they come; `_NO_GROUP` for null. New ones are entered."""
    distinct = names.drop_nulls().unique(maintain_order=True)
    numbers = [known.setdefault(name, len(known)) for name in distinct]
    return names.replace_strict(distinct, numbers, default=_NO_GROUP, return_dtype=pl.Int32)


def assign(table: Table, ledger: Ledger, spec: Split) -> tuple[NDArray[np.int8], NDArray[np.bool_], Ledger]:
    """Splits of all documents (`UNDECIDED` for what is excluded), which are bridging, and the ledger with them."""
    of_texts, of_groups = ledger.of_texts(table.high, table.low), ledger.of_groups(table.groups)
    split, bridging = _decide(table, of_texts, of_groups, spec)
    return split, bridging, _grown(ledger, table, split)


def _decide(
    table: Table, of_texts: NDArray[np.int8], of_groups: NDArray[np.int8], spec: Split
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """By row its split and whether it is bridging, given what the ledger says of its text and of each group."""
    required, disputed = _bound(of_texts, table.cluster)
    of_groups = np.append(of_groups, np.int8(UNDECIDED))  # the last is that of no group (-1)
    live = table.kept & ~disputed
    of_unit = _decide_units(table, live, (required, of_groups[table.group]), spec)
    split = np.where(required != UNDECIDED, required, of_unit)

    new = live & (table.group != _NO_GROUP) & (of_groups[table.group] == UNDECIDED)
    of_groups[table.group[new]] = of_unit[new]
    of_group = of_groups[table.group]
    divided = (of_group != UNDECIDED) & (of_group != split)
    bridging = table.kept & (disputed | divided)
    split[~table.kept | bridging] = UNDECIDED
    return split, bridging


def _decide_units(
    table: Table, live: NDArray[np.bool_], demands: tuple[NDArray[np.int8], ...], spec: Split
) -> NDArray[np.int8]:
    """By row the split of its unit, for which live rows vote with what is demanded of them."""
    unit = _units(table.cluster, np.where(live, table.group, _NO_GROUP), len(table.groups))
    votes = np.zeros((unit.max(initial=0) + 1, len(SPLITS)), np.int32)
    for demand in demands:
        asked = live & (demand != UNDECIDED)
        np.add.at(votes, (unit[asked], demand[asked]), 1)
    units = _Units.of(table, unit, live, len(votes), spec.seed)
    split = np.full(len(votes), UNDECIDED, np.int8)
    split[units.ids] = units.decide(votes[units.ids], spec)
    return split[unit]


def _grown(ledger: Ledger, table: Table, split: NDArray[np.int8]) -> Ledger:
    """The ledger with these splits: a text that has none gets its cluster's, a group that of its documents."""
    assigned = split != UNDECIDED
    by_cluster = np.full(len(split), UNDECIDED, np.int8)
    by_cluster[table.cluster[assigned]] = split[assigned]
    of_texts = np.where(assigned, split, by_cluster[table.cluster])
    of_groups = np.full(len(table.groups), UNDECIDED, np.int8)
    in_group = assigned & (table.group != _NO_GROUP)
    of_groups[table.group[in_group]] = split[in_group]
    assert (of_groups[table.group[in_group]] == split[in_group]).all(), "one group was decided twice"
    return ledger.grown((table.high, table.low, of_texts), (table.groups, of_groups))


def _bound(own: NDArray[np.int8], cluster: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """The split that a document's text or its cluster's members have, and whether those members have several."""
    in_cluster = np.zeros((len(SPLITS), len(own)), np.bool_)
    for code in range(len(SPLITS)):
        in_cluster[code, cluster[own == code]] = True
    num_sides = in_cluster.sum(axis=0, dtype=np.int8)
    side = np.where(num_sides == 1, in_cluster.argmax(axis=0), UNDECIDED).astype(np.int8)
    return np.where(own != UNDECIDED, own, side[cluster]), (own == UNDECIDED) & (num_sides > 1)[cluster]


def _units(cluster: NDArray[np.int64], group: NDArray[np.int32], num_groups: int) -> NDArray[np.int32]:
    """By row: the number of the connected component of clusters and groups that must be decided together."""
    num = len(cluster)
    tied = group != _NO_GROUP
    links = coo_array(
        (np.ones(tied.sum(), np.bool_), (cluster[tied], num + group[tied])), shape=(num + num_groups,) * 2
    )
    return connected_components(links, directed=False)[1][cluster]


@dataclass(frozen=True)
class _Units:
    """What is decided as one: its number, the corpus of its first document, and where the hash puts it in [0, 1)."""

    ids: NDArray[np.int32]
    corpus: NDArray[np.int32]
    where: NDArray[np.float64]

    @classmethod
    def of(cls, table: Table, unit: NDArray[np.int32], live: NDArray[np.bool_], num: int, seed: int) -> Self:
        """Units of live documents, in the order of these. A group gives its name to the hash, else a text its own."""
        order = table.groups.arg_sort().to_numpy()
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order))
        first, best, group = _smallest(unit, live, np.append(rank, -1)[table.group], table.high, table.low, num)
        rows = np.sort(first[first >= 0])
        ids = unit[rows]
        where = np.empty(len(ids), np.float64)
        for own in batches_of(len(ids), ROW_GROUP):
            some = ids[own]
            texts = "document:" + hex_of(table.high[best[some]], table.low[best[some]])
            named = pl.Series(group[some] >= 0)
            names = table.groups.gather(order[np.maximum(group[some], 0)]) if len(order) else texts
            keys = names.zip_with(named, texts)
            where[own] = [xxhash.xxh3_64_intdigest(f"{seed}\0{key}".encode()) / 2**64 for key in keys]
        return cls(ids, table.corpus[rows], where)

    def decide(self, votes: NDArray[np.int32], spec: Split) -> NDArray[np.int64]:
        """The split of each unit: what most of its documents are bound to, else by hash."""
        evaluation_fraction = spec.test_fraction + spec.validation_fraction
        by_hash = np.where(
            self.where < spec.test_fraction, TEST, np.where(self.where < evaluation_fraction, VALIDATION, TRAIN)
        )
        bound = votes.sum(axis=1) > 0
        split = np.where(bound, votes.argmax(axis=1), by_hash)
        for corpus in range(self.corpus.max(initial=-1) + 1):
            _give_each_split_a_unit(split, np.flatnonzero(self.corpus == corpus), bound, self.where, spec)
        return split


@numba.njit(cache=True)
def _smallest(unit, live, group, high, low, num):
    """By unit, of its live rows: the first, the one whose text has the smallest hash, and the smallest group; or -1."""
    first, best, least = np.full(num, -1), np.full(num, -1), np.full(num, -1, np.int32)
    for row in range(len(unit)):
        if live[row]:
            own = unit[row]
            if first[own] < 0:
                first[own] = row
            other = best[own]
            if other < 0 or high[row] < high[other] or (high[row] == high[other] and low[row] < low[other]):
                best[own] = row
            if group[row] >= 0 and (least[own] < 0 or group[row] < least[own]):
                least[own] = group[row]
    return first, best, least


def _give_each_split_a_unit(
    split: NDArray[np.int64],
    units: NDArray[np.int64],
    bound: NDArray[np.bool_],
    where: NDArray[np.float64],
    spec: Split,
) -> None:
    """Move units of a small corpus that are not bound yet, those with the smallest hashes first, into empty splits."""
    if len(units) < FEWEST_UNITS:
        return
    wanted = [(TEST, spec.test_fraction), (VALIDATION, spec.validation_fraction), (TRAIN, 1.0)]
    for code, fraction in wanted:
        counts = np.bincount(split[units], minlength=3)
        movable = units[~bound[units] & (counts[split[units]] > 1)]
        if fraction == 0 or counts[code] > 0 or len(movable) == 0:
            continue
        donors = movable[split[movable] == split[movable][counts[split[movable]].argmax()]]
        split[donors[where[donors].argmin()]] = code
