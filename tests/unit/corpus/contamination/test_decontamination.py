import tracemalloc
from collections import Counter

import numpy as np
import pytest

from lm_pipeline.corpus.contamination.decontamination import MAX_NAMED
from lm_pipeline.corpus.text.words import count, segment
from lm_pipeline.specs.dataset import Decontamination
from tests.unit.corpus.contamination.contamination_search import SPEC, report, search, sentence


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("form", ["paragraph", "line", "alone"])
def test_every_planted_item_is_found_and_named_and_clean_text_is_not(language: str, form: str) -> None:
    generator = np.random.default_rng(1)
    evaluation = [sentence(generator, int(num), language) for num in generator.integers(3, 120, 300)]
    joint = {"paragraph": "\n\n", "line": "\n", "alone": ""}[form]
    training = []
    for item in evaluation:
        around = [sentence(generator, 40, language) for _ in range(4)] if joint else []
        training.append(joint.join([*around[:2], item.upper() if len(training) % 2 else item, *around[2:]]))
    clean = ["\n".join(sentence(generator, 40, language) for _ in range(3)) for _ in range(300)]
    hits, counts = search(evaluation, [*training, *clean])
    assert {hit["document_id"] for hit in hits} == {f"t{row}" for row in range(300)}
    assert all(hit["evaluation_document_id"][1:] == hit["document_id"][1:] for hit in hits)
    short = count(evaluation) < 2 * (SPEC.ngram_characters if language == "zh" else SPEC.ngram)
    assert counts["short_items"] == short.sum()
    assert counts["unsearchable_items"] == 0


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("first", "last"), [(0, 40), (5, 30)])
@pytest.mark.parametrize("form", ["inside a line", "across lines"])
def test_every_item_inside_a_long_paragraph_is_found(language: str, first: int, last: int, form: str) -> None:
    generator = np.random.default_rng(5)
    evaluation = [sentence(generator, 40, language) for _ in range(200)]
    training = []
    for item in evaluation:
        words = segment(item)[first:last]
        joint = "" if language == "zh" else " "
        planted = joint.join(words)
        if form == "across lines":
            planted = f"{joint.join(words[:11])}\n\n{joint.join(words[11:])}"
        before, after = (sentence(generator, 150, language).rstrip(".。") for _ in range(2))
        training.append(joint.join([before, planted, after]))
    hits, _ = search(evaluation, [*training, *(sentence(generator, 300, language) for _ in range(200))])
    named = [(hit["document_id"], hit["evaluation_document_id"]) for hit in hits]
    assert named == [(f"t{row}", f"e{row}") for row in range(200)]


def test_a_document_names_every_item_that_it_repeats() -> None:
    generator = np.random.default_rng(6)
    items = [sentence(generator, 40, "en") for _ in range(5)]
    hits, _ = search(items, [f"Intro. {items[3]} {items[1]} and more", items[4]])
    assert [(hit["document_id"], hit["evaluation_document_id"]) for hit in hits] == [
        ("t0", "e3"),
        ("t0", "e1"),
        ("t1", "e4"),
    ]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_common_phrase_alone_is_no_hit(language: str) -> None:
    generator = np.random.default_rng(7)
    phrase = sentence(generator, 22, language).rstrip(".。")

    def around(num: int) -> str:
        before, after = (sentence(generator, num, language) for _ in range(2))
        return f"{before} {phrase} {after}"

    evaluation = [around(60)]
    common = [around(60) for _ in range(SPEC.max_documents + 1)]
    assert search(evaluation, common)[0] == []
    assert len(search(evaluation, common[1:])[0]) == SPEC.max_documents
    # As a paragraph of its own it is one, and so is an item most of which is the phrase.
    (hit,) = search(evaluation, [*common, f"{around(60).replace(phrase, '')}\n\n{phrase}"])[0]
    assert (hit["document_id"], hit["overlap"]) == (f"t{len(common)}", 1.0)
    item = phrase + " " + sentence(generator, 20, language)
    hits = search([item], common, SPEC.model_copy(update={"min_overlap": 0.1}))[0]
    assert len(hits) == len(common)


def test_a_common_phrase_is_hit_at_half_of_a_paragraphs_ngrams() -> None:
    words = [f"w{number}" for number in range(1000)]
    evaluation = " ".join(words)
    spec = Decontamination(max_documents=0)

    def overlap(num_shared: int) -> list[float]:
        paragraph = " ".join(words[:num_shared] + [f"x{number}" for number in range(62 - num_shared)])
        return [hit["overlap"] for hit in search([evaluation], [paragraph], spec)[0]]

    # 62 words have 50 n-grams of 13 words; 37 shared words have 25.
    assert overlap(37) == [0.5]
    assert overlap(36) == []
    assert overlap(62) == [1.0]


