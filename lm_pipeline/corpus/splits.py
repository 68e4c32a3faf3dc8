"""Train, validation and test, decided once and kept in a ledger for ever.

What belongs together is decided together: all documents of a group (a law, a book), and all documents of a cluster of
duplicates. A hash of the seed and the group, or of the text where there is no group, decides; so no split depends on
what else is there. Then the ledger rules:

- a document whose text is in the ledger keeps its split;
- a newcomer joins the split of its cluster's members and of its group;
- where these disagree, the document is excluded as `bridging`: taking it would put a cluster or a group on two sides;
- removed duplicates are entered with their cluster, so that the split survives the death of the kept document.

The ledger only grows: the new one is the old one and what was decided now.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lm_pipeline.corpus.decontamination import TABLES, find_contamination
from lm_pipeline.errors import InputError
from lm_pipeline.specs.dataset import Decontamination, Split

SPLITS = ("train", "validation", "test")
_BATCH_ROWS = 4096
EXCLUSIONS = ("exact", "near", "repeated", "low_quality", "contaminated", "bridging")
LEDGER_SCHEMA = {"key": pl.String, "split": pl.String}

_TRAIN, _VALIDATION, _TEST = range(3)
_NONE = -1  # not decided yet; null in the files
_FEWEST_UNITS = 3  # groups or clusters of a corpus from which each split gets one


def split_documents(
    unique: Path,
    documents: pl.LazyFrame,
    ledger: Path | None,
    spec: Split,
    decontamination: Decontamination | None,
    out: Path,
    against: pl.LazyFrame | None = None,
) -> dict[str, Any]:
    """Decide every document's split, and exclude training text that repeats evaluation text.

    Args:
        unique: `unique.parquet` of `find_duplicates`.
        documents: the same documents in the same order: `document_id`, `corpus`, `text`, `group` and `num_bytes`.
        ledger: the ledger written last time, or None.
        spec: fractions and seed.
        decontamination: its parameters, or None to leave training text as it is.
        out: an existing folder that receives `splits.parquet` (`document_id`, `corpus`, `text_hash`, `cluster`,
            `group`, `split`, `exclusion`; exactly one of the last two is null), `contamination.parquet` and
            `evaluation_documents.parquet` (see `decontamination.py`) and `ledger.parquet` (`key`:
            "document:<text_hash>" or "group:<corpus>:<group>", `split`; by key).
        against: documents of further corpora that must not be trained on: `document_id`, `corpus` and `text`.

    Returns:
        `documents_in`, the number of documents by split and by exclusion, `bytes` (by split), `per_corpus` (the same
        numbers by corpus), `ledger` (`before`, `after`: entries), `decontamination` (what was searched for) and
        `warnings` (sentences: splits that a corpus does not have).

    Raises:
        InputError: `unique` and `documents` are not of the same documents, or the ledger is not one.
    """
    table = _read_documents(unique, documents)
    entries = _read_ledger(ledger)
    split, bridging, decided = _assign(table, entries, spec)
    table = table.with_columns(split=_names(split))
    new_ledger = _extend(entries, decided)
    contaminated = np.zeros(len(table), np.bool_)
    searched = None
    if decontamination is not None:
        held_out, training = split > _TRAIN, split == _TRAIN
        contaminated, searched = find_contamination(documents, held_out, training, decontamination, out, against)
    else:
        for name, schema in TABLES.items():
            pl.DataFrame(schema=schema).write_parquet(out / f"{name}.parquet")
    exclusion = (
        pl.when(pl.Series(contaminated))
        .then(pl.lit("contaminated"))
        .when(pl.Series(bridging))
        .then(pl.lit("bridging"))
        .otherwise(pl.col("kind"))
    )
    table = table.with_columns(exclusion=exclusion).with_columns(
        split=pl.when(pl.col("exclusion").is_null()).then(pl.col("split"))
    )
    columns = ["document_id", "corpus", "text_hash", "cluster", "group", "split", "exclusion"]
    table.select(columns).write_parquet(out / "splits.parquet", compression="zstd")
    new_ledger.write_parquet(out / "ledger.parquet", compression="zstd")
    sizes = {"before": len(entries), "after": len(new_ledger)}
    return _summarise(table, spec) | {"ledger": sizes, "decontamination": searched}


def with_splits(documents: pl.LazyFrame, splits: Path) -> Iterator[pl.DataFrame]:
    """Documents with their `split`, a bounded number at a time.

    Args:
        documents: with `document_id`, in the order in which `split_documents` got them.
        splits: `splits.parquet`.

    Raises:
        InputError: the two are not of the same documents.
    """
    with pq.ParquetFile(splits) as file:
        rows = (pl.DataFrame(batch) for batch in file.iter_batches(_BATCH_ROWS, columns=["document_id", "split"]))
        held = pl.DataFrame(schema={"document_id": pl.String, "split": pl.String})
        for batch in documents.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True):
            while len(held) < len(batch) and (more := next(rows, None)) is not None:
                held = pl.concat([held, more])
            own, held = held.head(len(batch)), held.slice(len(batch))
            _require_same(own["document_id"], batch["document_id"], splits)
            yield batch.with_columns(own["split"])
        _require_same(pl.concat([held, *itertools.islice(rows, 1)])["document_id"], held["document_id"].clear(), splits)


def _require_same(listed: pl.Series, given: pl.Series, splits: Path) -> None:
    if not listed.equals(given):
        raise InputError(
            f"{splits} was decided for other documents than the corpora have now. Materialize splits again."
        )


def _read_documents(unique: Path, documents: pl.LazyFrame) -> pl.DataFrame:
    table = pl.read_parquet(unique)
    columns = documents.select("document_id", "group", "num_bytes").collect()
    if not table["document_id"].equals(columns["document_id"]):
        raise InputError(
            f"{unique} lists {len(table)} documents, the corpora have {len(columns)}, and they are not the same in the"
            " same order. Materialize unique_documents again."
        )
    group = pl.format("group:{}:{}", "corpus", "group")  # null where there is no group
    return table.with_columns(columns["group"].cast(pl.String), columns["num_bytes"]).with_columns(
        key=pl.format("document:{}", "text_hash"), group=pl.when(pl.col("group").is_not_null()).then(group)
    )


def _read_ledger(path: Path | None) -> pl.DataFrame:
    if path is None:
        return pl.DataFrame(schema=LEDGER_SCHEMA)
    ledger = pl.read_parquet(path)
    if ledger.schema != LEDGER_SCHEMA or not ledger["split"].is_in(SPLITS).all() or ledger["key"].is_duplicated().any():
        raise InputError(
            f"{path} is not a split ledger: expected the columns key (each once) and split"
            f" ({', '.join(SPLITS)}), got {dict(ledger.schema)}. Give the ledger.parquet of this dataset's last splits."
        )
    return ledger


def _names(codes: NDArray[np.int64]) -> pl.Series:
    return pl.Series([*SPLITS, None], dtype=pl.String).gather(np.where(codes == _NONE, len(SPLITS), codes))


def _entries_of(keys: pl.Series, entries: pl.DataFrame) -> NDArray[np.int64]:
    """By key: the code of its split in the ledger, or `_NONE`."""
    codes = entries.select("key", code=pl.col("split").replace_strict(SPLITS, range(3), return_dtype=pl.Int64))
    found = keys.rename("key").to_frame().join(codes, on="key", how="left", maintain_order="left")
    return found["code"].fill_null(_NONE).to_numpy()


def _assign(
    table: pl.DataFrame, entries: pl.DataFrame, spec: Split
) -> tuple[NDArray[np.int64], NDArray[np.bool_], pl.DataFrame]:
    """Split codes of all rows (`_NONE` for what is excluded), which are bridging, and the ledger entries they make."""
    num = len(table)
    cluster, kept = table["cluster"].to_numpy(), table["kept"].to_numpy()
    own = _entries_of(table["key"], entries)
    in_cluster = np.zeros((3, num), np.bool_)
    for code in range(3):
        in_cluster[code, cluster[own == code]] = True
    num_sides = in_cluster.sum(axis=0)[cluster]
    required = np.where(own != _NONE, own, np.where(num_sides == 1, in_cluster.argmax(axis=0)[cluster], _NONE))
    disputed = (own == _NONE) & (num_sides > 1)

    groups = table["group"].unique(maintain_order=True).drop_nulls()
    group = table.select(
        pl.col("group").replace_strict(groups, range(len(groups)), default=_NONE, return_dtype=pl.Int64)
    )
    group_of = group["group"].to_numpy()
    group_entry = np.append(_entries_of(groups, entries), _NONE)  # the last is that of no group (-1)
    live = kept & ~disputed
    unit = _units(cluster, np.where(live, group_of, _NONE), len(groups))
    units = _Units.collect(table, unit, live)
    votes = np.zeros((unit.max(initial=0) + 1, 3), np.int64)
    for demand in (required, group_entry[group_of]):
        asked = live & (demand != _NONE)
        np.add.at(votes, (unit[asked], demand[asked]), 1)
    unit_split = np.full(len(votes), _NONE)
    unit_split[units.ids] = units.decide(votes[units.ids], spec)

    split = np.where(required != _NONE, required, unit_split[unit])
    group_split = group_entry.copy()
    open_rows = live & (group_of != _NONE) & (group_entry[group_of] == _NONE)
    group_split[group_of[open_rows]] = unit_split[unit[open_rows]]
    of_group = group_split[group_of]
    divided = (of_group != _NONE) & (of_group != split)
    bridging = kept & (disputed | divided)
    assigned = kept & ~bridging
    split[~assigned] = _NONE

    by_cluster = np.full(num, _NONE)
    by_cluster[cluster[assigned]] = split[assigned]
    members = table.select("key", split=_names(np.where(assigned, split, by_cluster[cluster])))
    group_keys = table.select(key="group", split=_names(split)).filter(pl.col("key").is_not_null())
    decided = pl.concat([members, group_keys]).drop_nulls("split")
    return split, bridging, decided


def _units(cluster: NDArray[np.int64], group: NDArray[np.int64], num_groups: int) -> NDArray[np.int64]:
    """By row: the number of the connected component of clusters and groups that must be decided together."""
    num = len(cluster)
    tied = group != _NONE
    links = coo_array(
        (np.ones(tied.sum(), np.bool_), (cluster[tied], num + group[tied])), shape=(num + num_groups,) * 2
    )
    return connected_components(links, directed=False)[1].astype(np.int64)[cluster]


@dataclass(frozen=True)
class _Units:
    """What is decided as one: its number, the corpus of its first document, and where the hash puts it in [0, 1)."""

    ids: NDArray[np.int64]
    corpora: pl.Series
    keys: pl.Series

    @classmethod
    def collect(cls, table: pl.DataFrame, unit: NDArray[np.int64], live: NDArray[np.bool_]) -> "_Units":
        frame = table.select("corpus", "group", "key", unit=pl.Series(unit)).filter(pl.Series(live))
        frame = frame.group_by("unit", maintain_order=True).agg(
            pl.col("corpus").first(), key=pl.coalesce(pl.col("group").min(), pl.col("key").min())
        )
        return cls(frame["unit"].to_numpy(), frame["corpus"], frame["key"])

    def decide(self, votes: NDArray[np.int64], spec: Split) -> NDArray[np.int64]:
        """The split of each unit: what most of its documents are bound to, else by hash."""
        hashes = [xxhash.xxh3_64_intdigest(f"{spec.seed}\0{key}".encode()) / 2**64 for key in self.keys]
        where = np.array(hashes, np.float64)
        evaluation_fraction = spec.test_fraction + spec.validation_fraction
        by_hash = np.where(
            where < spec.test_fraction, _TEST, np.where(where < evaluation_fraction, _VALIDATION, _TRAIN)
        )
        bound = votes.sum(axis=1) > 0
        split = np.where(bound, votes.argmax(axis=1), by_hash)
        for corpus in self.corpora.unique(maintain_order=True):
            _give_each_split_a_unit(split, np.flatnonzero((self.corpora == corpus).to_numpy()), bound, where, spec)
        return split


def _give_each_split_a_unit(
    split: NDArray[np.int64],
    units: NDArray[np.int64],
    bound: NDArray[np.bool_],
    where: NDArray[np.float64],
    spec: Split,
) -> None:
    """Move units of a small corpus that are not bound yet, those with the smallest hashes first, into empty splits."""
    if len(units) < _FEWEST_UNITS:
        return
    wanted = [(_TEST, spec.test_fraction), (_VALIDATION, spec.validation_fraction), (_TRAIN, 1.0)]
    for code, fraction in wanted:
        counts = np.bincount(split[units], minlength=3)
        movable = units[~bound[units] & (counts[split[units]] > 1)]
        if fraction == 0 or counts[code] > 0 or len(movable) == 0:
            continue
        donors = movable[split[movable] == split[movable][counts[split[movable]].argmax()]]
        split[donors[where[donors].argmin()]] = code


def _extend(entries: pl.DataFrame, decided: pl.DataFrame) -> pl.DataFrame:
    """The union of the old ledger and what was decided now; an old entry is never changed."""
    fresh = decided.join(entries, on="key", how="anti").unique()
    assert not fresh["key"].is_duplicated().any(), "one text or group was decided twice"
    return pl.concat([entries, fresh]).sort("key")


def _summarise(table: pl.DataFrame, spec: Split) -> dict[str, Any]:
    fate = pl.coalesce("split", "exclusion").alias("fate")
    corpora = table["corpus"].unique(maintain_order=True).to_list()
    counted = table.group_by("corpus", fate).agg(num=pl.len(), num_bytes=pl.col("num_bytes").sum())
    per_corpus: dict[str, dict[str, int]] = {corpus: dict.fromkeys((*SPLITS, *EXCLUSIONS), 0) for corpus in corpora}
    sizes: dict[str, int] = dict.fromkeys(SPLITS, 0)
    for corpus, name, num, num_bytes in counted.iter_rows():
        per_corpus[corpus][name] = num
        if name in sizes:
            sizes[name] += num_bytes
    totals = {name: sum(counts[name] for counts in per_corpus.values()) for name in (*SPLITS, *EXCLUSIONS)}
    assert sum(totals.values()) == len(table), "a document was lost or counted twice"
    wanted = {"train": 1.0, "validation": spec.validation_fraction, "test": spec.test_fraction}
    warnings = [
        f"Corpus {corpus!r} has no {name} documents ({counts['contaminated']} were contaminated, {counts['bridging']}"
        f" bridging). It needs at least {_FEWEST_UNITS} groups (or documents that are no duplicates) that are not in"
        " the ledger yet: add text, or change split.seed to begin another ledger."
        for corpus, counts in per_corpus.items()
        for name, fraction in wanted.items()
        if fraction > 0 and counts[name] == 0
    ]
    return {"documents_in": len(table), **totals, "bytes": sizes, "per_corpus": per_corpus, "warnings": warnings}
