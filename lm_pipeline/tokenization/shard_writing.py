"""Documents become token shards: encoded on all cores, decoded again and compared, written as they come."""

import collections
import dataclasses
import os
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm_pipeline.tokenization.shards import DTYPE_CODES, HEADER, LOCATORS, MAGIC, SCHEMA, SPLITS
from lm_pipeline.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    import polars as pl

    from lm_pipeline.tokenization.framing import Framing

    _Encoded = tuple[pl.DataFrame, np.ndarray, np.ndarray]

Item = TypeVar("Item")
Result = TypeVar("Result")

_ROW_GROUP = 65_536
"""Rows of a Parquet row group, however the frames arrive: the files' bytes depend on the documents alone."""

_BATCH_BYTES = 4 << 20
"""Text that is tokenized at once."""

_MAX_THREADS = 4
"""That encode: they are faster than the one that writes, and each needs some 100 MB."""

_PREVIEW_TOKENS = 200


def write_shards(documents: Iterator["pl.DataFrame"], tokenizer: Tokenizer, out: Path) -> dict[str, Any]:
    """Tokenize documents into the folder `out`: the three files of each split, even of an empty one.

    Every document is decoded again and compared with its text. Memory is bounded by the frames that come, some 100 MB
    for each thread that encodes, and some bytes a document.

    Args:
        documents: frames in canonical order with the columns document_id, corpus, file, record, byte_offset,
            byte_length, text and split. A null split means that the document is excluded: it is counted, not written.
        tokenizer: gives the ids.
        out: an empty folder.

    Returns:
        Summary: `splits` and `per_corpus` (corpus, then split) with documents, tokens (BOS and EOS included) and bytes;
        `excluded`; `round_trip_failures` (0 where the tokenizer is `lossless`); `bytes_per_token` and
        `byte_fallback_fraction` over the tokens of the text (BOS and EOS left out); `num_used_pieces`; `top_pieces`;
        `preview` (pieces of the first 200 training tokens); `dtype`; `vocab_size`.
    """
    from lm_pipeline.corpus.tables import slices_of_bytes
    from lm_pipeline.corpus.text.utf8 import utf8_buffers
    from lm_pipeline.tokenization.framing import Framing

    tokenizer.controls.write(out)
    writers = {split: _SplitWriter(out, split, tokenizer) for split in SPLITS}
    framing = Framing.of(tokenizer)
    excluded = failures = 0

    def encode(batch: "pl.DataFrame") -> "_Encoded":
        return batch, *tokenizer.encode_utf8(*utf8_buffers(batch["text"]))

    batches = (frame[own] for frame in documents for own in slices_of_bytes(frame["text"], _BATCH_BYTES))
    try:
        for encoded in _ahead(encode, batches):  # the next ones while this one is written
            absent, wrong = _write_batch(*encoded, framing, writers)
            excluded += absent
            failures += wrong
    finally:
        for writer in writers.values():
            writer.close()
    return {
        "splits": {split: writer.total.as_dict() for split, writer in writers.items()},
        "per_corpus": _per_corpus(writers),
        "excluded": excluded,
        "round_trip_failures": failures,
        "lossless": tokenizer.is_lossless,
        **_statistics(writers, tokenizer),
        "preview": _preview(out, tokenizer),
        "dtype": tokenizer.dtype.name,
        "vocab_size": tokenizer.vocab_size,
    }


def _write_batch(
    batch: "pl.DataFrame", ids: np.ndarray, begins: np.ndarray, framing: "Framing", writers: "dict[str, _SplitWriter]"
) -> tuple[int, int]:
    """Append a batch to its splits: how many documents have none, and how many do not spell their text."""
    from lm_pipeline.corpus.text.utf8 import utf8_buffers

    texts, splits = utf8_buffers(batch["text"]), batch["split"]
    failures = 0
    unknown = set(splits.unique()) - {*SPLITS, None}
    assert not unknown, f"splits must be {SPLITS} or null, not {unknown}"
    for split, writer in writers.items():
        rows = (splits == split).arg_true().cast(int).to_numpy()
        if len(rows):
            tokens, sizes, wrong = framing.framed(ids, begins, rows, texts, writer.piece_counts)
            writer.write(batch.select(LOCATORS)[rows], tokens, sizes, np.diff(texts[1])[rows])
            failures += wrong
    return splits.null_count(), failures


@dataclasses.dataclass
class _Total:
    documents: int = 0
    tokens: int = 0
    bytes: int = 0

    def add(self, documents: int, tokens: int, num_bytes: int) -> None:
        self.documents += documents
        self.tokens += tokens
        self.bytes += num_bytes

    def as_dict(self) -> dict[str, int]:
        return dataclasses.asdict(self)


