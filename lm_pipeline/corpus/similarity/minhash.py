"""MinHash signatures of documents over shingles of words, computed once per part of a corpus.

Source: Broder 1997, "On the resemblance and containment of documents". A signature holds, for each of
`num_bands * rows_per_band` hash functions, the smallest hash of the document's shingles; two signatures agree in a
place with a probability equal to the Jaccard similarity of the two shingle sets. Bands of a signature are compared
whole (locality-sensitive hashing, Leskovec et al., "Mining of Massive Datasets", section 3.4): with 14 bands of 8
rows, a pair of similarity 0.8 meets in some band with probability 0.92, one of 0.9 with 0.9996.

The hash family is h_i(x) = a_i x + b_i modulo 2**64, with odd a_i, over shingles that are well mixed already.
"""

import os
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from lm_pipeline.corpus.columns import halves_of
from lm_pipeline.corpus.tables import TableFile
from lm_pipeline.corpus.text.dates import microseconds
from lm_pipeline.corpus.text.words import Texts, hashed_words
from lm_pipeline.corpus.threads import in_threads
from lm_pipeline.specs.dataset import NearDuplicates

UNDATED = 2**63 - 1
"""Stands for no date: after all others."""

_BATCH_ROWS = 2048
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_32 = np.uint64(32)


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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


def band_column(band: int) -> str:
    """The name of the column that holds a band's LSH keys."""
    return f"band_{band}"


@numba.njit(cache=True, nogil=True)
def _fold_rows(minima):
    """One key per band from its rows' hashes: (N, bands, rows) to (bands, N)."""
    num, num_bands, num_rows = minima.shape
    keys = np.empty((num_bands, num), np.uint64)
    for document in range(num):
        for band in range(num_bands):
            keys[band, document] = ngram_hashes(minima[document, band], num_rows)[0]
    return keys


def write_signatures(documents_parquet: Path, spec: NearDuplicates | None, out: Path) -> dict[str, Any]:
    """Write what the search for duplicates has to know of each document of one part, so that it needs no texts.

    Args:
        documents_parquet: a part's documents.
        spec: shingle length, bands, rows and seed; None where only exact duplicates are wanted: then there are no
            bands and no shingles.
        out: an existing folder that receives `signatures.parquet`, in the order of the documents: `file`, `record`,
            `id_high` and `id_low` (the halves of `document_id`), `text_high` and `text_low` (of xxh3_128 of the text),
            `pair` (`text_low` where there is no target, else a hash of text and target), `num_characters`, `date`
            (microseconds since 1970, `UNDATED` where there is none that can be read), `num_shingles` (distinct) and
            `band_0`, `band_1`, ...: a hash of each band of the MinHash signature, which means nothing for documents
            with fewer words than a shingle (`num_shingles` 0).

    Returns:
        `documents`, `with_signature`, `num_shingles`.
    """
    summary = {"documents": 0, "with_signature": 0, "num_shingles": 0}
    with (
        pq.ParquetFile(documents_parquet) as source,
        TableFile(out / "signatures.parquet", _schema(spec)) as file,
    ):
        columns = ["document_id", "file", "record", "date", "text", "target"]
        share = -(-source.metadata.num_rows // (os.cpu_count() or 1))  # a small part keeps all cores busy too
        batches = source.iter_batches(max(1, min(_BATCH_ROWS, share)), columns=columns)
        for frame in in_threads(lambda batch: _describe(pl.DataFrame(batch), spec), batches):
            file.write(frame)
            summary["documents"] += len(frame)
            summary["with_signature"] += int((frame["num_shingles"] > 0).sum())
            summary["num_shingles"] += int(frame["num_shingles"].sum())
    return summary


def _schema(spec: NearDuplicates | None) -> pl.Schema:
    bands = range(spec.num_bands if spec else 0)
    return pl.Schema(
        {
            "file": pl.String,
            "record": pl.Int64,
            **dict.fromkeys(("id_high", "id_low", "text_high", "text_low", "pair"), pl.UInt64()),
            "num_characters": pl.Int64,
            "date": pl.Int64,
            "num_shingles": pl.Int64,
            **{band_column(band): pl.UInt64() for band in bands},
        }
    )


def _describe(batch: pl.DataFrame, spec: NearDuplicates | None) -> pl.DataFrame:
    digests = b"".join(xxhash.xxh3_128_digest(text.encode()) for text in batch["text"])
    hashes = np.frombuffer(digests, ">u8").astype(np.uint64)
    pairs = [
        text if target is None else xxhash.xxh3_64_intdigest(target.encode(), text)
        for text, target in zip(hashes[1::2].tolist(), batch["target"], strict=True)
    ]
    id_high, id_low = halves_of(batch["document_id"])
    num_shingles, bands = np.zeros(len(batch), np.int64), {}
    if spec is not None:
        minima, num_shingles = signatures(batch["text"], spec)
        keys = _fold_rows(minima.reshape(len(batch), spec.num_bands, spec.rows_per_band))
        bands = {band_column(band): keys[band] for band in range(spec.num_bands)}
    return batch.with_columns(
        num_characters=pl.col("text").str.len_chars().cast(pl.Int64),
        date=microseconds(batch["date"]).fill_null(UNDATED),
        id_high=id_high,
        id_low=id_low,
        text_high=hashes[::2],
        text_low=hashes[1::2],
        pair=pl.Series(pairs, dtype=pl.UInt64),
        num_shingles=num_shingles,
        **bands,
    )
