"""Lines or paragraphs that stood in an earlier document already: menus, footers, disclaimers.

A *unit* is a line, or a run of lines between empty lines, with the white space that follows it. Two units are the same
when their words are (`corpus/text/words.py`: case and punctuation do not count). Each stays in the first document that
has it, however often, and is taken out of all later ones. Here is found what repeats what; `corpus/division/cuts.py`
says which document keeps a unit where the first one ends in no split, and what is cut then.

Units are hashed once per part of a corpus; the search sorts hashes on disk, as that for duplicates does. Two words of
64 bits have to agree, so that a false cut cannot be expected before 10^18 units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numba
import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import Columns, write_columns
from lm_pipeline.corpus.similarity.equal_keys import first_of_equal
from lm_pipeline.corpus.similarity.minhash import ngram_hashes
from lm_pipeline.corpus.tables import TableFile, slices
from lm_pipeline.corpus.text.words import hashed_words
from lm_pipeline.specs.dataset import RepeatedText

_BATCH_ROWS = 2048
_OTHER = np.uint64(0xA5A5A5A5A5A5A5A5)

UNITS = pl.Schema(
    {
        "file": pl.String,
        "record": pl.Int64,
        "key": pl.UInt64,
        "check": pl.UInt64,
        "begin": pl.Int64,  # in bytes of the text
        "end": pl.Int64,  # where the next unit begins, or the text ends
        "is_last": pl.Boolean,
        "num_words": pl.Int64,
        "num_characters": pl.Int64,
        "gap_bytes": pl.Int64,  # between the text of the unit before and this one
        "gap_characters": pl.Int64,
    }
)
"""Columns of `units.parquet`: one row a unit of enough words."""

_PLACE = ("begin", "end", "is_last", "num_characters", "gap_bytes", "gap_characters")

_UNIT_TYPES = {
    **dict.fromkeys(("key", "check"), np.uint64),
    **dict.fromkeys(("begin", "end", "num_words", "num_characters", "gap_bytes", "gap_characters"), np.int64),
    "is_last": np.bool_,
}

COUNTS = pl.Schema({"file": pl.String, "record": pl.Int64, "num_units": pl.Int64, "num_words": pl.Int64})
"""Columns of `counts.parquet`: one row a document; `num_units` of `units.parquet` are its own."""

REPEATED = pl.Schema(
    {
        "document": pl.Int64,  # row in `unique.parquet`
        "first": pl.Int64,  # row of the first document that has the unit
        "unit": pl.Int64,  # its number; the same words have the same one
        **{name: UNITS[name] for name in _PLACE},
    }
)
"""Columns of `repeated_units.parquet`: one row a unit that stood in an earlier document, by document and place."""


def write_units(documents_parquet: Path, spec: RepeatedText, out: Path) -> dict[str, Any]:
    """Hash the units of one part of a corpus.

    Args:
        documents_parquet: the part's documents.
        spec: what a unit is, and the fewest words that are looked at.
        out: an existing folder that receives `units.parquet` and `counts.parquet`, in the order of the documents.

    Returns:
        `documents`, `units`.
    """
    summary = {"documents": 0, "units": 0}
    with (
        pq.ParquetFile(documents_parquet) as source,
        TableFile(out / "units.parquet", UNITS) as units_file,
        TableFile(out / "counts.parquet", COUNTS) as counts_file,
    ):
        for batch in source.iter_batches(_BATCH_ROWS, columns=["file", "record", "text"]):
            documents = pl.DataFrame(batch)
            units, counts = _units(documents, spec)
            units_file.write(units)
            counts_file.write(counts)
            summary["documents"] += len(documents)
            summary["units"] += len(units)
    return summary


def _units(documents: pl.DataFrame, spec: RepeatedText) -> tuple[pl.DataFrame, pl.DataFrame]:
    lines = (
        documents.select("text").with_row_index("document").with_columns(pl.col("text").str.split("\n")).explode("text")
    )
    words, offsets = hashed_words(lines["text"])
    table = lines.select(
        pl.col("document").cast(pl.Int64),
        empty=pl.col("text").str.strip_chars() == "",
        num_bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1,  # its line end, which the last one has not
        num_characters=pl.col("text").str.len_chars().cast(pl.Int64) + 1,
    ).with_columns(
        end=pl.col("num_bytes").cum_sum().over("document"),
        end_characters=pl.col("num_characters").cum_sum().over("document"),
        first_word=offsets[:-1],
        last_word=offsets[1:],
    )
    joins = (pl.col("document") == pl.col("document").shift(1)) & ~pl.col("empty").shift(1)
    unit = (
        (~joins.fill_null(value=False)).cast(pl.Int64).cum_sum() if spec.unit == "paragraph" else pl.int_range(pl.len())
    )
    full = table.with_columns(unit=unit).filter(~pl.col("empty"))
    units = full.group_by("document", "unit", maintain_order=True).agg(
        begin=(pl.col("end") - pl.col("num_bytes")).first(),
        begin_characters=(pl.col("end_characters") - pl.col("num_characters")).first(),
        own_end=pl.col("end").last() - 1,
        own_end_characters=pl.col("end_characters").last() - 1,
        first_word=pl.col("first_word").first(),
        last_word=pl.col("last_word").last(),
    )
    size = documents.select(
        document=pl.int_range(pl.len()),
        size=pl.col("text").str.len_bytes().cast(pl.Int64),
        size_characters=pl.col("text").str.len_chars().cast(pl.Int64),
        file="file",
        record="record",
    )
    following, before = pl.col("begin").shift(-1).over("document"), pl.col("own_end").shift(1).over("document")
    following_characters = pl.col("begin_characters").shift(-1).over("document")
    before_characters = pl.col("own_end_characters").shift(1).over("document")
    units = units.join(size, on="document", how="left", maintain_order="left").with_columns(
        end=following.fill_null(pl.col("size")),
        is_last=following.is_null(),
        num_words=pl.col("last_word") - pl.col("first_word"),
        num_characters=following_characters.fill_null(pl.col("size_characters")) - pl.col("begin_characters"),
        gap_bytes=pl.col("begin") - before.fill_null(0),
        gap_characters=pl.col("begin_characters") - before_characters.fill_null(0),
    )
    units = units.filter(pl.col("num_words") >= spec.min_words)
    keys, checks = _hash_units(words, units["first_word"].to_numpy(), units["last_word"].to_numpy())
    num_units = np.bincount(units["document"].to_numpy(), minlength=len(documents))
    per_document = table.group_by("document", maintain_order=True).agg(
        pl.col("last_word").last() - pl.col("first_word").first()
    )
    counts = documents.select("file", "record").with_columns(
        num_units=pl.Series(num_units, dtype=pl.Int64), num_words=per_document["last_word"]
    )
    return units.with_columns(key=keys, check=checks).select(UNITS.names()), counts


@numba.njit(cache=True, nogil=True)
def _hash_units(words, begins, ends):
    keys, checks = np.empty(len(begins), np.uint64), np.empty(len(begins), np.uint64)
    for unit in range(len(begins)):
        own = words[begins[unit] : ends[unit]]
        keys[unit] = ngram_hashes(own, len(own))[0]
        checks[unit] = ngram_hashes(own ^ _OTHER, len(own))[0]
    return keys, checks


@dataclass(frozen=True)
class UnitFiles:
    """What `write_units` made of one part, and which of its documents cleaning has kept."""

    units: Path
    counts: Path
    decisions: Path


def find_repeated_text(corpora: Sequence[Sequence[UnitFiles]], out: Path) -> dict[str, Any]:
    """Find the units that repeat earlier ones, among the documents that are kept.

    Args:
        corpora: the parts of each corpus, in the dataset's order of corpora.
        out: the folder with `unique.parquet` of the same documents. It receives `repeated_units.parquet`, with the
            columns `REPEATED`, and `unique.parquet` anew: documents of which no word would be left are not kept any
            more, with "repeated" as their `kind`.

    Returns:
        `repeated`: documents of which nothing would be left. Their units are not in the table.
    """
    with TemporaryDirectory(dir=out) as scratch:
        units, counts = Path(scratch) / "units", Path(scratch) / "counts"
        units.mkdir()
        counts.mkdir()
        found = write_columns([[[part.units] for part in parts] for parts in corpora], _UNIT_TYPES, units)
        counted = write_columns(
            [[[part.counts, part.decisions] for part in parts] for parts in corpora],
            {"num_units": np.int64, "num_words": np.int64, "kept": np.bool_},
            counts,
        )
        return _find_repeated(found, counted, out)


def _find_repeated(units: Columns, counted: Columns, out: Path) -> dict[str, Any]:
    clean = counted["kept"]
    num_words = counted["num_words"][clean]
    kept = pl.read_parquet(out / "unique.parquet", columns=["kept"])["kept"].to_numpy()
    # The row of `unique.parquet` of each unit's document; -1 where cleaning has rejected it.
    document_of = np.repeat(np.where(clean, np.cumsum(clean) - 1, -1), counted["num_units"])
    first = first_of_equal(units["key"], units["check"], np.append(kept, False)[document_of])
    later = np.flatnonzero(document_of != document_of[first])
    documents = document_of[later]
    words = np.bincount(documents, units["num_words"][later], minlength=len(kept))
    emptied = (words == num_words) & (words > 0)
    left = ~emptied[documents]
    later, documents = later[left], documents[left]
    numbers = np.unique(first[later], return_inverse=True)[1]
    table = {"document": documents, "first": document_of[first[later]], "unit": numbers}
    with TableFile(out / "repeated_units.parquet", REPEATED) as file:
        file.write(pl.DataFrame(table | {name: units[name][later] for name in _PLACE}, schema=REPEATED))
    _exclude(np.flatnonzero(emptied), out)
    return {"repeated": int(emptied.sum())}


def _exclude(rows: NDArray[np.int64], out: Path) -> None:
    if len(rows) == 0:
        return
    unique, renamed = out / "unique.parquet", out / "unique.before.parquet"
    unique.rename(renamed)
    table = pl.scan_parquet(renamed)
    with TableFile(unique, pl.Schema(table.collect_schema())) as file:
        for begin, frame in slices(table):
            gone = np.zeros(len(frame), np.bool_)
            gone[rows[(rows >= begin) & (rows < begin + len(frame))] - begin] = True
            file.write(
                frame.with_columns(
                    kept=pl.col("kept") & ~pl.Series(gone),
                    kind=pl.when(pl.Series(gone)).then(pl.lit("repeated")).otherwise("kind"),
                )
            )
    renamed.unlink()