def test_an_ngram_of_mostly_han_characters_is_longer_whatever_stands_around_it() -> None:
    generator = np.random.default_rng(8)
    text = sentence(generator, 60, "zh")
    for num, expected in ((19, []), (20, ["t0"])):
        training = f"GPT {sentence(generator, 30, 'zh')} {text[7 : 7 + num]} model 2 {sentence(generator, 30, 'en')}"
        assert [hit["document_id"] for hit in search([text], [training])[0]] == expected
    with pytest.raises(ValueError, match="must not be the shorter ones"):
        Decontamination(ngram=13, ngram_characters=8)


def test_ngrams_without_a_letter_do_not_count() -> None:
    numbers = " ".join(str(number) for number in range(40))
    hits, counts = search([numbers, "1 2 3 4", "ab"], [numbers, "1 2 3 4", "ab"])
    assert hits == []
    assert counts == {
        "ngrams": 0,
        "short_items": 0,
        "evaluation_documents": 3,
        "unsearchable_items": 3,
        "repeated_items": 0,
    }
    text = " ".join(f"w{number}" for number in range(30))
    hits, _ = search([f"{text} {text.upper()[:-1]} {numbers} ."], [f"{numbers} {text}"])
    # The 12 + 18 n-grams with a letter that begin before and in the text; 18 of them stand in it.
    assert [hit["overlap"] for hit in hits] == pytest.approx([18 / 30])


