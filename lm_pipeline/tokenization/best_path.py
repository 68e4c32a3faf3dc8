"""The most probable segmentation under a unigram model, of many short texts at once.

Source: Kudo 2018; Viterbi 1967. The rules are sentencepiece's, so that the ids are: scores are summed in float32 from
the left, of equal sums the first one found stays, a character that is no piece costs 10 more than the worst piece and
is given by its bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.tokenization.hashing import first_slot, next_slot

_UNKNOWN_PENALTY = 10


@dataclass(frozen=True)
class UnigramModel:
    """Pieces as a trie over bytes.

    Attributes:
        edges: uint64 [2**n, 2], hashed: `node << 8 | byte`, plus 1 (0: nothing is here), and the node where it leads.
        ids: int32 by node, the piece that ends there, or -1.
        scores: float32 by node, its score.
        byte_ids: int32 [256], the piece of each byte.
        unknown_score: of a character that is no piece.
    """

    edges: NDArray[np.uint64]
    ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    byte_ids: NDArray[np.int32]
    unknown_score: np.float32

    @classmethod
    def of(cls, pieces: Iterable[tuple[int, bytes, float]], byte_ids: Iterable[int]) -> "UnigramModel":
        """Of the pieces (id, spelling, score) that can stand in a text, and the pieces of the 256 bytes."""
        children: dict[int, int] = {}
        ends: dict[int, tuple[int, float]] = {}
        for piece, spelling, score in pieces:
            node = 0
            for byte in spelling:
                node = children.setdefault(node << 8 | byte, len(children) + 1)
            ends[node] = piece, score
        edges = np.zeros((1 << (2 * len(children) + 1).bit_length(), 2), np.uint64)
        _insert(np.array(list(children), np.uint64), np.array(list(children.values()), np.uint64), edges)
        ids, scores = np.full(len(children) + 1, -1, np.int32), np.zeros(len(children) + 1, np.float32)
        for node, (piece, score) in ends.items():
            ids[node], scores[node] = piece, score
        worst = min((score for _, score in ends.values()), default=0.0)
        return cls(edges, ids, scores, np.array(list(byte_ids), np.int32), np.float32(worst - _UNKNOWN_PENALTY))

    def segment(
        self, data: NDArray[np.uint8], bounds: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Ids of some texts.

        Args:
            data: valid UTF-8.
            bounds: int64 [N, 2], where each text begins and ends in it.

        Returns:
            How many ids each has (N), and all of them, end to end.
        """
        sizes = bounds[:, 1] - bounds[:, 0]
        lengths, out = np.empty(len(bounds), np.int64), np.empty(int(sizes.sum()), np.int32)
        longest = int(sizes.max(initial=0)) + 1
        paths = np.empty(longest, np.float32), np.empty(longest, np.int32), np.empty(longest, np.int64)
        pieces = self.edges, self.ids, self.scores, self.byte_ids, self.unknown_score
        return lengths, out[: _segment_all(data, bounds, pieces, paths, lengths, out)]


@numba.njit(cache=True, nogil=True)
def _insert(keys, nodes, edges):
    for index in range(len(keys)):
        slot = first_slot(keys[index] + np.uint64(1), len(edges))
        while edges[slot, 0]:
            slot = next_slot(slot, len(edges))
        edges[slot, 0], edges[slot, 1] = keys[index] + np.uint64(1), nodes[index]


@numba.njit(cache=True, nogil=True)
def _child(node, byte, edges):
    """The node where a byte leads; 0, where none."""
    key = (np.uint64(node) << np.uint64(8) | np.uint64(byte)) + np.uint64(1)
    slot = first_slot(key, len(edges))
    while edges[slot, 0]:
        if edges[slot, 0] == key:
            return np.int64(edges[slot, 1])
        slot = next_slot(slot, len(edges))
    return 0


@numba.njit(cache=True, nogil=True)
def _character_length(byte):
    if byte < 0x80:
        return 1
    if byte < 0xE0:
        return 2
    return 3 if byte < 0xF0 else 4


@numba.njit(cache=True, nogil=True)
def _segment_all(data, bounds, pieces, paths, lengths, out):
    edges, piece_ids, piece_scores, byte_ids, unknown_score = pieces
    scores, ids, starts = paths
    num_ids = 0
    for index in range(len(bounds)):
        text = data[bounds[index, 0] : bounds[index, 1]]
        _search(text, edges, piece_ids, piece_scores, unknown_score, scores, ids, starts)
        lengths[index] = _spell_out(text, byte_ids, ids, starts, out[num_ids:])
        num_ids += lengths[index]
    return num_ids


@numba.njit(cache=True, nogil=True)
def _search(text, edges, piece_ids, piece_scores, unknown_score, scores, ids, starts):
    """Find the best path to each place: its score, its last piece (-1 where unknown) and where that begins."""
    starts[: len(text) + 1] = -1
    scores[0] = 0
    begin = 0
    while begin < len(text):
        after = begin + _character_length(text[begin])
        node, is_known = 0, False
        for at in range(begin, len(text)):
            node = _child(node, text[at], edges)
            if node == 0:
                break
            end = at + 1
            if piece_ids[node] >= 0:
                score = scores[begin] + piece_scores[node]
                if starts[end] < 0 or score > scores[end]:
                    scores[end], ids[end], starts[end] = score, piece_ids[node], begin
                is_known |= end == after
        if not is_known:
            score = scores[begin] + unknown_score
            if starts[after] < 0 or score > scores[after]:
                scores[after], ids[after], starts[after] = score, -1, begin
        begin = after


@numba.njit(cache=True, nogil=True)
def _spell_out(text, byte_ids, ids, starts, out):
    """Follow the best path back from the end; how many ids it has."""
    num_ids = 0
    end = len(text)
    while end:
        if ids[end] >= 0:
            out[num_ids] = ids[end]
            num_ids += 1
        else:
            for at in range(end - 1, starts[end] - 1, -1):
                out[num_ids] = byte_ids[text[at]]
                num_ids += 1
        end = starts[end]
    for index in range(num_ids // 2):
        out[index], out[num_ids - 1 - index] = out[num_ids - 1 - index], out[index]
    return num_ids
