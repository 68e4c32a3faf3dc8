"""Train, validation and test, decided once and kept in a ledger for ever.

What belongs together is decided together: all documents of a group (a law, a book), and all documents of a cluster of
duplicates. A hash of the seed and the group, or of the text where there is no group, decides; so no split depends on
what else is there. Then the ledger rules:

- a document whose text is in the ledger keeps its split;
- a newcomer joins the split of its cluster's members and of its group;
- where these disagree, the document is excluded as `bridging`: taking it would put a cluster or a group on two sides;
- removed duplicates are entered with their cluster, so that the split survives the death of the kept document.

The ledger only grows: the new one is the old one and what was decided now.

Text that stood in an earlier document is cut. Where that document is excluded here, its text is passed on to the next
one that has it and is not contaminated by it (`cuts.py`); so what any document with a split has is in one of them. Only
text whose every training document repeats evaluation text with it, and which no other document has, is lost.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import hex_of
from lm_pipeline.corpus.contamination.decontamination import TABLES, Findings, Search, find_contamination
from lm_pipeline.corpus.contamination.text_ngrams import chosen_documents, with_targets
from lm_pipeline.corpus.division.cuts import RepeatedUnits
from lm_pipeline.corpus.division.split_assignment import EXCLUSIONS, FATES, FEWEST_UNITS, TRAIN, Table, assign
from lm_pipeline.corpus.division.split_ledger import SPLITS, Ledger
from lm_pipeline.corpus.tables import write_rows
from lm_pipeline.errors import InputError
from lm_pipeline.specs.dataset import Decontamination, Split

_COLUMNS = ("document_id", "corpus", "text_hash", "cluster", "group", "split", "exclusion")
_BATCH_ROWS = 4096


def split_documents(
    unique: Path,
    documents: pl.LazyFrame,
    ledger: Path | None,
    spec: Split,
    decontamination: Decontamination | None,
    out: Path,
    against: pl.LazyFrame | None = None,
    repeated: Path | None = None,
) -> dict[str, Any]:
    """Decide every document's split, and exclude training text that repeats evaluation text.

    Args:
        unique: `unique.parquet` of `find_duplicates`.
        documents: the same documents in the same order: `document_id`, `corpus`, `text`, `target`, `group` and
            `num_bytes`.
        ledger: the ledger written last time, or None.
        spec: fractions and seed.
        decontamination: its parameters, or None to leave training text as it is.
        out: an existing folder that receives `splits.parquet` (`document_id`, `corpus`, `text_hash`, `cluster`,
            `group`, `split`, `exclusion`; exactly one of the last two is null), `contamination.parquet` and
            `evaluation_documents.parquet` (see `corpus/contamination/decontamination.py`) and `ledger.parquet` (`key`:
            "document:<text_hash>" or "group:<corpus>:<group>", `split`; by key), and `repeated.parquet` (see `cuts.py`)
            where something may be cut.
        against: documents of further corpora that must not be trained on: `document_id`, `corpus`, `text`, `target`.
        repeated: `repeated_units.parquet` of the same documents, whose texts are not cut yet; or None to cut nothing.

    Returns:
        `documents_in`, the number of documents by split and by exclusion, `bytes` (by split), `per_corpus` (the same
        numbers by corpus), `ledger` (`before`, `after`: entries), `decontamination` (what was searched for),
        `repeated_text` (what is cut) and `warnings` (sentences: splits that a corpus does not have).

    Raises:
        InputError: `unique` and `documents` are not of the same documents, or the ledger is not one.
    """
    table = Table.read(unique, documents)
    entries = Ledger.read(ledger)
    split, bridging, grown = assign(table, entries, spec)
    grown.write(out / "ledger.parquet")
    sizes = {"before": len(entries), "after": len(grown)}
    del entries, grown  # what is searched below takes their room
    units = RepeatedUnits.read(repeated, unique).passed_on(bridging)
    contaminated = np.zeros(len(split), np.bool_)
    searched = None
    if decontamination is not None:
        with Findings.written(split > TRAIN, against, out) as findings:
            find = functools.partial(find_contamination, spec=decontamination, findings=findings, against=against)
            searched, units = _decontaminate(documents, units, split, bridging, findings.contaminated, find)
        contaminated = findings.contaminated
    else:
        for name, schema in TABLES.items():
            pl.DataFrame(schema=schema).write_parquet(out / f"{name}.parquet")
    fate = np.where(table.kept, split, table.exclusion)
    fate[bridging] = FATES.index("bridging")
    fate[contaminated] = FATES.index("contaminated")
    _write(table, unique, fate, out / "splits.parquet")
    sections = {"ledger": sizes, "decontamination": searched}
    if repeated is not None:
        sections["repeated_text"] = units.write(out / "repeated.parquet", gone=fate >= len(SPLITS))
    num_bytes = table.num_bytes - units.num_bytes(len(fate))
    return _summarise(table, fate, num_bytes, spec) | sections


def _decontaminate(
    documents: pl.LazyFrame,
    units: RepeatedUnits,
    split: NDArray[np.int8],
    bridging: NDArray[np.bool_],
    contaminated: NDArray[np.bool_],
    find: Callable[..., tuple[dict[str, int], Search]],
) -> tuple[dict[str, int], RepeatedUnits]:
    """What was searched for, and what is cut of documents that are left; each search adds to the contaminated ones.

    Text that a contaminated document kept is passed on, but not to a training document that would repeat evaluation
    text with it. Where evaluation text grows by that, it is searched for again.
    """
    held_out, training = split > TRAIN, split == TRAIN
    while True:
        searched, search = find(units.cut_out_of(documents), held_out, training)
        gone = contaminated | bridging
        lost = units.lost(gone)
        if not lost.any():
            return searched, units
        before, units = units, _passed_on(documents, units, gone, training, search)
        num_cut = [int(held_out[each.rows["document"].to_numpy()].sum()) for each in (before, units)]
        if num_cut[0] == num_cut[1]:
            return searched, units


def _passed_on(
    documents: pl.LazyFrame,
    units: RepeatedUnits,
    gone: NDArray[np.bool_],
    training: NDArray[np.bool_],
    search: Search,
) -> RepeatedUnits:
    """What is cut when lost units are passed on, and no training document repeats evaluation text with them.

    A document may keep all that it has lost, or else what repeats no evaluation text by itself, or else nothing. One
    that then gets a part only, because earlier documents take the rest, is searched as it stands.
    """
    document, lost = units.rows["document"].to_numpy(), units.lost(gone)

    def repeat_with(back: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        whole = with_targets(units.restored(back).cut_out_of(documents))
        return search.hits(chosen_documents(whole, wanted), len(wanted))

    def owners(among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        having = np.zeros(len(training), np.bool_)
        having[document[among]] = True
        return having & training

    able = lost.copy()
    with_all = repeat_with(able, owners(able))
    if with_all.any():
        own = chosen_documents(documents.select("document_id", "text"), with_all)
        able &= ~search.hits(units.texts(own, lost & with_all[document]), len(document))
        able &= ~repeat_with(able, with_all)[document]
    while True:
        given = units.kept_by(gone, able) == document
        in_part = owners(given) & owners(able & ~given)
        repeating = repeat_with(given, in_part) if in_part.any() else in_part
        if not repeating.any():
            return units.passed_on(gone, able)
        able &= ~repeating[document]


def _write(table: Table, unique: Path, fate: NDArray[np.int8], path: Path) -> None:
    """Write `splits.parquet`."""
    schema = pl.Schema(dict.fromkeys(_COLUMNS, pl.String()) | {"cluster": pl.Int64})
    splits = pl.Series([name if name in SPLITS else None for name in FATES], dtype=pl.String)
    exclusions = pl.Series([name if name in EXCLUSIONS else None for name in FATES], dtype=pl.String)
    groups = pl.concat([table.groups, pl.Series([None], dtype=pl.String)])  # the last is that of no group (-1)

    def rows(own: slice) -> pl.DataFrame:
        ids = pl.scan_parquet(unique).select("document_id").slice(own.start, own.stop - own.start).collect()
        return ids.with_columns(
            corpus=pl.Series(table.corpora, dtype=pl.String).gather(table.corpus[own]),
            text_hash=hex_of(table.high[own], table.low[own]),
            cluster=table.cluster[own],
            group=groups.gather(np.where(table.group[own] < 0, len(table.groups), table.group[own])),
            split=splits.gather(fate[own]),
            exclusion=exclusions.gather(fate[own]),
        )

    write_rows(path, schema, len(fate), rows)


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


def _summarise(table: Table, fate: NDArray[np.int8], num_bytes: NDArray[np.int64], spec: Split) -> dict[str, Any]:
    """Documents by corpus and fate, and what follows from these numbers."""
    counts = np.zeros((len(table.corpora), len(FATES)), np.int64)
    sizes_of = np.zeros_like(counts)
    np.add.at(counts, (table.corpus, fate), 1)
    np.add.at(sizes_of, (table.corpus, fate), num_bytes)
    per_corpus: dict[str, dict[str, int]] = {
        corpus: dict(zip(FATES, own.tolist(), strict=True)) for corpus, own in zip(table.corpora, counts, strict=True)
    }
    sizes = dict(zip(SPLITS, sizes_of.sum(axis=0).tolist(), strict=False))
    totals = dict(zip(FATES, counts.sum(axis=0).tolist(), strict=True))
    wanted = {"train": 1.0, "validation": spec.validation_fraction, "test": spec.test_fraction}
    warnings = [
        f"Corpus {corpus!r} has no {name} documents ({counts['contaminated']} were contaminated, {counts['bridging']}"
        f" bridging). It needs at least {FEWEST_UNITS} groups (or documents that are no duplicates) that are not in"
        " the ledger yet: add text, or change split.seed to begin another ledger."
        for corpus, counts in per_corpus.items()
        for name, fraction in wanted.items()
        if fraction > 0 and counts[name] == 0
    ]
    return {"documents_in": len(fate), **totals, "bytes": sizes, "per_corpus": per_corpus, "warnings": warnings}
