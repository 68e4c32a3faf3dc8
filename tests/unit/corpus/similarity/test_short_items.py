import numpy as np
import pytest

from lm_pipeline.corpus.text.words import count
from tests.unit.corpus.contamination.contamination_search import SPEC, Text, report, search, sentence


@pytest.mark.parametrize(("language", "fewest", "ngram"), [("en", 8, 13), ("zh", 10, 20)])
def test_a_short_item_inside_a_line_is_found_from_a_length_on(language: str, fewest: int, ngram: int) -> None:
    generator = np.random.default_rng(14)
    joint = "" if language == "zh" else " "
    items = [sentence(generator, num, language) for num in range(4, ngram) for _ in range(10)]
    planted = [
        joint.join([sentence(generator, 70, language), item, sentence(generator, 70, language)]) for item in items
    ]
    hits, _ = search(items, planted)
    found = [row for row in range(len(items)) if count(items[row : row + 1])[0] >= fewest]
    assert [hit["document_id"] for hit in hits] == [f"t{row}" for row in found]
    assert [hit["evaluation_document_id"] for hit in hits] == [f"e{row}" for row in found]
    assert {hit["overlap"] for hit in hits} == {1.0}
    assert {hit["ngram"] for hit in hits} == {items[row].rstrip(".。") for row in found}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_short_item_is_found_before_its_options_and_across_lines(language: str) -> None:
    question, options, other = {
        "en": (
            "Which river runs through the capital of France?",
            "A. the Rhine B. the Seine which is not so long C. the Loire D. none of those above, which are named",
            "Which river runs through the capital of Poland?",
        ),
        "zh": (
            "流经法国首都的是什么河？",
            "甲、莱茵河，乙、塞纳河，丙、卢瓦尔河，丁、以上各项都不是，请从中选择一项。",
            "流经波兰首都的是什么河？",
        ),
    }[language]
    half = question.index({"en": "the", "zh": "的"}[language])
    broken = f"{options} {question[:half]}\n\n{question[half:]} {options}"
    hits, _ = search([question], [f"{question} {options}", f"{other} {options}", broken])
    assert [hit["document_id"] for hit in hits] == ["t0", "t2"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_short_item_that_many_documents_have_is_a_phrase(language: str) -> None:
    generator = np.random.default_rng(15)
    item = sentence(generator, 12, language)
    around = [f"{sentence(generator, 40, language)} {item} {sentence(generator, 40, language)}" for _ in range(11)]
    assert search([item], around)[0] == []
    assert len(search([item], around[1:])[0]) == SPEC.max_documents
    (hit,) = search([item], [*around, item])[0]
    assert hit["document_id"] == "t11"


def test_short_items_must_cover_half_of_a_paragraphs_words() -> None:
    item = "What is the capital of France?"
    hits, _ = search(
        [item], [f"Question: {item} Paris", f"{item} " + "other words " * 10, "what IS the\ncapital of france"]
    )
    assert [(hit["document_id"], hit["ngram"]) for hit in hits] == [
        ("t0", "What is the capital of France"),
        ("t2", "what IS the capital of france"),
    ]
    assert hits[0]["overlap"] == pytest.approx(6 / 8)
    together, _ = search([item, "It is Paris."], [f"{item} It is Paris. One two three four"])
    assert together[0]["overlap"] == pytest.approx(9 / 13)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_questions_are_found_with_and_without_their_answers_and_short_answers_alone_are_not(language: str) -> None:
    generator = np.random.default_rng(13)
    question, answer, other = {
        "en": ("Which river runs through the capital of France?", "It is the Seine", "Name a river in Paris."),
        "zh": ("流经法国首都巴黎的是哪一条河？", "是塞纳河", "巴黎的河叫什么？"),
    }[language]
    long_answer = sentence(generator, 30, language)
    training: list[Text] = [
        question,
        f"{question} {answer}",
        (question, other),
        (other, long_answer),
        f"{other} {long_answer}",
        answer,
        (other, answer),
        sentence(generator, 60, language),
    ]
    hits, items, counts = report([(question, answer), ("?", long_answer), ("1", "2")], training)
    named = [(hit["document_id"], hit["evaluation_document_id"]) for hit in hits]
    assert named == [("t0", "e0"), ("t1", "e0"), ("t2", "e0"), ("t3", "e1"), ("t4", "e1")]
    assert [item["searchable"] for item in items] == [True, True, False]
    assert counts["unsearchable_items"] == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_short_item_of_a_paragraph_is_named_equal_and_nested_ones_too(language: str) -> None:
    question, longer, other = {
        "en": ("What is the capital", "What is the capital of France?", "Who wrote Hamlet?"),
        "zh": ("法国的首都", "法国的首都是哪里？", "谁写了红楼梦？"),
    }[language]
    evaluation = [longer, question, other, longer.upper()]
    hits, items, _ = report(evaluation, [f"{longer} {other}"])
    assert [hit["evaluation_document_id"] for hit in hits] == ["e0", "e1", "e3", "e2"]
    assert {hit["overlap"] for hit in hits} == {1.0}
    assert [item["num_documents"] for item in items] == [1, 1, 1, 1]
