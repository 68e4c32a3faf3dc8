"""Which document has a repeated unit, and where it is cut out of the others.

The first document that has a unit keeps it (`corpus/similarity/repeated_text.py`), as long as it has a split. What
only documents without one kept would be lost to all the others, so it is passed on to the next that can have it. What
is stored are *cuts*, places in the texts, and whoever reads documents applies them (`without_cuts`).
"""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.similarity.repeated_text import REPEATED
from lm_pipeline.corpus.tables import TableFile

CUTS = pl.Schema(
    {
        "document_id": pl.String,
        "begin": pl.Int64,  # in bytes of the text
        "end": pl.Int64,
        "num_characters": pl.Int64,
        "repeats": pl.String,  # id of the document that has the unit
    }
)
"""Columns of `repeated.parquet`: one row a unit that is taken out."""


@dataclass(frozen=True)
class RepeatedUnits:
    """U units that are cut out of documents, by document and place.

    Attributes:
        rows: the columns `REPEATED`.
        unique: `unique.parquet` of the N documents.
    """

    rows: pl.DataFrame
    unique: Path

    @classmethod
    def read(cls, repeated: Path | None, unique: Path) -> Self:
        """Those of `repeated_units.parquet`; none where nothing is cut."""
        return cls(pl.read_parquet(repeated) if repeated else pl.DataFrame(schema=REPEATED), unique)

    def lost(self, gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which units of documents that are left only a document keeps that is gone (bool, U).

        Args:
            gone: documents that have no split (bool, N).
        """
        return gone[self.rows["first"].to_numpy()] & ~gone[self.rows["document"].to_numpy()]

    def restored(self, units: NDArray[np.bool_]) -> Self:
        """The others: these (bool, U) are cut no more."""
        return dataclasses.replace(self, rows=self.rows.filter(~pl.Series(units)))

    def texts(
        self, documents: Iterable[tuple[pl.DataFrame, NDArray[np.int64]]], units: NDArray[np.bool_]
    ) -> Iterator[tuple[pl.DataFrame, NDArray[np.int64]]]:
        """Units as texts of their own, `document_id` and `text`, and their rows; a batch for each batch of documents.

        Args:
            documents: batches of documents, uncut, with `document_id` and `text`, and their rows.
            units: which are wanted (bool, U).
        """
        places = self.rows.with_row_index("row").filter(pl.Series(units)).select("row", "document", "begin", "end")
        size = pl.col("end") - pl.col("begin")
        for batch, rows in documents:
            own = places.join(batch.with_columns(document=rows), on="document", maintain_order="left")
            text = pl.col("text").cast(pl.Binary).bin.slice("begin", size).cast(pl.String)
            yield own.select("document_id", text=text), own["row"].to_numpy().astype(np.int64)

    def kept_by(self, gone: NDArray[np.bool_], able: NDArray[np.bool_] | bool = True) -> NDArray[np.int64]:
        """By unit, the document that has it if each lost one goes to the first that may keep it (int64, U).

        Args:
            gone: documents that have no split (bool, N).
            able: units that the document which has lost them may keep (bool, U). Where none may, a unit stays lost.
        """
        keepers = self.rows.filter(pl.Series(self.lost(gone) & able)).group_by("unit")
        keeper = keepers.agg(keeper=pl.col("document").min())
        rows = self.rows.join(keeper, on="unit", how="left", maintain_order="left")
        return rows.select(pl.coalesce("keeper", "first")).to_series().to_numpy()

    def passed_on(self, gone: NDArray[np.bool_], able: NDArray[np.bool_] | bool = True) -> Self:
        """What is cut then (see `kept_by`)."""
        rows = self.rows.with_columns(first=self.kept_by(gone, able)).filter(pl.col("document") != pl.col("first"))
        return dataclasses.replace(self, rows=rows)

    def cuts(self) -> pl.DataFrame:
        """A row each with the columns `CUTS`."""
        identifiers = pl.read_parquet(self.unique, columns=["document_id"])["document_id"]
        named = {
            "document_id": identifiers.gather(self.rows["document"]),
            "repeats": identifiers.gather(self.rows["first"]),
        }
        return _at_the_end(self.rows).with_columns(**named).select(CUTS.names())

    def num_bytes(self, num_documents: int) -> NDArray[np.int64]:
        """By document, how many bytes of it are cut (int64, N)."""
        places = _at_the_end(self.rows)
        sizes = (places["end"] - places["begin"]).to_numpy()
        return np.bincount(places["document"].to_numpy(), sizes, num_documents).astype(np.int64)

    def cut_out_of(self, documents: pl.LazyFrame) -> pl.LazyFrame:
        """The N documents without these units."""
        return without_cuts(documents, self.cuts().lazy()) if len(self.rows) else documents

    def write(self, path: Path, gone: NDArray[np.bool_]) -> dict[str, int]:
        """Write the cuts of documents that have a split.

        Args:
            path: a file with the columns `CUTS` and one row a unit.
            gone: documents that have no split (bool, N).

        Returns:
            Of `units` and `characters` that are cut and of the `documents` that have them the numbers; and of
            different units that are `lost`: in no document that has a split.
        """
        lost = self.rows["unit"].filter(pl.Series(self.lost(gone))).n_unique()
        left = self.restored(gone[self.rows["document"].to_numpy()])
        cuts = left.cuts()
        with TableFile(path, CUTS) as file:
            file.write(cuts)
        num_documents = left.rows["document"].n_unique()
        return {
            "units": len(cuts),
            "characters": int(cuts["num_characters"].sum()),
            "documents": num_documents,
            "lost": lost,
        }


def _at_the_end(units: pl.DataFrame) -> pl.DataFrame:
    """Where all that follows is cut as well, the white space before goes too: no text ends with an empty line."""
    followed = pl.col("end") == pl.col("begin").shift(-1).over("document")
    run = (~followed.fill_null(value=False)).cast(pl.Int64).cum_sum(reverse=True).over("document")
    marked = units.with_columns(run=run)
    reaches_end = pl.col("is_last").any().over("document", "run")
    leads = reaches_end & (pl.int_range(pl.len()).over("document", "run") == 0)
    return marked.with_columns(
        begin=pl.when(leads).then(pl.col("begin") - pl.col("gap_bytes")).otherwise("begin"),
        num_characters=pl.col("num_characters") + pl.when(leads).then("gap_characters").otherwise(0),
    )


def without_cuts(documents: pl.LazyFrame, cuts: pl.LazyFrame) -> pl.LazyFrame:
    """Documents without what is cut: `text`, `num_bytes` and `num_characters` of what is left.

    Args:
        documents: with these three columns and `document_id`, in any order, which stays.
        cuts: with the columns `CUTS`.
    """
    places = cuts.group_by("document_id").agg(cut_begins="begin", cut_ends="end").collect()
    left = (
        pl.struct("text", "cut_begins", "cut_ends")
        .map_batches(_cut, return_dtype=pl.String, is_elementwise=True)
        .alias("text")
    )
    joined = documents.join(places.lazy(), on="document_id", how="left", maintain_order="left")
    changed = pl.col("cut_begins").is_not_null()
    return (
        joined.with_columns(pl.when(changed).then(left).otherwise("text"))
        .with_columns(
            num_bytes=pl.when(changed).then(pl.col("text").str.len_bytes().cast(pl.Int64)).otherwise("num_bytes"),
            num_characters=pl.when(changed)
            .then(pl.col("text").str.len_chars().cast(pl.Int64))
            .otherwise("num_characters"),
        )
        .drop("cut_begins", "cut_ends")
    )


def _cut(rows: pl.Series) -> pl.Series:
    texts = []
    for row in rows:
        if row["cut_begins"] is None:
            texts.append(None)
            continue
        data, at, pieces = row["text"].encode(), 0, []
        for begin, end in sorted(zip(row["cut_begins"], row["cut_ends"], strict=True)):
            pieces.append(data[at:begin])
            at = end
        texts.append(b"".join([*pieces, data[at:]]).decode())
    return pl.Series(texts, dtype=pl.String)
