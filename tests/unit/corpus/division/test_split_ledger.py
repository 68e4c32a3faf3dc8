from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lm_pipeline.corpus.columns import halves_of
from lm_pipeline.corpus.division.split_ledger import SPLITS, Ledger
from lm_pipeline.errors import InputError

TEXTS = ["0" * 31 + "2", "0" * 31 + "1", "0" * 15 + "1" + "0" * 16, "f" * 32, "f" * 31 + "e"]
"""Hashes that share their upper half, and extremes."""


def grown(ledger: Ledger, texts: dict[str, int], groups: dict[str, int]) -> Ledger:
    high, low = halves_of(pl.Series(list(texts), dtype=pl.String))
    codes = np.array(list(texts.values()), np.int8)
    return ledger.grown(
        (high, low, codes), (pl.Series(list(groups), dtype=pl.String), np.array(list(groups.values()), np.int8))
    )


def test_entries_are_written_by_key_found_again_and_never_changed(tmp_path: Path) -> None:
    texts = dict(zip(TEXTS, [0, 1, 2, -1, 1], strict=True))
    groups = {"group:a:书": 2, "group:a:b": 0, "group:a:none": -1}
    first = grown(Ledger.read(None), texts, groups)
    assert len(first) == 6
    second = grown(first, dict.fromkeys(TEXTS, 0), dict.fromkeys(groups, 1))
    second.write(tmp_path / "ledger.parquet")
    expected = {f"document:{text}": max(code, 0) for text, code in texts.items()}
    expected |= {group: code if code >= 0 else 1 for group, code in groups.items()}
    table = pl.read_parquet(tmp_path / "ledger.parquet")
    assert dict(table.iter_rows()) == {key: SPLITS[code] for key, code in expected.items()}
    assert table["key"].to_list() == sorted(expected, key=str.encode)
    again = Ledger.read(tmp_path / "ledger.parquet")
    assert again.of_texts(*halves_of(pl.Series([*TEXTS, "a" * 32]))).tolist() == [0, 1, 2, 0, 1, -1]
    assert again.of_groups(pl.Series([*groups, "group:b:b"])).tolist() == [2, 0, 1, -1]


@pytest.mark.parametrize(
    ("keys", "splits"),
    [
        ([f"document:{TEXTS[0]}"] * 2, ["train"] * 2),
        ([f"document:{TEXTS[0]}", f"document:{TEXTS[1]}"], ["train"] * 2),
        (["group:a:b", "group:a:a"], ["train"] * 2),
        (["group:a:b", "group:a:b"], ["train"] * 2),
        (["document:xyz"], ["train"]),
        (["text:xyz"], ["train"]),
        ([f"document:{TEXTS[0]}"], ["other"]),
        ([f"document:{TEXTS[0]}"], [None]),
        ([None], ["train"]),
    ],
)
def test_a_file_whose_entries_come_twice_or_unsorted_or_are_none_is_refused(
    tmp_path: Path, keys: list[str | None], splits: list[str | None]
) -> None:
    table = pl.DataFrame({"key": keys, "split": splits}, schema={"key": pl.String, "split": pl.String})
    table.write_parquet(tmp_path / "ledger.parquet")
    with pytest.raises(InputError, match="is not a split ledger"):
        Ledger.read(tmp_path / "ledger.parquet")
