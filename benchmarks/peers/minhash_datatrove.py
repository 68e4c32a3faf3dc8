"""datatrove's four MinHash stages on two workers, as its examples arrange them: folder of Parquet in, folder out."""

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.hashing import HashConfig

WORKERS = 2


def main(folder: Path, out: Path) -> None:
    """Run the stages one after another and print the seconds and the number of documents kept."""
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=64))
    reader = ParquetReader(str(folder), glob_pattern="*/documents.parquet", text_key="text", id_key="document_id")
    places = {name: str(out / name) for name in ("signatures", "buckets", "clusters", "kept")}
    stages = [
        ([reader, MinhashDedupSignature(places["signatures"], config)], WORKERS),
        ([MinhashDedupBuckets(places["signatures"], places["buckets"], config=config)], config.num_buckets),
        ([MinhashDedupCluster(places["buckets"], places["clusters"], config=config)], 1),
        ([reader, MinhashDedupFilter(places["clusters"]), ParquetWriter(places["kept"])], WORKERS),
    ]
    started = time.perf_counter()
    for number, (pipeline, tasks) in enumerate(stages):
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(tasks, WORKERS), logging_dir=str(out / f"log-{number}")
        ).run()
    seconds = time.perf_counter() - started
    kept = sum(pq.read_metadata(path).num_rows for path in (out / "kept").rglob("*.parquet"))
    sys.stdout.write("\n" + json.dumps({"seconds": seconds, "kept": kept}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
