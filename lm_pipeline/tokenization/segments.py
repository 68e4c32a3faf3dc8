"""Texts cut where no piece can span, and the ids of every segment remembered.

Two characters that stand side by side in no piece of the vocabulary never share one: between them every segmentation
has a border. What unigram's best path or BPE's merges make of a text is therefore what they make of its segments, one
after another; but where no border comes for 4096 bytes (letters of DNA, base64), one is made.

Segments are short and return again and again: with 8000 pieces they have 4 to 5 bytes, and of those of 45 MB of English
4 % are new, of 10 MB of Chinese 2 %. Only new ones are segmented.
"""

import collections
import itertools
from collections.abc import Callable, Iterable

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.corpus.text.code_points import decode
from lm_pipeline.tokenization.hashing import MIX, first_slot, next_slot

_MAX_IDS = 1 << 22
"""How many ids are remembered."""

_LONGEST = 23
"""Bytes of a segment that is found again: with their number they fill three words."""

_MAX_BYTES = 4096
"""Bytes of a segment, which is cut there if need be: bounds the time of an endless word and the rounding of scores."""

_AT_ONCE = 1 << 20
"""Segments, and ends of texts, that are looked up before their ids are put together."""

_END_OF_TEXT = 0
"""In place of a segment's number; numbers begin with 1."""

_PADDING = 24
"""Bytes behind a text, for keys are read by words."""

_MASKS = np.array([(1 << 8 * num) - 1 for num in range(9)], np.uint64)
"""What leaves so many bytes of a word."""

Encoder = Callable[[NDArray[np.uint8], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int32]]]
"""Given UTF-8 and where segments begin and end in it [N, 2]: how many ids each has (N), and all of them, end to end."""


