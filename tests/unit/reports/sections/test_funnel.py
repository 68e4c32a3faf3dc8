"""Accounting in the funnel."""

from lm_pipeline.reports.blocks import Funnel, Paragraph, Table
from lm_pipeline.reports.sections.funnel import corpus_funnel, dataset_funnel


def warnings(blocks) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Paragraph) and block.tone == "warning"]


def test_numbers_that_add_up_are_said_to(report_data):
    blocks = dataset_funnel("mixed", report_data.splits, list(report_data.corpora.values()))
    assert not warnings(blocks)
    assert "14,194 documents = 10,781 train + 842 validation + 842 test" in blocks[-1].text


def test_a_record_that_vanished_is_a_warning_with_its_count():
    blocks = corpus_funnel("c", {"records_in": 10, "kept": 7, "rejected": 1, "quarantined": 1})
    (text,) = warnings(blocks)
    assert "a difference of 1" in text


def test_documents_that_vanished_between_corpora_and_splits_are_a_warning(report_data):
    splits = {**report_data.splits, "train": report_data.splits["train"] - 3}
    (text,) = warnings(dataset_funnel("mixed", splits, list(report_data.corpora.values())))
    assert "a difference of 3" in text


def test_rules_that_overlap_are_explained():
    summary = {"records_in": 5, "kept": 3, "rejected": 2, "quarantined": 0, "reasons": {"a": 2, "b": 1}}
    assert any("several rules" in block.text for block in corpus_funnel("c", summary) if isinstance(block, Paragraph))


def test_what_rules_took_out_of_documents_is_shown_by_rule_the_most_first():
    counts = {"removals": {"citation": 3, "page_labels": 2}, "removed_characters": {"citation": 9, "page_labels": 41}}
    (table,) = [block for block in corpus_funnel("c", {"characters_in": 1000, **counts}) if isinstance(block, Table)]
    assert table.rows == (("page_labels", "2", "41", "4.1 %"), ("citation", "3", "9", "0.9 %"))


def test_an_empty_corpus_has_empty_bars():
    (funnel, *_) = corpus_funnel("c", {"records_in": 0, "kept": 0, "rejected": 0, "quarantined": 0})
    assert isinstance(funnel, Funnel)
    assert all(row.fraction == 0 for row in funnel.rows)
