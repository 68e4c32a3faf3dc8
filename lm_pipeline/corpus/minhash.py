"""MinHash signatures of documents over shingles of words, computed once per part of a corpus.

Source: Broder 1997, "On the resemblance and containment of documents". A signature holds, for each of
`num_bands * rows_per_band` hash functions, the smallest hash of the document's shingles; two signatures agree in a
place with a probability equal to the Jaccard similarity of the two shingle sets. Bands of a signature are compared
whole (locality-sensitive hashing, Leskovec et al., "Mining of Massive Datasets", section 3.4): with 14 bands of 8
rows, a pair of similarity 0.8 meets in some band with probability 0.92, one of 0.9 with 0.9996.

The hash family is h_i(x) = a_i x + b_i modulo 2**64, with odd a_i, over shingles that are well mixed already.
"""

from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm_pipeline.corpus.words import Texts, hashed_words
from lm_pipeline.specs.dataset import NearDuplicates

_BATCH_ROWS = 4096
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_32 = np.uint64(32)


@numba.njit(cache=True)
def ngram_hashes(words, ngram):
    """The hash of every n-gram of a sequence of word hashes.

    Args:
        words: hashes of W words, uint64.
        ngram: words in an n-gram.

    Returns:
        uint64, W - ngram + 1 (none where there are fewer words than that).
    """
    num = max(0, len(words) - ngram + 1)
    hashes = np.empty(num, np.uint64)
    for begin in range(num):
        state = np.uint64(ngram)
        for at in range(begin, begin + ngram):
            state = (state ^ words[at]) * _PRIME
            state ^= state >> _SHIFT_32
        hashes[begin] = state
    return hashes


@numba.njit(cache=True)
def _distinct(words, offsets, ngram):
    """Distinct n-gram hashes per document, ascending, and their offsets."""
    shingles = np.empty(len(words), np.uint64)
    ends = np.zeros(len(offsets), np.int64)
    num = 0
    for document in range(len(offsets) - 1):
        hashes = np.sort(ngram_hashes(words[offsets[document] : offsets[document + 1]], ngram))
        for at in range(len(hashes)):
            if at == 0 or hashes[at] != hashes[at - 1]:
                shingles[num] = hashes[at]
                num += 1
        ends[document + 1] = num
    return shingles[:num].copy(), ends


def shingle_sets(texts: Texts, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The distinct shingles (hashed n-grams of words) of each text.

    Returns:
        Shingles, ascending within each text (uint64, S), and offsets (int64, N + 1). A text with fewer words than
        `ngram` has none.

    >>> shingles, offsets = shingle_sets(["a b c a b c", "a b"], ngram=3)
    >>> offsets.tolist()
    [0, 3, 3]
    """
    return _distinct(*hashed_words(texts), ngram)


@numba.njit(cache=True)
def _minima(shingles, offsets, multipliers, addends):
    num_hashes = len(multipliers)
    signatures = np.full((len(offsets) - 1, num_hashes), np.uint64(0xFFFFFFFFFFFFFFFF))
    for document in range(len(offsets) - 1):
        minima = signatures[document]
        for at in range(offsets[document], offsets[document + 1]):
            shingle = shingles[at]
            for row in range(num_hashes):
                minima[row] = min(minima[row], multipliers[row] * shingle + addends[row])
    return signatures


def hash_family(num_hashes: int, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Multipliers (odd) and addends of the hash functions, uint64, drawn by SplitMix64 (Steele et al. 2014)."""
    state, drawn = seed & (2**64 - 1), []
    for _ in range(2 * num_hashes):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        value = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
        drawn.append(value ^ (value >> 31))
    numbers = np.array(drawn, np.uint64)
    return numbers[:num_hashes] | np.uint64(1), numbers[num_hashes:]


def signatures(texts: Texts, spec: NearDuplicates) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """MinHash signatures of N texts.

    Returns:
        Signatures (uint64, N x num_bands * rows_per_band) and the number of distinct shingles of each text (int64, N).
        Where that number is 0 the text has fewer words than a shingle and its signature means nothing.
    """
    shingles, offsets = shingle_sets(texts, spec.ngram)
    family = hash_family(spec.num_bands * spec.rows_per_band, spec.seed)
    return _minima(shingles, offsets, *family), np.diff(offsets)


def write_signatures(documents_parquet: Path, spec: NearDuplicates, out: Path) -> dict[str, Any]:
    """Write the signatures of one part of a corpus.

    Args:
        documents_parquet: a file with `document_id` and `text`.
        spec: shingle length, bands, rows and seed.
        out: an existing folder that receives `signatures.parquet`: `document_id`, `signature` (array of uint64; null
            for documents with fewer words than a shingle, which can only have exact duplicates) and `num_shingles`.

    Returns:
        `documents`, `with_signature`, `num_shingles`.
    """
    num_hashes = spec.num_bands * spec.rows_per_band
    schema = {"document_id": pl.String, "signature": pl.Array(pl.UInt64, num_hashes), "num_shingles": pl.Int64}
    written = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest())
    summary = {"documents": 0, "with_signature": 0, "num_shingles": 0}
    with (
        pq.ParquetFile(documents_parquet) as source,
        pq.ParquetWriter(out / "signatures.parquet", written.schema, compression="zstd") as writer,
    ):
        for batch in source.iter_batches(_BATCH_ROWS, columns=["document_id", "text"]):
            minima, num_shingles = signatures(batch.column("text"), spec)
            frame = pl.DataFrame(
                {
                    "document_id": pl.Series(batch.column("document_id")),
                    "signature": pl.Series(minima, dtype=schema["signature"]),
                    "num_shingles": num_shingles,
                },
                schema=schema,
            ).with_columns(pl.when(pl.col("num_shingles") > 0).then("signature"))
            writer.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(written.schema))
            summary["documents"] += len(frame)
            summary["with_signature"] += int((num_shingles > 0).sum())
            summary["num_shingles"] += int(num_shingles.sum())
    return summary
