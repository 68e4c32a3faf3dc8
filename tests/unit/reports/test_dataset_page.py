from lm_pipeline.reports.dataset_page import write_dataset_page

FATES = {"exact": 2, "near": 1, "repeated": 0, "low_quality": 0, "contaminated": 1, "bridging": 0}
SPLITS = {"documents_in": 20, "train": 12, "validation": 2, "test": 2, **FATES, "per_corpus": {}, "bytes": {}}
EXAMPLE = {
    "kind": "near",
    "similarity": 0.91,
    "corpus": "news",
    "document_id": "a" * 32,
    "excerpt": "<b>第一条 为了规范",
    "kept_document_id": "b" * 32,
    "kept_corpus": "law",
    "kept_excerpt": "第一条 为了规范市场",
}
HIT = {
    "document_id": "c" * 32,
    "evaluation_document_id": "d" * 32,
    "evaluation_corpus": "law",
    "ngram": "the same <i>thirteen words",
    "overlap": 0.75,
    "num_evaluation_documents": 3,
}
ITEM = {
    "document_id": "e" * 32,
    "corpus": "bench<mark>",
    "num_documents": 1234,
    "first_document_id": "f" * 32,
    "max_overlap": 0.5,
}
SEARCHED = {"evaluation_documents": 4321, "repeated_items": 98, "unsearchable_items": 7}


def test_duplicates_stand_side_by_side_and_everything_is_escaped(tmp_path):
    unique = {"matrix": [["news", "law", 3, 120]], "examples": [EXAMPLE], "num_clusters": 3, "largest_cluster": 2}
    write_dataset_page("mine", unique, SPLITS | {"decontamination": SEARCHED}, [HIT], [ITEM], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    for shown in (
        "a" * 32,
        "b" * 32,
        "c" * 32,
        "第一条 为了规范市场",
        "&lt;b&gt;",
        "&lt;i&gt;thirteen",
        "0.91",
        "0.75",
        "and 2 more",
        "e" * 32,
        "f" * 32,
        "1,234",
        "bench&lt;mark",
        "98 of 4,321 evaluation documents are repeated",
        "7 cannot be found",
    ):
        assert shown in page
    assert "<b>" not in page
    assert "<i>thirteen" not in page
    assert "Every one is accounted for" in page


def test_a_dataset_without_duplicates_or_contamination_has_a_page(tmp_path):
    splits = {**SPLITS, **dict.fromkeys(FATES, 0), "train": 16}
    write_dataset_page("mine", {"matrix": [], "examples": []}, splits, [], [], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Where every document went" in page
    assert "Duplicates" not in page.split("<main>")[1].split("Exact duplicates")[0]


def test_documents_that_do_not_add_up_are_said_to_be_so(tmp_path):
    write_dataset_page("mine", {}, {**SPLITS, "train": 11}, [], [], tmp_path / "page.html")
    assert "do not add up" in (tmp_path / "page.html").read_text("utf-8")
