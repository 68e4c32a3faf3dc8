"""The report page: complete, self-contained, escaped, the same every time."""

import dataclasses
from html.parser import HTMLParser

import pytest

from lm_pipeline.reports.report import SECTIONS, write_report

VOID = {"meta", "link", "line", "circle", "polyline", "br", "img"}
LOADS = {"src", "href", "srcset", "data", "poster", "action", "xlink:href"}


class Page(HTMLParser):
    """The page's tags, attributes and text; refuses tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def html(report_data, tmp_path) -> str:
    write_report(report_data, tmp_path)
    return (tmp_path / "report.html").read_text("utf-8")


@pytest.fixture
def page(html) -> Page:
    return Page(html)


def test_nothing_is_loaded_from_anywhere(html, page):
    for tag, attributes in page.tags:
        for name in LOADS & attributes.keys():
            assert attributes[name].startswith(("#", "data:")), (tag, attributes)
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html
    assert "<script" not in html


def test_what_a_model_wrote_is_text_and_never_markup(page):
    assert "<script>alert('x')</script> & \"quoted\" <b>not bold</b>" in page.text
    assert not page.all("script")
    assert not page.all("b")


@pytest.mark.parametrize("place", ["experiment", "description", "reason", "spec", "path"])
def test_hostile_names_are_escaped_wherever_they_stand(report_data, tmp_path, place):
    evil = '"><img src=x onerror=alert(1)>'
    data = report_data
    if place == "experiment":
        data = dataclasses.replace(data, experiment=evil)
    elif place == "description":
        data = dataclasses.replace(data, spec={**data.spec, "description": evil})
    elif place == "reason":
        corpus = {**data.corpora["python_docs"], "reasons": {evil: 3}}
        data = dataclasses.replace(data, corpora={**data.corpora, evil: corpus})
    elif place == "spec":
        data = dataclasses.replace(data, spec={**data.spec, "model": {"family": evil, evil: evil}})
    else:
        data.lineage[-1]["files"][0]["path"] = evil
    write_report(data, tmp_path)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert not page.all("img")
    assert evil in page.text


def test_every_section_is_there_and_linked(page):
    ids = {attributes["id"] for attributes in page.all("section")}
    links = {attributes["href"] for attributes in page.all("a")}
    for section in SECTIONS:
        assert section.anchor in ids
        assert f"#{section.anchor}" in links
        assert section.title in page.text


def test_headline_compares_with_both_baselines(page):
    for text in ("1.873", "95 % interval 1.843 – 1.905", "31.0 % fewer bits", "Unigram baseline (2.714)"):
        assert text in page.text
    assert "3.6 % fewer bits than the Kneser-Ney 5-gram baseline (1.942)" in page.text


def test_chinese_text_is_shown_as_chinese(page):
    assert "为了保护公民、法人和其他组织的合法权益" in page.text
    assert {"lang": "zh-Hans"} in page.all("blockquote")
    assert page.all("html")[0]["lang"] == "en"


def test_prompt_is_shown_once(page):
    assert page.text.count("The list is sorted in place") == 1


def test_plots_and_tables_can_be_read_without_seeing_them(page):
    plots = [attributes for attributes in page.all("svg") if attributes.get("role") == "img"]
    assert len(plots) == 4
    assert all(len(attributes["aria-label"]) > 40 for attributes in plots)
    assert len(page.all("caption")) == len(page.all("table")) > 10
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1


def test_ids_are_unique(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_lineage_names_raw_files_with_their_whole_digest(page):
    assert "法律/laws.db" in page.text
    assert "f" * 64 in page.text
    assert "c" * 40 in page.text


def test_same_data_gives_the_same_bytes(report_data, tmp_path):
    pages = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_report(report_data, tmp_path / name)
        pages.append((tmp_path / name / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_summary_repeats_the_headline(report_data, tmp_path):
    summary = write_report(report_data, tmp_path)
    assert summary["bits_per_byte"] == 1.873
    assert summary["baselines"] == {"Unigram": 2.714, "Kneser-Ney 5-gram": 1.942}
    assert summary["num_bytes"] == (tmp_path / "report.html").stat().st_size


def test_a_counted_model_has_no_curve_and_says_so(report_data, tmp_path):
    spec = {**report_data.spec, "model": {"family": "ngram", "order": 5}}
    data = dataclasses.replace(report_data, spec=spec, samples=[])
    counted = {**data.training, "num_parameters": 812_331, "flops_per_token": 0, "best_validation_loss": 4.861}
    data = dataclasses.replace(data, curve=[{"step": 1, "validation_loss": 4.861}], training=counted)
    write_report(data, tmp_path)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "counted in one pass" in page.text
    assert "No samples were asked for." in page.text
    assert "Its loss on all validation documents is 4.861" in page.text
    assert "812,331" in page.text
    assert "learning rate" not in page.text
    assert "Floating-point operations" not in page.text


def test_a_training_with_trouble_shows_it(report_data, tmp_path):
    training = {**report_data.training, "resumed_from": [400], "skipped_steps": [31, 32], "rollbacks": 1}
    write_report(dataclasses.replace(report_data, training=training), tmp_path)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "31, 32" in page.text
    assert "Resumed from steps" in page.text


def test_what_was_not_measured_is_a_dash_and_no_zero(report_data, tmp_path):
    data = dataclasses.replace(report_data, evaluation={}, baselines={}, training={}, corpora={}, lineage=[])
    write_report(data, tmp_path)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "No lineage was recorded." in page.text
    assert "–" in page.text