class _SplitWriter:
    """Streams one split to disk; the index is written when it closes."""

    def __init__(self, out: Path, split: str, tokenizer: Tokenizer) -> None:
        self.index = out / f"{split}.idx"
        self.dtype = tokenizer.dtype.newbyteorder("<")
        self.data = (out / f"{split}.bin").open("wb")
        self.documents = pq.ParquetWriter(out / f"{split}.documents.parquet", SCHEMA, compression="zstd")
        self.controls = tokenizer.controls
        self.pending: list[pa.Table] = []
        self.lengths = array("i")
        self.total = _Total()
        self.corpora: dict[str, _Total] = {}
        self.piece_counts = np.zeros(tokenizer.vocab_size, np.int64)

    def write(self, frame: "pl.DataFrame", tokens: np.ndarray, sizes: np.ndarray, num_bytes: np.ndarray) -> None:
        """Append documents: their locators, their tokens end to end, and how many tokens and bytes each has."""
        tokens.astype(self.dtype, copy=False).tofile(self.data)
        ends = np.cumsum(sizes)
        columns = {name: frame[name].to_arrow() for name in LOCATORS}
        columns |= {"token_offset": self.total.tokens + ends - sizes, "num_tokens": sizes, "num_bytes": num_bytes}
        self.pending.append(pa.table({name: pa.array(values) for name, values in columns.items()}).cast(SCHEMA))
        if sum(map(len, self.pending)) >= _ROW_GROUP:
            self._flush(complete_groups_only=True)
        self.lengths.extend(sizes.tolist())
        self.total.add(len(frame), int(sizes.sum()), int(num_bytes.sum()))
        names = frame["corpus"].to_numpy()
        for corpus in frame["corpus"].unique(maintain_order=True):
            mine = names == corpus
            total = self.corpora.setdefault(corpus, _Total())
            total.add(int(mine.sum()), int(sizes[mine].sum()), int(num_bytes[mine].sum()))

    def close(self) -> None:
        """Write what is pending, then the index."""
        self._flush(complete_groups_only=False)
        self.documents.close()
        self.data.close()
        lengths = np.frombuffer(self.lengths, np.int32) if self.lengths else np.empty(0, np.int32)
        pointers = (np.cumsum(lengths, dtype=np.int64) - lengths) * self.dtype.itemsize
        code = next(code for code, dtype in DTYPE_CODES.items() if dtype == self.dtype)
        with self.index.open("wb") as file:
            file.write(HEADER.pack(MAGIC, 1, code, len(lengths), len(lengths) + 1))
            file.write(lengths.astype("<i4").tobytes())
            file.write(pointers.astype("<i8").tobytes())
            file.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())

    def _flush(self, complete_groups_only: bool) -> None:
        if not self.pending:
            return
        table = pa.concat_tables(self.pending).combine_chunks()  # or page borders would follow the frames
        num_rows = len(table) // _ROW_GROUP * _ROW_GROUP if complete_groups_only else len(table)
        self.documents.write_table(table.slice(0, num_rows), row_group_size=_ROW_GROUP)
        self.pending = [table.slice(num_rows)] if num_rows < len(table) else []


def _ahead(function: Callable[[Item], Result], items: Iterator[Item]) -> Iterator[Result]:
    """The function of every item, in order, in threads that are as many items ahead of whoever asks as they are."""
    num_threads = min(len(os.sched_getaffinity(0)), _MAX_THREADS)
    with ThreadPoolExecutor(num_threads) as executor:
        waiting: collections.deque[Future[Result]] = collections.deque()
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) > num_threads:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def _per_corpus(writers: dict[str, _SplitWriter]) -> dict[str, dict[str, dict[str, int]]]:
    names = sorted({name for writer in writers.values() for name in writer.corpora})
    return {
        name: {split: writer.corpora.get(name, _Total()).as_dict() for split, writer in writers.items()}
        for name in names
    }


def _statistics(writers: dict[str, _SplitWriter], tokenizer: Tokenizer) -> dict[str, Any]:
    counts = np.sum([writer.piece_counts for writer in writers.values()], axis=0)
    counts[[tokenizer.controls.bos, tokenizer.controls.eos, *tokenizer.controls.excluded]] = 0
    num_text_tokens = max(int(counts.sum()), 1)
    top = np.lexsort((np.arange(len(counts)), -counts))[:20]
    return {
        "bytes_per_token": sum(writer.total.bytes for writer in writers.values()) / num_text_tokens,
        "byte_fallback_fraction": float(counts[tokenizer.is_byte].sum() / num_text_tokens),
        "num_used_pieces": int((counts > 0).sum()),
        "top_pieces": [{"id": int(i), "piece": tokenizer.piece(i), "count": int(counts[i])} for i in top if counts[i]],
    }


def _preview(out: Path, tokenizer: Tokenizer) -> list[str]:
    ids = np.fromfile(out / "train.bin", tokenizer.dtype.newbyteorder("<"), _PREVIEW_TOKENS)
    return [tokenizer.piece(i) for i in ids]
