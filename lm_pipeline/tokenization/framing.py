"""Tokenized documents put end to end as `BOS t1..tn EOS`, spelled out again and compared with their texts: one pass."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.tokenization.controls import Controls
from lm_pipeline.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Framing:
    """What a tokenizer's ids spell, and what stands around them.

    Attributes:
        controls: the control ids.
        dtype: type of the ids on disk.
        begins_with_space: whether a space before a document is the tokenizer's own.
        spelled: the bytes of all pieces, one after another (uint8).
        begins: where each id's begin, and the end (int64 [vocab_size + 1]).
    """

    controls: Controls
    dtype: np.dtype
    begins_with_space: bool
    spelled: NDArray[np.uint8]
    begins: NDArray[np.int64]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Framing":
        """That of a tokenizer."""
        spelled = np.frombuffer(b"".join(tokenizer.spellings), np.uint8)
        begins = np.cumsum([0, *map(len, tokenizer.spellings)])
        return cls(tokenizer.controls, tokenizer.dtype, tokenizer.begins_with_space, spelled, begins)

    def framed(
        self,
        ids: NDArray[np.int32],
        begins: NDArray[np.int64],
        rows: NDArray[np.int64],
        texts: tuple[NDArray[np.uint8], NDArray[np.int64]],
        piece_counts: NDArray[np.int64],
    ) -> tuple[np.ndarray, NDArray[np.int64], int]:
        """Put some documents of a batch end to end.

        Args:
            ids: the ids of the whole batch.
            begins: where each document's begin, and the end (N + 1).
            rows: the documents that are wanted, in this order.
            texts: UTF-8 bytes of the batch, and where each text's begin (`corpus.text.utf8.utf8_buffers`).
            piece_counts: int64 [vocab_size]; the tokens of the text are added to it.

        Returns:
            The documents' tokens, their numbers of tokens, BOS and EOS included, and how many documents do not spell
            their text.
        """
        sizes = begins[rows + 1] - begins[rows] + 2
        out = np.empty(int(sizes.sum()), self.dtype)
        spelling = self.spelled, self.begins, self.begins_with_space
        around = self.controls.bos, self.controls.eos
        failures = _frame(ids, begins, rows, texts, spelling, around, piece_counts, out)
        return out, sizes, failures


@numba.njit(cache=True, nogil=True)
def _frame(ids, begins, rows, texts, spelling, around, counts, out):
    text, text_begins = texts
    spelled, spelled_begins, begins_with_space = spelling
    failures = at = 0
    for row in rows:
        out[at] = around[0]
        at += 1
        place, end, same, at_begin = text_begins[row], text_begins[row + 1], True, begins_with_space
        for token in ids[begins[row] : begins[row + 1]]:
            out[at] = token
            at += 1
            counts[token] += 1
            first, last = spelled_begins[token], spelled_begins[token + 1]
            if at_begin and first < last:
                at_begin = False
                first += spelled[first] == 32
            if same and place + last - first <= end:
                for byte in range(first, last):
                    same &= spelled[byte] == text[place]
                    place += 1
            else:
                same = False
        out[at] = around[1]
        at += 1
        failures += not (same and place == end)
    return failures
