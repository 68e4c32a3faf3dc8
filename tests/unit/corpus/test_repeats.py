from dataclasses import astuple

import numpy as np
import pytest

from lm_pipeline.corpus import owner_cells
from lm_pipeline.corpus.owner_cells import Cells
from lm_pipeline.corpus.repeats import Tally, find_repeats


def plain(ends, matches, lists, num_ngrams, min_overlap, most_named):
    """What `find_repeats` says, by sorting all pairs of a text."""
    pairs, totals, documents = [], [], {}
    for text in range(len(ends) - 1):
        hits = []
        owned = {}
        for match in range(ends[text], ends[text + 1]):
            for document in lists[matches[0][match]]:
                owned.setdefault(document, []).append(match)
        for document, own in owned.items():
            num = sum(int(matches[1][match]) for match in own)
            overlap = max(*(matches[3][match] for match in own), num / num_ngrams[document])
            if matches[2][own[0]] or overlap >= min_overlap:
                hits.append((-overlap, -num, document, own[0]))
                documents.setdefault(document, []).append((text, overlap))
        pairs += [(text, document, match, -overlap) for overlap, _, document, match in sorted(hits)[:most_named]]
        totals.append(len(hits))
    return pairs, totals, documents


@pytest.mark.parametrize("most_named", [1, 7, 100])
@pytest.mark.parametrize("levels", [1, 3, 1000])
@pytest.mark.parametrize("min_length", [1, 50, 1000])
def test_pairs_and_tally_are_those_of_a_sort_of_all_pairs_ties_included(most_named, levels, min_length, monkeypatch):
    monkeypatch.setattr(owner_cells, "_MIN_DOCUMENTS", 1)
    generator = np.random.default_rng(levels)
    num_documents, num_lists = 120, 12
    for _ in range(20):
        lists = [np.flatnonzero(generator.random(num_documents) < share) for share in generator.random(num_lists)]
        owners = np.cumsum([0, *map(len, lists)]), np.concatenate(lists).astype(np.int32)
        ends = np.concatenate([[0], np.cumsum(generator.integers(0, 6, 15))])
        num = ends[-1]
        matches = (
            np.concatenate([generator.permutation(num_lists)[:size] for size in np.diff(ends)]).astype(np.int32),
            generator.integers(0, levels, num),
            np.concatenate([np.sort(generator.random(size) < 0.3)[::-1] for size in np.diff(ends)]),
            generator.integers(0, levels + 1, num) / (levels + 1),
        )
        num_ngrams = generator.integers(levels, 2 * levels + 1, num_documents) * 6
        tally = Tally.of(num_documents)
        rows = np.arange(len(ends) - 1) * 10
        cells = Cells.of(ends, matches[0], owners, num_ngrams, min_length, 1)
        found = find_repeats(ends, matches, owners, num_ngrams, 0.4, most_named, rows, tally, cells)
        pairs, totals, documents = plain(ends, matches, lists, num_ngrams, 0.4, most_named)
        assert list(zip(*(column.tolist() for column in astuple(found)[:4]), strict=True)) == pairs
        assert found.totals.tolist() == totals
        for document in range(num_documents):
            hits = documents.get(document, [])
            expected = len(hits), 10 * hits[0][0] if hits else -1, max((overlap for _, overlap in hits), default=0)
            assert tuple(column[document] for column in astuple(tally)) == expected