class SegmentMemo:
    """Encodes texts segment by segment. Safe to use from several threads: each call has a table to itself.

    Memory: some 50 MB for each call that goes on at the same time, and what it needs: about nine bytes a byte of text.

    Args:
        spellings: the text of each piece that can stand in a text.
        encode_segments: segments those that are new.
        max_segments: how many are remembered, a power of two. Then all are forgotten: the frequent ones are soon back.
    """

    def __init__(self, spellings: Iterable[str], encode_segments: Encoder, max_segments: int = 1 << 19) -> None:
        self._pairs = _pairs(spellings)
        self._max_segments = max_segments
        self._encode_segments = encode_segments
        self._tables: collections.deque[_Table] = collections.deque()

    def encode(self, data: NDArray[np.uint8], begins: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids of texts.

        Args:
            data: valid UTF-8.
            begins: where each text begins, and the end of the last (N + 1).

        Returns:
            All ids, end to end, and where each text's begin, and the end (N + 1).
        """
        try:
            table = self._tables.pop()
        except IndexError:
            table = _Table(self._max_segments)
        data, begins = data[begins[0] : begins[-1]], begins - begins[0]
        padded = np.concatenate([data, np.zeros(_PADDING, np.uint8)])
        encoded = [np.empty(0, np.int32)]
        id_begins = np.zeros(len(begins), np.int64)
        place = np.zeros(2, np.int64)
        num_texts = num_ids = 0
        found = np.empty(min(_AT_ONCE, len(data) + len(begins)), np.int32)
        while num_texts < len(begins) - 1:
            num_found, new = table.look_up(padded, begins, place, self._pairs, found)
            table.add(*self._encode_segments(data, new))
            ids = np.empty(_count(found[:num_found], table.segments), np.int32)
            ends = id_begins[num_texts + 1 :]
            num_ended = _put_together(found[:num_found], table.segments, table.ids, ids, ends)
            ends[:num_ended] += num_ids
            num_texts, num_ids = num_texts + num_ended, num_ids + len(ids)
            encoded.append(ids)
            if table.is_full:
                table = _Table(self._max_segments)
        self._tables.append(table)
        return encoded[-1] if len(encoded) == 2 else np.concatenate(encoded), id_begins


class _Table:
    """Segments by their bytes.

    Attributes:
        slots: int32 [2**n], the number of the segment that is found here by its hash; 0 where there is none.
        segments: uint64 [max_segments + 1, 4], by number, so that those that were met first, the frequent ones, lie
            together: the bytes and their number in three words (zeros where it is too long to be found again), and
            `number of ids << 32 | where they begin in ids`.
        ids: the ids of all segments, end to end.
    """

    def __init__(self, max_segments: int) -> None:
        self.slots = np.zeros(2 * max_segments, np.int32)
        self.segments = np.zeros((max_segments + 1, 4), np.uint64)
        self.ids = np.empty(1 << 12, np.int32)
        self._end, self._num_ids = 1, 0

    def look_up(
        self,
        padded: NDArray[np.uint8],
        begins: NDArray[np.int64],
        place: NDArray[np.int64],
        pairs: "_Pairs",
        found: NDArray[np.int32],
    ) -> tuple[int, NDArray[np.int64]]:
        """Fill `found` with the numbers of segments, from `place` (text, byte) on, until all are found or it is full.

        Returns:
            How many were found, ends of texts among them, and where those that are to be added begin and end.
        """
        new = np.empty((min(len(found), len(self.segments) - self._end), 2), np.int64)
        words = np.ndarray(len(padded) - 7, np.uint64, padded, strides=(1,))  # the eight bytes from each on
        table = self.slots, self.segments, self._end
        num_found, num_new = _look_up(padded, words, begins, place, *pairs, *table, found, new)
        return num_found, new[:num_new]

    def add(self, lengths: NDArray[np.int64], ids: NDArray[np.int32]) -> None:
        """Keep the ids of new segments: how many each has, and all of them."""
        begin, self._num_ids = self._num_ids, self._num_ids + len(ids)
        if self._num_ids > len(self.ids):
            self.ids = np.resize(self.ids, max(self._num_ids, 3 * len(self.ids) // 2))
        self.ids[begin : self._num_ids] = ids
        self.segments[self._end : self._end + len(lengths), 3] = lengths << 32 | begin + np.cumsum(lengths) - lengths
        self._end += len(lengths)

    @property
    def is_full(self) -> bool:
        return self._end == len(self.segments) or self._num_ids >= _MAX_IDS


_Pairs = tuple[NDArray[np.bool_], NDArray[np.uint64]]
"""Of two ASCII characters a, b whether they share a piece, at 128 a + b; of others the pairs, hashed (0: none)."""


def _pairs(spellings: Iterable[str]) -> _Pairs:
    """Which characters stand side by side in a piece."""
    pairs = {pair for spelling in spellings for pair in itertools.pairwise(map(ord, spelling))}
    are_ascii = np.zeros(128 * 128, np.bool_)
    are_ascii[[128 * a + b for a, b in pairs if max(a, b) < 128]] = True
    others = sorted(a << 21 | b for a, b in pairs if max(a, b) >= 128)
    hashed = np.zeros(1 << (4 * len(others) + 1).bit_length(), np.uint64)
    _insert(np.array(others, np.uint64), hashed)
    return are_ascii, hashed


@numba.njit(cache=True, nogil=True)
def _insert(pairs, hashed):
    for pair in pairs:
        slot = first_slot(pair, len(hashed))
        while hashed[slot]:
            slot = next_slot(slot, len(hashed))
        hashed[slot] = pair


@numba.njit(cache=True, nogil=True)
def _share_a_piece(a, b, are_ascii, hashed):
    if a < 128 and b < 128:
        return are_ascii[np.uint32(128) * a + b]
    pair = np.uint64(a) << np.uint64(21) | np.uint64(b)
    slot = first_slot(pair, len(hashed))
    while hashed[slot]:
        if hashed[slot] == pair:
            return True
        slot = next_slot(slot, len(hashed))
    return False


@numba.njit(cache=True, nogil=True)
def _number(words, begin, length, slots, segments, end):
    """The number of a segment; `end` where it is new, from now on."""
    if length > _LONGEST:
        segments[end, 2] = 0
        return end
    first = words[begin] & _MASKS[min(length, 8)]
    second = words[begin + 8] & _MASKS[min(max(length - 8, 0), 8)]
    third = words[begin + 16] & _MASKS[max(length - 16, 0)] | np.uint64(length) << np.uint64(56)
    slot = first_slot(first ^ (second * MIX) ^ third, len(slots))
    while slots[slot]:
        number = slots[slot]
        if segments[number, 0] == first and segments[number, 1] == second and segments[number, 2] == third:
            return number
        slot = next_slot(slot, len(slots))
    slots[slot] = end
    segments[end, 0], segments[end, 1], segments[end, 2] = first, second, third
    return end


@numba.njit(cache=True, nogil=True)
def _look_up(data, words, begins, place, are_ascii, hashed, slots, segments, end, found, new):
    num_found = num_new = 0
    text, at = place
    while text < len(begins) - 1:
        begin, text_end = at, begins[text + 1]
        while at < text_end:
            if num_found + 2 > len(found) or num_new == len(new):
                place[:] = text, begin
                return num_found, num_new
            previous, at = decode(data, at)
            while at < text_end:
                character, after = decode(data, at)
                if after - begin > _MAX_BYTES or not _share_a_piece(previous, character, are_ascii, hashed):
                    break
                previous, at = character, after
            number = _number(words, begin, at - begin, slots, segments, end + num_new)
            if number == end + num_new:
                new[num_new] = begin, at
                num_new += 1
            found[num_found] = number
            num_found += 1
            begin = at
        if num_found == len(found):
            break
        found[num_found] = _END_OF_TEXT
        num_found += 1
        text += 1
    place[:] = text, at
    return num_found, num_new


@numba.njit(cache=True, nogil=True)
def _count(found, segments):
    """How many ids segments have together; `_END_OF_TEXT` has none."""
    total = 0
    for number in found:
        total += np.int64(segments[number, 3]) >> 32
    return total


@numba.njit(cache=True, nogil=True)
def _put_together(found, segments, ids, out, ends):
    """The ids of segments, end to end, and where texts end; how many of them do."""
    at = num_ended = 0
    for number in found:
        if number == _END_OF_TEXT:
            ends[num_ended] = at
            num_ended += 1
            continue
        value = np.int64(segments[number, 3])
        begin = value & 0xFFFFFFFF
        for index in range(begin, begin + (value >> 32)):
            out[at] = ids[index]
            at += 1
    return num_ended
