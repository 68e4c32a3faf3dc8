"""Token shards of a small corpus, and requests to train on them."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl

from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.tokenization.shard_writing import write_shards
from lm_pipeline.tokenization.tokenizer import Tokenizer, train_tokenizer

VOCAB_SIZE = 300


def write_dataset(folder: Path) -> Path:
    """Eighty documents of two corpora, of all three splits; the folder that was given."""
    sentence = "the sun rose over a quiet town and every bird began its song while rivers ran on to the sea"
    words = sentence.split()
    chance = random.Random(0)
    texts = [" ".join(chance.choices(words, k=chance.randint(5, 60))) for _ in range(80)]
    (folder / "shards").mkdir()
    train_tokenizer(texts, TokenizerSpec(vocab_size=VOCAB_SIZE), folder)
    frame = pl.DataFrame(
        {
            "document_id": [f"{i:032x}" for i in range(80)],
            "corpus": ["town" if i < 60 else "river" for i in range(80)],
            "file": ["town.txt"] * 80,
            "record": range(80),
            "byte_offset": [None] * 80,
            "byte_length": [None] * 80,
            "text": texts,
            "split": ["validation" if i % 10 == 0 else "test" if i % 10 == 1 else "train" for i in range(80)],
        },
        schema_overrides={"byte_offset": pl.Int64, "byte_length": pl.Int64},
    )
    write_shards(iter([frame]), Tokenizer.load(folder / "tokenizer.model"), folder / "shards")
    return folder


def write_request(dataset: Path, folder: Path, model: dict[str, Any], settings: dict[str, Any]) -> Path:
    """A request to train in a folder, which is created; its file."""
    (folder / "out").mkdir(parents=True)
    request = {
        "experiment": folder.name,
        "model": model,
        "training": settings,
        "shards_dir": str(dataset / "shards"),
        "tokenizer": str(dataset / "tokenizer.model"),
        "vocab_size": VOCAB_SIZE,
        "work_dir": str(folder / "work"),
        "output_dir": str(folder / "out"),
        "spool": str(folder / "spool" / "checkpoint-0123456789abcdef-1.jsonl"),
        "key": "0123",
    }
    path = folder / "request.json"
    path.write_text(json.dumps(request))
    return path
