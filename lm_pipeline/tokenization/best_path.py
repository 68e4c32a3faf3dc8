"""The most probable segmentation under a unigram model, of many short texts at once.

Source: Kudo 2018; Viterbi 1967. The rules are sentencepiece's, so that the ids are: scores are summed in float32 from
the left, of equal sums the first one found stays, a character that is no piece costs 10 more than the worst piece and
is given by its bytes.
"""

from collections.abc import Sequence
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
    def of(
        cls, ids: Sequence[int], spellings: Sequence[bytes], scores: Sequence[float], byte_ids: Sequence[int]
    ) -> "UnigramModel":
        """Of the pieces that can stand in a text, and the pieces of the 256 bytes."""
        begins = np.cumsum([0, *map(len, spellings)])
        num_nodes = int(begins[-1]) + 1
        edges = np.zeros((1 << (2 * num_nodes).bit_length(), 2), np.uint64)
        node_ids, node_scores = np.full(num_nodes, -1, np.int32), np.zeros(num_nodes, np.float32)
        pieces = np.array(ids, np.int32), np.frombuffer(b"".join(spellings), np.uint8), begins
        float_scores = np.array(scores, np.float32)
        _insert(*pieces, float_scores, edges, node_ids, node_scores)
        unknown_score = float_scores.min(initial=0) - np.float32(_UNKNOWN_PENALTY)
        return cls(edges, node_ids, node_scores, np.array(byte_ids, np.int32), unknown_score)

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
def _insert(ids, spelled, begins, scores, edges, node_ids, node_scores):
    num_nodes = 1
    for index in range(len(ids)):
        node = 0
        for at in range(begins[index], begins[index + 1]):
            key = (np.uint64(node) << np.uint64(8) | np.uint64(spelled[at])) + np.uint64(1)
            slot = first_slot(key, len(edges))
            while edges[slot, 0] and edges[slot, 0] != key:
                slot = next_slot(slot, len(edges))
            if not edges[slot, 0]:
                edges[slot, 0], edges[slot, 1] = key, num_nodes
                num_nodes += 1
            node = np.int64(edges[slot, 1])
        node_ids[node], node_scores[node] = ids[index], scores[index]


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
