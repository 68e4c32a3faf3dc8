"""rensa's bulk interface, no verification: 5-grams of words, 112 hashes, 14 bands; Parquet files in, one file out."""

import json
import re
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rensa import RMinHash, RMinHashLSH

WORD = re.compile(r"\w+")


def shingles(text: str) -> list[str]:
    """The 5-grams of a text's words."""
    words = WORD.findall(text.lower())
    return [" ".join(gram) for gram in zip(*(words[at:] for at in range(5)), strict=False)]


def main(folder: Path, out: Path) -> None:
    """Deduplicate and print the seconds and the number of documents kept."""
    out.mkdir()
    started = time.perf_counter()
    table = pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*/documents.parquet")))
    sets = [shingles(text) for text in table.column("text").to_pylist()]
    matrix = RMinHash.digest_matrix_from_token_sets(sets, 112, 1)
    lsh = RMinHashLSH(0.8, 112, 14)
    repeated = lsh.insert_matrix_and_query_duplicate_flags(matrix, 0)
    kept = table.filter(pa.array([not flag for flag in repeated]))
    pq.write_table(kept, out / "kept.parquet", compression="zstd")
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - started, "kept": len(kept)}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
