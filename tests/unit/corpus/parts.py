"""Parts of corpora as the search for duplicates reads them."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import xxhash

from lm_pipeline.corpus.document_tables import TableWriter
from lm_pipeline.corpus.similarity.duplicates import Part
from lm_pipeline.corpus.similarity.minhash import write_signatures
from lm_pipeline.specs.dataset import Duplicates


def named(corpus: str, row: int) -> str:
    """A document's id."""
    return xxhash.xxh3_128_hexdigest(f"{corpus}-{row}".encode())


def write_documents(path: Path, rows: pl.DataFrame) -> None:
    """Documents as cleaning writes them, with these columns."""
    with TableWriter(path, rows.schema) as file:
        file.write(rows)


def write_part(
    folder: Path,
    corpus: str,
    texts: Sequence[str],
    spec: Duplicates,
    dates: Sequence[str] = (),
    **more: Sequence[str | None],
) -> Part:
    """Documents of one part of a corpus, and their signatures."""
    folder.mkdir(parents=True, exist_ok=True)
    num = len(texts)
    columns = {
        "document_id": [named(corpus, row) for row in range(num)],
        "corpus": [corpus] * num,
        "file": ["f"] * num,
        "record": range(num),
        "date": dates or [None] * num,
        "text": list(texts),
        "target": [None] * num,
        **more,
    }
    schema = dict.fromkeys(columns, pl.String) | {"record": pl.Int64}
    write_documents(folder / "documents.parquet", pl.DataFrame(columns, schema=schema))
    pl.DataFrame({"kept": [True] * num}, schema={"kept": pl.Boolean}).write_parquet(folder / "decisions.parquet")
    write_signatures(folder / "documents.parquet", spec.near, folder)
    return Part(*(folder / f"{name}.parquet" for name in ("documents", "decisions", "signatures")))
