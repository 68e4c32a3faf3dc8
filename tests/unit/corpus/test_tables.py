import numpy as np
import polars as pl
import pytest

from lm_pipeline.corpus.tables import write_rows


@pytest.mark.parametrize("num_rows", [0, 1, 184_319, 184_320, 307_200, 350_001, 700_000])
def test_rows_that_are_written_piece_by_piece_have_the_bytes_of_the_whole_table(tmp_path, num_rows):
    numbers = pl.Series("number", np.arange(num_rows))
    table = numbers.to_frame().with_columns(text=pl.format("text 文本 {}", "number"))
    table.write_parquet(tmp_path / "whole.parquet", compression="zstd")
    sizes = []

    def rows(own: slice) -> pl.DataFrame:
        sizes.append(own.stop - own.start)
        return table[own]

    write_rows(tmp_path / "pieces.parquet", table.schema, num_rows, rows)
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sum(sizes) == num_rows
    assert max(sizes) < 200_000
