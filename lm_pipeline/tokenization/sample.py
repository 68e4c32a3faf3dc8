"""The training text of a tokenizer: a seeded sample that does not depend on the order of documents."""

import heapq
import re
from collections.abc import Iterable, Iterator

import xxhash

from lm_pipeline.tokenization.stretches import stretches, to_utf8

_RESERVED = re.compile("[\0\t\u2581\u2585]+")
"""The trainer drops a whole sentence that has NUL or U+2585, and never makes a piece with a tab or a real U+2581."""

MAX_CHARACTERS = 1024
"""Longest training sentence: at most 4096 bytes, below the size at which the trainer drops a sentence."""


def sample_sentences(texts: Iterable[str], max_bytes: int, seed: int) -> tuple[list[str], int]:
    """Training sentences with the smallest seeded hashes, as many as fit in `max_bytes`, in the order of their hashes.

    The set is the same in whatever order texts come: a sentence is in exactly when all sentences with hashes up to its
    own fit. Equal sentences share a hash and are in or out together.

    Returns:
        The sentences, and the bytes of all there were.
    """
    kept: list[tuple[int, str]] = []  # a heap, largest hash first
    kept_bytes = available_bytes = 0
    limit = 1 << 64  # the smallest hash that was found not to fit
    for text in texts:
        for sentence in _sentences(text):
            data = sentence.encode()
            available_bytes += len(data)
            value = xxhash.xxh3_64_intdigest(data, seed)
            if value >= limit:
                continue
            heapq.heappush(kept, (-value, sentence))
            kept_bytes += len(data)
            while kept and (kept_bytes > max_bytes or -kept[0][0] >= limit):
                negative, dropped = heapq.heappop(kept)
                limit = -negative
                kept_bytes -= len(dropped.encode())
    kept.sort(key=lambda item: (-item[0], item[1]))
    return [sentence for _, sentence in kept], available_bytes


def _sentences(text: str) -> Iterator[str]:
    to_utf8(text)  # refuses what is no Unicode text
    for part in _RESERVED.split(text):
        yield from stretches(part, MAX_CHARACTERS)