def test_a_hit_shows_the_words_as_the_training_document_writes_them() -> None:
    text = "The quick brown fox jumps over the lazy dog while thirteen grey cats look on, amused. " * 2
    hits, _ = search([f"Intro. {text}", text], [f"Something.\n\n{text.replace(' over', chr(10) + 'over')}"])
    assert [hit["evaluation_document_id"] for hit in hits] == ["e0", "e1"]
    assert {hit["ngram"] for hit in hits} == {"The quick brown fox jumps over the lazy dog while thirteen grey cats"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_evaluation_document_that_has_a_common_text_is_named(language: str) -> None:
    generator = np.random.default_rng(9)
    shared, own = sentence(generator, 25, language), [sentence(generator, 60, language) for _ in range(4)]
    evaluation = [f"{shared} {text}" for text in own] + [sentence(generator, 60, language)]
    training = [
        f"{sentence(generator, 30, language)} {shared}",
        f"{sentence(generator, 30, language)} {own[2]} {shared}",
        sentence(generator, 60, language),
    ]
    hits, items, counts = report(evaluation, training)
    pairs = [(hit["document_id"], hit["evaluation_document_id"]) for hit in hits]
    # Where they repeat at one place, evaluation documents come in their own order; e2 is repeated earlier in t1.
    assert pairs == [
        *(("t0", f"e{row}") for row in range(4)),
        *(("t1", f"e{row}") for row in (2, 0, 1, 3)),
    ]
    assert [item["num_documents"] for item in items] == [2, 2, 2, 2, 0]
    assert [item["first_document_id"] for item in items] == ["t0"] * 4 + [None]
    most = [max(hit["overlap"] for hit in hits if hit["evaluation_document_id"] == f"e{row}") for row in range(4)]
    assert [item["max_overlap"] for item in items] == [*most, 0]
    assert counts["repeated_items"] == 4


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_text_of_very_many_evaluation_documents_is_counted_for_each_and_names_the_most_repeated(
    language: str,
) -> None:
    generator = np.random.default_rng(10)
    licence = sentence(generator, 120, language)
    num = 5 * MAX_NAMED
    evaluation = [f"{licence}\n\n{sentence(generator, 50, language)}" for _ in range(num)]
    body = [sentence(generator, 50, language) for _ in range(30)]
    hits, items, counts = report(evaluation, [f"{licence}\n\n{text}" for text in body] + [evaluation[num - 1]])
    assert {item["num_documents"] for item in items} == {31}
    assert {hit["num_evaluation_documents"] for hit in hits} == {num}
    assert counts["repeated_items"] == num
    named = [hit["evaluation_document_id"] for hit in hits if hit["document_id"] == "t30"]
    assert len(named) == MAX_NAMED
    assert f"e{num - 1}" in named


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_overlap_is_the_largest_also_where_a_rarer_ngram_of_the_same_owner_shows_the_hit(language: str) -> None:
    generator = np.random.default_rng(12)
    common, rare, *others = (sentence(generator, num, language).rstrip(".。") for num in (60, 22, 200, 200, 300))
    evaluation = f"{common}\n\n{rare} {others[0]}"
    training = f"{common}\n\n{others[1]} {rare} {others[2]}"
    around = [f"{common}\n\n{sentence(generator, 50, language)}" for _ in range(SPEC.max_documents + 1)]
    hits, items, _ = report([evaluation], [training, *around])
    assert [hit["overlap"] for hit in hits] == [1.0] * (len(around) + 1)
    assert hits[0]["ngram"].split() == rare.split()[: SPEC.ngram] or hits[0]["ngram"] == rare[: SPEC.ngram_characters]
    assert items[0]["max_overlap"] == 1.0


@pytest.mark.parametrize("max_documents", [0, 2, 1000])
def test_pairs_are_those_of_a_plain_comparison_of_all_documents(max_documents: int) -> None:
    generator = np.random.default_rng(11)
    spec = Decontamination(ngram=3, ngram_characters=3, max_documents=max_documents)

    def document() -> list[str]:
        return [f"w{number}" for number in generator.integers(0, 9, generator.integers(6, 14))]

    def ngrams(words: list[str]) -> list[tuple[str, ...]]:
        return [tuple(words[at : at + 3]) for at in range(len(words) - 2)]

    evaluation, training = [document() for _ in range(60)], [document() for _ in range(80)]
    everything = {ngram for words in evaluation for ngram in ngrams(words)}
    in_documents = Counter(ngram for words in training for ngram in set(ngrams(words)))
    expected = {}
    for row, words in enumerate(training):
        of_paragraph = sum(ngram in everything for ngram in ngrams(words)) / len(ngrams(words))
        for item, others in enumerate(evaluation):
            same = set(ngrams(words)) & set(ngrams(others))
            overlap = max(of_paragraph, len(same) / len(set(ngrams(others))))
            if same and (overlap >= 0.5 or any(in_documents[ngram] <= max_documents for ngram in same)):
                expected[f"t{row}", f"e{item}"] = overlap
    hits, _ = search([" ".join(words) for words in evaluation], [" ".join(words) for words in training], spec)
    found = {(hit["document_id"], hit["evaluation_document_id"]): hit["overlap"] for hit in hits}
    assert found == pytest.approx(expected)
    assert len(expected) > 100


def test_a_hash_collision_is_no_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_pipeline.corpus.contamination import text_matches, text_ngrams

    def collide(words: np.ndarray, ngram: int) -> np.ndarray:
        return np.full(max(0, len(words) - ngram + 1), 7, np.uint64)

    for module in (text_matches, text_ngrams):
        monkeypatch.setattr(module, "ngram_hashes", collide)
    monkeypatch.setattr(text_matches, "_find_items", text_matches._find_items.py_func)
    left, right = (" ".join(f"{prefix}{number}" for number in range(40)) for prefix in "ab")
    assert search([left], [right])[0] == []
    assert len(search([left], [left])[0]) == 1
    assert search(["a short item"], ["of other words"])[0] == []


def test_nothing_to_search_for_or_in_is_no_error() -> None:
    assert search([], ["some text of a few words"])[0] == []
    assert search(["some text of a few words"], [])[0] == []
    assert search(["words enough for one item"], ["", "\n\n", "...", "one"])[0] == []


def test_batches_do_not_change_what_is_found() -> None:
    generator = np.random.default_rng(2)
    evaluation = [sentence(generator, 30, "en") for _ in range(30)]
    training = [sentence(generator, 20, "zh") for _ in range(9000)]
    for row in range(30):
        training[row * 300 + 7] = evaluation[row]
    hits, _ = search(evaluation, training)
    expected = [(f"t{row * 300 + 7}", f"e{row}") for row in range(30)]
    assert [(hit["document_id"], hit["evaluation_document_id"]) for hit in hits] == expected


@pytest.mark.parametrize("language", ["en", "zh"])
def test_memory_of_a_search_does_not_grow_with_the_training_text(language: str) -> None:
    """15 MB of Chinese and 26 of English: looked at in one piece, their words and n-grams take 365 MB and more."""
    generator = np.random.default_rng(3)
    training = [sentence(generator, 3000, language) for _ in range(1600)]
    search(training[:1], training[:1])  # tables of characters are made once
    tracemalloc.start()
    search(training[:1], training)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 220e6
