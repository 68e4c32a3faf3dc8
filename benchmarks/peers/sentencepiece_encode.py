"""Encodes the texts of Parquet files with sentencepiece; run by `tokenization.py` in an environment of its own.

    python sentencepiece_encode.py MODEL NUM_THREADS OUT FILE...

First from Parquet to Parquet: row groups are read, encoded and written as lists of ids. Then alone: the texts are in
memory, nothing is written. Ids are what the library returns fastest. Prints seconds of both and the tokens as JSON.
"""

import json
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sentencepiece

SCHEMA = pa.schema({"ids": pa.list_(pa.uint16())})


def parquet_to_parquet(processor, num_threads: int, files: list[str], out: str) -> int:
    """Write the ids of all texts; how many they are."""
    tokens = 0
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        for file in map(pq.ParquetFile, files):
            for batch in file.iter_batches(batch_size=4096, columns=["text"]):
                ids = processor.encode(batch["text"].to_pylist(), num_threads=num_threads, return_type="numpy")
                offsets = np.cumsum([0, *map(len, ids)], dtype=np.int32)
                values = pa.array(np.concatenate(ids).astype(np.uint16))
                writer.write_table(pa.table({"ids": pa.ListArray.from_arrays(offsets, values)}, SCHEMA))
                tokens += len(values)
    return tokens


def main() -> None:
    """Both, after a short run that loads what is loaded once."""
    model, num_threads, out, *files = sys.argv[1:]
    processor = sentencepiece.SentencePieceProcessor(model_file=model)
    texts = [text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]
    processor.encode(texts[:100], num_threads=int(num_threads), return_type="numpy")
    started = time.perf_counter()
    written = parquet_to_parquet(processor, int(num_threads), files, out)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    ids = processor.encode(texts, num_threads=int(num_threads), return_type="numpy")
    encoding_seconds = time.perf_counter() - started
    tokens = sum(map(len, ids))
    assert written == tokens, f"{written} tokens written, {tokens} in memory"
    print(json.dumps({"seconds": seconds, "encoding_seconds": encoding_seconds, "tokens": tokens}))


if __name__ == "__main__":
    main()
