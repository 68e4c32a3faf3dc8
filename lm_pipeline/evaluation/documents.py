"""The documents of one split, as token shards hold them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from lm_pipeline.errors import InputError
from lm_pipeline.tokenization.shards import Shard


@dataclass(frozen=True)
class SplitDocuments:
    """Documents of a split, in the shard's order; the tokens stay on disk until they are asked for."""

    table: pl.DataFrame
    """A row per document: document_id, corpus, token_offset, num_tokens (BOS and EOS included), num_bytes..."""
    shard: Shard
    """The shard that they are read from."""

    @classmethod
    def read(cls, shards_dir: Path, split: str, max_documents: int | None = None) -> "SplitDocuments":
        """Open a split.

        Args:
            shards_dir: folder of the token shards.
            split: "train", "validation" or "test".
            max_documents: documents at most, from the first; None for all.

        Raises:
            InputError: the split has no document.
            MissingArtifactError: the folder has no such split.
            CorruptArtifactError: the split's files do not fit together.
        """
        shard = Shard.open(shards_dir, split)
        table = shard.documents.head(shard.num_documents if max_documents is None else max_documents)
        if table.is_empty():
            raise InputError(
                f"The {split} split in {shards_dir} has no documents, so there is nothing to measure on. Give the"
                f" dataset more text or a larger `split: {split}_fraction:` and materialize it again."
            )
        return cls(table, shard)

    def __len__(self) -> int:
        return self.table.height

    def tokens(self, index: int) -> np.ndarray:
        """Token ids of a document, BOS and EOS included."""
        return self.shard.document(index)

    def groups(self, max_tokens: int) -> Iterator[tuple[int, int]]:
        """Ranges [first, last) of documents, each of `max_tokens` at most or of one document."""
        first = size = 0
        for index, length in enumerate(self.table["num_tokens"].to_list()):
            if index > first and size + length > max_tokens:
                yield first, index
                first, size = index, 0
            size += length
        yield first, len(self)
