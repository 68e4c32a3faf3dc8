"""Encodes the texts of Parquet files with sentencepiece alone; run by `tokenization.py` in an environment of its own.

    python sentencepiece_encode.py MODEL NUM_THREADS FILE...

Prints seconds and tokens as JSON. Reading is not counted, nothing is written; ids stay what the library returns
fastest.
"""

import json
import sys
import time

import pyarrow.parquet as pq
import sentencepiece

model, num_threads, *files = sys.argv[1:]
texts = [text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]
processor = sentencepiece.SentencePieceProcessor(model_file=model)
processor.encode(texts[:100], num_threads=int(num_threads), return_type="numpy")
started = time.perf_counter()
ids = processor.encode(texts, num_threads=int(num_threads), return_type="numpy")
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "tokens": sum(map(len, ids))}))
