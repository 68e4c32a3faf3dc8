"""How a vocabulary segments many short texts at once: by the most probable path, or by merges.

Sources: Kudo 2018 and Viterbi 1967 (unigram); Sennrich et al. 2016 (BPE). The rules are sentencepiece's, so that the
ids are. A path's scores are summed in float32 from the left, of equal sums the first one found stays, and a character
that is no piece costs 10 more than the worst piece. Of all neighbours whose union is a piece those with the best score
are merged first, of equal ones those further left. What is no piece is given by its bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.tokenization.hashing import first_slot, next_slot

_UNKNOWN_PENALTY = 10


@dataclass(frozen=True)
class Segmentation:
    """Pieces as a trie over bytes.

    Attributes:
        edges: uint64 [2**n, 2], hashed: `node << 8 | byte`, plus 1 (0: nothing is here), and the node where it leads.
        ids: int32 by node, the piece that ends there, or -1.
        scores: float32 by node, its score.
        byte_ids: int32 [256], the piece of each byte.
        by_merges: whether neighbours are merged, or the most probable path is taken.
    """

    edges: NDArray[np.uint64]
    ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    byte_ids: NDArray[np.int32]
    by_merges: bool

    @classmethod
    def of(
        cls,
        ids: Sequence[int],
        spellings: Sequence[bytes],
        scores: Sequence[float],
        byte_ids: Sequence[int],
        *,
        by_merges: bool,
    ) -> "Segmentation":
        """Of the pieces that can stand in a text, and the pieces of the 256 bytes."""
        begins = np.cumsum([0, *map(len, spellings)])
        num_nodes = int(begins[-1]) + 1
        edges = np.zeros((1 << (2 * num_nodes).bit_length(), 2), np.uint64)
        node_ids, node_scores = np.full(num_nodes, -1, np.int32), np.zeros(num_nodes, np.float32)
        pieces = np.array(ids, np.int32), np.frombuffer(b"".join(spellings), np.uint8), begins
        _insert(*pieces, np.array(scores, np.float32), edges, node_ids, node_scores)
        return cls(edges, node_ids, node_scores, np.array(byte_ids, np.int32), by_merges)

    def segment(
        self, data: NDArray[np.uint8], bounds: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Ids of some texts.

        Time is linear in a text's length for paths, and square for merges.

        Args:
            data: valid UTF-8.
            bounds: int64 [N, 2], where each text begins and ends in it.

        Returns:
            How many ids each has (N), and all of them, end to end.
        """
        sizes = bounds[:, 1] - bounds[:, 0]
        lengths, out = np.empty(len(bounds), np.int64), np.empty(int(sizes.sum()), np.int32)
        longest = int(sizes.max(initial=0)) + 1
        scores, places = np.empty(longest, np.float32), np.empty((2, longest), np.int64)
        trie = self.edges, self.ids, self.scores
        segment_all = _merge_all if self.by_merges else _search_all
        return lengths, out[: segment_all(data, bounds, *trie, self.byte_ids, scores, places, lengths, out)]


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
def _search_all(data, bounds, edges, piece_ids, piece_scores, byte_ids, scores, places, lengths, out):
    """Segment by the most probable path; how many ids there are."""
    unknown_score = piece_scores.min() - np.float32(_UNKNOWN_PENALTY)  # nodes without a piece have 0, above all scores
    num_ids = 0
    for index in range(len(bounds)):
        text = data[bounds[index, 0] : bounds[index, 1]]
        _search(text, edges, piece_ids, piece_scores, unknown_score, scores, places[0], places[1])
        lengths[index] = _spell_out(text, byte_ids, places[0], places[1], out[num_ids:])
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


@numba.njit(cache=True, nogil=True)
def _merge_all(data, bounds, edges, piece_ids, piece_scores, byte_ids, scores, places, lengths, out):
    """Segment by merges; how many ids there are."""
    num_ids = 0
    for index in range(len(bounds)):
        text = data[bounds[index, 0] : bounds[index, 1]]
        _merge(text, edges, piece_ids, piece_scores, scores, places[0], places[1])
        before = num_ids
        begin = 0
        while begin < len(text):
            node = _node(text, begin, places[0, begin], edges)
            if node and piece_ids[node] >= 0:
                out[num_ids] = piece_ids[node]
                num_ids += 1
            else:
                for at in range(begin, places[0, begin]):
                    out[num_ids] = byte_ids[text[at]]
                    num_ids += 1
            begin = places[0, begin]
        lengths[index] = num_ids - before
    return num_ids


@numba.njit(cache=True, nogil=True)
def _merge(text, edges, piece_ids, piece_scores, scores, ends, previous):
    """Find where each symbol that begins somewhere ends; `scores` are those of a merge with the next symbol."""
    begin, before = 0, -1
    while begin < len(text):
        ends[begin], previous[begin] = begin + _character_length(text[begin]), before
        begin, before = ends[begin], begin
    begin = 0
    while begin < len(text):
        scores[begin] = _union(text, begin, ends, edges, piece_ids, piece_scores)
        begin = ends[begin]
    while True:
        best, begin = -1, 0
        while begin < len(text):
            if scores[begin] > -np.inf and (best < 0 or scores[begin] > scores[best]):
                best = begin
            begin = ends[begin]
        if best < 0:
            return
        ends[best] = ends[ends[best]]
        if ends[best] < len(text):
            previous[ends[best]] = best
        scores[best] = _union(text, best, ends, edges, piece_ids, piece_scores)
        if previous[best] >= 0:
            scores[previous[best]] = _union(text, previous[best], ends, edges, piece_ids, piece_scores)


@numba.njit(cache=True, nogil=True)
def _union(text, begin, ends, edges, piece_ids, piece_scores):
    """The score of the piece that a symbol and the next one make together; minus infinity where they make none."""
    if ends[begin] == len(text):
        return np.float32(-np.inf)
    node = _node(text, begin, ends[ends[begin]], edges)
    return piece_scores[node] if node and piece_ids[node] >= 0 else np.float32(-np.inf)


@numba.njit(cache=True, nogil=True)
def _node(text, begin, end, edges):
    """The node where some bytes lead; 0, where none."""
    node = 0
    for at in range(begin, end):
        node = _child(node, text[at], edges)
        if node == 0:
            break
    return node
