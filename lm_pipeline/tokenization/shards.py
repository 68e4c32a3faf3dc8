r"""Token shards: a split's documents as `BOS t1..tn EOS` in one Megatron `.bin`/`.idx` pair, and where they came from.

Source: Megatron-LM's `IndexedDataset`. `<split>.bin` holds the ids alone, little-endian. `<split>.idx` holds, packed:

    magic "MMIDIDX\0\0" | uint64 version = 1 | uint8 dtype code | uint64 sequences n | uint64 n + 1
    int32[n] tokens of each sequence | int64[n] its byte offset in the .bin | int64[n + 1] document index 0..n

One sequence is one document. `<split>.documents.parquet` has a row for each, in the same order, so that a token leads
back to its document and to the raw file's record.
"""

import dataclasses
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm_pipeline.errors import CorruptArtifactError, MissingArtifactError
from lm_pipeline.tokenization.controls import OURS, Controls
from lm_pipeline.tokenization.tokenizer import token_dtype

if TYPE_CHECKING:
    import polars as pl  # imported where used: it changes how a training child handles SIGINT

SPLITS = ("train", "validation", "test")

MAGIC = b"MMIDIDX\0\0"
HEADER = struct.Struct("<9sQBQQ")
DTYPE_CODES = {8: np.dtype("<u2"), 4: np.dtype("<i4")}

LOCATORS = ("document_id", "corpus", "file", "record", "byte_offset", "byte_length")
SCHEMA = pa.schema(
    [(name, pa.string() if name in ("document_id", "corpus", "file") else pa.int64()) for name in LOCATORS]
    + [(name, pa.int64()) for name in ("token_offset", "num_tokens", "num_bytes")]
)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One split's tokens, memory-mapped.

    Attributes:
        folder: where the files are.
        split: its name.
        tokens: uint16 or int32 [num_tokens], read-only: the documents end to end.
        offsets: int64 [num_documents + 1], token offset of each document's BOS, and the end.
        controls: control ids of the tokenizer.
    """

    folder: Path
    split: str
    tokens: np.ndarray
    offsets: np.ndarray
    controls: Controls = OURS

    @classmethod
    def open(cls, folder: Path, split: str, vocab_size: int | None = None) -> "Shard":
        """Map a split that `write_shards` wrote, and check index, sizes and (given `vocab_size`) the type of its ids.

        Raises:
            MissingArtifactError: a file of the split is absent.
            CorruptArtifactError: index, tokens and documents do not fit together, or the ids have the wrong type.
        """
        folder = Path(folder)
        index, data, documents = (folder / f"{split}{end}" for end in (".idx", ".bin", ".documents.parquet"))
        for path in (index, data, documents):
            if not path.is_file():
                raise MissingArtifactError(f"There is no {path}. Materialize token_shards; its splits are {SPLITS}.")
        dtype, offsets = _read_index(index, vocab_size)
        _expect(data.stat().st_size, int(offsets[-1]) * dtype.itemsize, f"{data}: bytes")
        _expect(pq.ParquetFile(documents).metadata.num_rows, len(offsets) - 1, f"{documents}: rows")
        tokens = np.memmap(data, dtype, "r") if offsets[-1] else np.empty(0, dtype)
        controls = Controls.read(folder)
        for document in (0, len(offsets) - 2) if len(offsets) > 1 else ():
            first, last = tokens[offsets[document]], tokens[offsets[document + 1] - 1]
            borders = (controls.bos, controls.eos)
            _expect((int(first), int(last)), borders, f"{data}: first and last token of document {document}")
        return cls(folder, split, tokens, offsets, controls)

    @property
    def num_documents(self) -> int:
        """Documents in the split."""
        return len(self.offsets) - 1

    @property
    def num_tokens(self) -> int:
        """Tokens in the split, BOS and EOS included."""
        return int(self.offsets[-1])

    def document(self, row: int) -> np.ndarray:
        """Ids of one document, `BOS t1..tn EOS`, as a view on the file."""
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    @property
    def documents(self) -> "pl.DataFrame":
        """Where each document came from, a row each, read anew: the columns of `<split>.documents.parquet`."""
        import polars as pl

        return pl.read_parquet(self.folder / f"{self.split}.documents.parquet")

    @property
    def corpora(self) -> np.ndarray:
        """The corpus of each document, in the order of the documents."""
        column = pq.read_table(self.folder / f"{self.split}.documents.parquet", columns=["corpus"])["corpus"]
        return np.asarray(column.to_pylist(), dtype=np.str_)

    def row_of(self, token_offset: int) -> int:
        """Row of the document that holds a token.

        Raises:
            IndexError: the offset lies outside the split.
        """
        if not 0 <= token_offset < self.num_tokens:
            raise IndexError(f"token offset {token_offset} is not in {self.split}: expected 0 to {self.num_tokens - 1}")
        return int(np.searchsorted(self.offsets, token_offset, "right")) - 1

    def document_of(self, token_offset: int) -> dict[str, Any]:
        """The document that holds a token: its row of `documents`, plus `row` and `position` (0 is its BOS)."""
        import polars as pl

        row = self.row_of(token_offset)
        frame = pl.scan_parquet(self.folder / f"{self.split}.documents.parquet").slice(row, 1).collect()
        return {**frame.row(0, named=True), "row": row, "position": token_offset - int(self.offsets[row])}


def _read_index(path: Path, vocab_size: int | None) -> tuple[np.dtype, np.ndarray]:
    """Type of the ids and int64 [n + 1] token offsets, every field checked."""
    with path.open("rb") as file:
        content = file.read()
    if len(content) < HEADER.size:
        raise CorruptArtifactError(f"{path} has {len(content)} bytes; a Megatron index has at least {HEADER.size}.")
    magic, version, code, count, document_count = HEADER.unpack_from(content)
    _expect(magic, MAGIC, f"{path}: magic")
    _expect(version, 1, f"{path}: version")
    if code not in DTYPE_CODES:
        raise CorruptArtifactError(f"{path}: dtype code is {code}; expected 8 (uint16) or 4 (int32).")
    dtype = DTYPE_CODES[code]
    if vocab_size is not None:
        _expect(dtype.name, token_dtype(vocab_size).name, f"{path}: type of ids for a vocabulary of {vocab_size}")
    _expect(document_count, count + 1, f"{path}: entries of the document index")
    _expect(len(content), HEADER.size + 4 * count + 8 * count + 8 * (count + 1), f"{path}: bytes")
    lengths = np.frombuffer(content, "<i4", count, HEADER.size)
    pointers = np.frombuffer(content, "<i8", count, HEADER.size + 4 * count)
    index = np.frombuffer(content, "<i8", count + 1, HEADER.size + 12 * count)
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    consistent = bool((lengths >= 2).all() and (pointers == offsets[:-1] * dtype.itemsize).all())
    _expect(consistent, True, f"{path}: sequences of at least 2 tokens, end to end")
    _expect(bool((index == np.arange(count + 1)).all()), True, f"{path}: one sequence per document")
    return dtype, offsets


def _expect(given: Any, expected: Any, what: str) -> None:
    if given != expected:
        raise CorruptArtifactError(
            f"{what}: given {given!r}, expected {expected!r}. The shard is damaged or belongs to another tokenizer:"
            " materialize token_shards again."
        )
