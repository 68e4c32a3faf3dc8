"""The ledger of splits: on which side a text or a group is, once and for ever.

It only grows, so an entry has to be small: of a text's 17 bytes are in memory, of a group its name.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import halves_of, hex_of
from lm_pipeline.corpus.tables import slices, write_rows
from lm_pipeline.errors import InputError

SPLITS = ("train", "validation", "test")
UNDECIDED = -1
"""The code of no split; others are places in `SPLITS`. Null in the files."""
LEDGER_SCHEMA = pl.Schema({"key": pl.String, "split": pl.String})
_TEXT = "document:"
_GROUP = "group:"
_KEY = f"^(?:{_TEXT}[0-9a-f]{{32}}$|{_GROUP})"


@dataclass(frozen=True)
class Ledger:
    """Entries of D texts and G groups.

    Attributes:
        high: the upper halves of the texts' hashes (uint64, D); with the lower ones, they ascend.
        low: the lower halves.
        splits: of the texts (int8, D).
        groups: `key` ("group:<corpus>:<group>", ascending) and `code`, its split (Int8).
    """

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    splits: NDArray[np.int8]
    groups: pl.DataFrame

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """The entries of a file, by key; none where there is no file.

        Raises:
            InputError: it is not one that `write` has written.
        """
        highs, lows = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        splits, groups = [np.zeros(0, np.int8)], [pl.DataFrame(schema={"key": pl.String, "code": pl.Int8})]
        if path is not None:
            _require(pl.read_parquet_schema(path) == LEDGER_SCHEMA, path)
            for _, entries in slices(pl.scan_parquet(path)):
                known = entries["split"].is_in(SPLITS) & entries["key"].str.contains(_KEY)
                _require(known.fill_null(value=False).all(), path)
                coded = entries.select(
                    "key", code=pl.col("split").replace_strict(SPLITS, range(len(SPLITS)), return_dtype=pl.Int8)
                )
                is_text = pl.col("key").str.starts_with(_TEXT)
                texts = coded.filter(is_text)
                high, low = halves_of(texts["key"].str.slice(len(_TEXT)))
                highs.append(high)
                lows.append(low)
                splits.append(texts["code"].to_numpy())
                groups.append(coded.filter(~is_text))
        ledger = cls(np.concatenate(highs), np.concatenate(lows), np.concatenate(splits), pl.concat(groups))
        names = ledger.groups["key"]
        _require(_ascend(ledger.high, ledger.low) and (names[1:] > names[:-1]).all(), path)
        return ledger

    def __len__(self) -> int:
        return len(self.splits) + len(self.groups)

    def of_texts(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int8]:
        """The splits of texts by their hashes, `UNDECIDED` for those that have no entry."""
        return _look_up(high, low, (self.high, self.low, self.splits))

    def of_groups(self, keys: pl.Series) -> NDArray[np.int8]:
        """The splits of groups by their keys, `UNDECIDED` for those that have no entry."""
        found = keys.rename("key").to_frame().join(self.groups, on="key", how="left", maintain_order="left")
        return found["code"].fill_null(UNDECIDED).to_numpy()

    def grown(
        self,
        texts: tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int8]],
        groups: tuple[pl.Series, NDArray[np.int8]],
    ) -> Self:
        """These entries and those of texts (upper and lower halves, split) and groups (key, split) without one.

        A text may come several times. Old entries stay as they are.
        """
        is_new = (texts[2] != UNDECIDED) & (self.of_texts(*texts[:2]) == UNDECIDED)
        high = np.concatenate([self.high, texts[0][is_new]])
        low = np.concatenate([self.low, texts[1][is_new]])
        splits = np.concatenate([self.splits, texts[2][is_new]])
        order = np.lexsort((low, high))
        high, low, splits = high[order], low[order], splits[order]
        again = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
        assert (splits[1:] == splits[:-1])[again].all(), "one text was decided twice"
        first = np.append(True, ~again)[: len(high)]
        keys, codes = groups
        more = (codes != UNDECIDED) & (self.of_groups(keys) == UNDECIDED)
        fresh = pl.DataFrame({"key": keys, "code": codes}, schema=self.groups.schema).filter(pl.Series(more))
        names = pl.concat([self.groups, fresh]).sort("key")
        return type(self)(high[first], low[first], splits[first], names)

    def write(self, path: Path) -> None:
        """Write the entries by key: texts come before groups."""

        def rows(own: slice) -> pl.DataFrame:
            groups = self.groups[max(0, own.start - len(self.splits)) : max(0, own.stop - len(self.splits))]
            texts = hex_of(self.high[own], self.low[own])
            return pl.DataFrame(
                {
                    "key": pl.concat([_TEXT + texts, groups["key"]]),
                    "split": split_names(np.concatenate([self.splits[own], groups["code"].to_numpy()])),
                },
                schema=LEDGER_SCHEMA,
            )

        write_rows(path, LEDGER_SCHEMA, len(self), rows)


def split_names(codes: NDArray[np.int8]) -> pl.Series:
    """Codes as they stand in files."""
    return pl.Series([*SPLITS, None], dtype=pl.String).gather(np.where(codes == UNDECIDED, len(SPLITS), codes))


def _require(condition: bool, path: Path | None) -> None:
    if not condition:
        raise InputError(
            f"{path} is not a split ledger: expected the columns key (of a text or a group, each once, in ascending"
            f" order) and split ({', '.join(SPLITS)}). Give the ledger.parquet of this dataset's last splits."
        )


def _ascend(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> bool:
    """Whether numbers of 128 bits ascend, none coming twice."""
    return bool(((high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))).all())


@numba.njit(cache=True)
def _look_up(high, low, entries):
    """The splits of numbers of 128 bits among ascending ones."""
    highs, lows, splits = entries
    found = np.full(len(high), UNDECIDED, np.int8)
    for row in range(len(high)):
        at = np.searchsorted(highs, high[row])
        while at < len(highs) and highs[at] == high[row] and lows[at] < low[row]:
            at += 1
        if at < len(highs) and highs[at] == high[row] and lows[at] == low[row]:
            found[row] = splits[at]
    return found
