from dataclasses import astuple

import numpy as np
import pytest

from lm_pipeline.corpus.contamination import owner_cells
from lm_pipeline.corpus.contamination.owner_cells import Cells, Tally
from lm_pipeline.corpus.contamination.owners import Owners
from lm_pipeline.corpus.contamination.repeats import Limits, Matches, find_repeats


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
        owners = Owners(np.cumsum([0, *map(len, lists)]), np.concatenate(lists).astype(np.int32))
        ends = np.concatenate([[0], np.cumsum(generator.integers(0, 6, 15))])
        num = ends[-1]
        matches = Matches(
            np.concatenate([generator.permutation(num_lists)[:size] for size in np.diff(ends)]).astype(np.int32),
            generator.integers(0, levels, num),
            np.concatenate([np.sort(generator.random(size) < 0.3)[::-1] for size in np.diff(ends)]),
            generator.integers(0, levels + 1, num) / (levels + 1),
        )
        num_ngrams = generator.integers(levels, 2 * levels + 1, num_documents) * 6
        tally = Tally.of(num_documents)
        rows = np.arange(len(ends) - 1) * 10
        cells = Cells.of(ends, matches[0], owners, num_ngrams, min_length, 1)
        found = find_repeats(ends, matches, owners, num_ngrams, Limits(0.4, most_named), rows, tally, cells)
        pairs, totals, documents = plain(ends, matches, lists, num_ngrams, 0.4, most_named)
        assert list(zip(*(column.tolist() for column in astuple(found)[:4]), strict=True)) == pairs
        assert found.totals.tolist() == totals
        for document in range(num_documents):
            hits = documents.get(document, [])
            expected = len(hits), 10 * hits[0][0] if hits else -1, max((overlap for _, overlap in hits), default=0)
            assert tuple(column[document] for column in tally) == expected


def common(lists: list[np.ndarray], num_texts: int) -> tuple[np.ndarray, Matches, Owners]:
    """Texts that all have these lists, the arguments of `find_repeats`."""
    generator = np.random.default_rng(0)
    num = num_texts * len(lists)
    matches = Matches(
        np.tile(np.arange(len(lists), dtype=np.int32), num_texts),
        generator.integers(1, 20, num),
        np.zeros(num, np.bool_),
        generator.random(num) * 0.7,
    )
    owners = Owners(np.cumsum([0, *map(len, lists)]), np.concatenate(lists).astype(np.int32))
    return np.arange(num_texts + 1) * len(lists), matches, owners


def assert_cells_change_nothing(lists: list[np.ndarray], num_texts: int, num_documents: int) -> None:
    """All texts have cells, and `find_repeats` says the same without them."""
    ends, matches, owners = common(lists, num_texts)
    num_ngrams = np.random.default_rng(1).integers(50, 2000, num_documents)
    results = []
    for which, min_texts in enumerate((8, num_texts + 1)):
        tally = Tally.of(num_documents)
        cells = Cells.of(ends, matches.list, owners, num_ngrams, min_texts=min_texts)
        found = find_repeats(ends, matches, owners, num_ngrams, Limits(0.6, 100), np.arange(num_texts), tally, cells)
        results.append((*astuple(found), *tally))
        assert (cells.of_text >= 0).all() == (which == 0)
    for with_cells, without in zip(*results, strict=True):
        np.testing.assert_array_equal(with_cells, without)


def test_documents_of_short_lists_find_their_cell_among_thousands():
    generator, num_documents = np.random.default_rng(2), 50_000
    long = [np.flatnonzero(generator.random(num_documents) < 0.5) for _ in range(11)]
    short = [np.sort(generator.choice(num_documents, 200, replace=False)) for _ in range(50)]
    assert_cells_change_nothing([*long, *short], 20, num_documents)


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_boilerplate_in_25_variants_is_looked_at_once(share):
    generator, num_documents = np.random.default_rng(3), 50_000
    lists = [np.flatnonzero(generator.random(num_documents) >= share) for _ in range(25)]
    assert_cells_change_nothing(lists, 100, num_documents)


@pytest.mark.parametrize("bound", ["_MAX_ENTRIES", "_MAX_DOCUMENTS"])
def test_a_combination_that_is_too_large_leaves_the_others_their_cells(bound, monkeypatch):
    monkeypatch.setattr(owner_cells, bound, 5000)
    lists = [np.arange(9000), np.arange(300)]
    ends, owners = np.arange(25), Owners(np.array([0, 9000, 9300]), np.concatenate(lists).astype(np.int32))
    of_matches = np.repeat(np.arange(2, dtype=np.int32), [14, 10])
    cells = Cells.of(ends, of_matches, owners, np.ones(9000, np.int64))
    assert cells.of_text.tolist() == [-1] * 14 + [0] * 10
    assert (cells.lists.tolist(), cells.documents.tolist()) == ([1], list(range(300)))


def test_bounds_count_each_document_once(monkeypatch):
    monkeypatch.setattr(owner_cells, "_MAX_DOCUMENTS", 1000)
    ends, matches, owners = common([np.arange(1000)] * 5, 8)
    assert Cells.of(ends, matches.list, owners, np.ones(1000, np.int64)).of_text.tolist() == [0] * 8
