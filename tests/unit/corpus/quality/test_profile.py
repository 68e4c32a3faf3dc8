import polars as pl
import pytest

from lm_pipeline.corpus.documents import CleanPart, Slice, clean_part
from lm_pipeline.corpus.quality.decisions import decide_part
from lm_pipeline.corpus.quality.profile import draw_documents, profile_corpus
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.digests import digest_file
from lm_pipeline.reports.corpus_page import write_corpus_page
from lm_pipeline.reports.inspecting import printable, profile_text, samples_text
from lm_pipeline.specs.cleaning import Cleaning
from lm_pipeline.specs.corpus import CorpusSpec, Fields, PathSource

NASTY = (
    "<script>alert(1)</script> & the text that people have read with it, and that is to be kept of the page \x1b[2J. "
)

FUNNEL = {
    "records_in": 44,
    "kept": 40,
    "rejected": 2,
    "quarantined": 2,
    "personal_data": {},
    "reasons": {"gopher_short_doc": 2},
}


@pytest.fixture
def cleaned(tmp_path):
    """Parts of a small corpus with addresses, in two files."""
    spec = CorpusSpec(source=PathSource(path="."), fields=Fields(url="url", title="url"))
    parts, quarantines = [], []
    for number in range(2):
        raw = tmp_path / f"{number}.jsonl"
        rows = [
            {"text": f"{NASTY * (3 + row)}{number} {row}", "url": f"https://www.Site{row % 3}.org/a?b"}
            for row in range(20)
        ]
        pl.DataFrame([*rows, {"text": "Too short.", "url": None}]).write_ndjson(raw)
        raw.write_text(raw.read_text("utf-8") + "{broken\n", "utf-8")
        file = RawFile(raw.name, raw.stat().st_size, digest_file(raw), raw)
        out = tmp_path / f"part{number}"
        out.mkdir()
        clean_part("nasty", (Slice(file.path, file.sha256),), {file.path: file}, spec, out)
        decide_part(out / "statistics.parquet", spec.cleaning, out / "decisions.parquet")
        parts.append(CleanPart(*(out / f"{name}.parquet" for name in ("documents", "statistics", "decisions"))))
        quarantines.append(out / "quarantine.parquet")
    return parts, quarantines


def test_domains_are_counted_without_www_and_case(cleaned):
    profile = profile_corpus(*cleaned)
    assert dict(profile["domains"]) == {"site0.org": 14, "site1.org": 14, "site2.org": 12}


def test_the_same_documents_are_drawn_in_whatever_order_parts_come(cleaned):
    parts, quarantines = cleaned
    one, other = profile_corpus(parts, quarantines), profile_corpus(parts[::-1], quarantines[::-1])
    assert one["samples"]["kept"] == other["samples"]["kept"]
    assert one["samples"]["rejected"] == other["samples"]["rejected"]
    assert one["distributions"] == other["distributions"]
    assert len(draw_documents(parts, 7)) == 7


def test_whatever_a_text_holds_page_and_terminal_show_it_and_do_not_obey(cleaned, tmp_path):
    parts, quarantines = cleaned
    profile = profile_corpus(parts, quarantines)
    summary = FUNNEL | {"characters_in": 9000, "removals": {"page_links": 7}, "removed_characters": {"page_links": 321}}
    write_corpus_page("nasty", summary, profile, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "invalid_json" in page
    assert "page_links" in page
    shown = samples_text(draw_documents(parts, 2))
    assert "<script>" in shown
    bad = {"file": "\x1b[31m恶意\x1b[0m.txt", "record": None, "byte_offset": None, "detail": "no field '\x1b]0;x\x07'"}
    shown += samples_text([{**bad, "excerpt": "\x9b"}])
    assert "\\x1b[31m恶意" in shown
    assert "\x07" not in shown
    assert "\x9b" not in shown
    numbers = profile_text({"corpus": "nasty", "summary": summary, "profile": profile})
    assert "\x1b" not in shown + numbers
    assert "page_links" in numbers
    assert printable("\x1b中\n") == "\\x1b中\n"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (("gopher_short_doc", 12.0, 50.0), "gopher_short_doc: 12, at least 50 is kept"),
        (("top_2_gram", 0.35, 0.256), "top_2_gram: 0.3500, at most 0.2560 is kept"),
        (("language", 0.98, None), "language: 0.9800"),
        (("菜单", None, None), "菜单"),
    ],
)
def test_a_reason_says_on_which_side_of_the_threshold_documents_are_kept(cleaned, reason, expected):
    sample = draw_documents(cleaned[0], 1)[0]
    sample["reasons"] = [dict(zip(("rule", "value", "threshold"), reason, strict=True))]
    assert f"   {expected}" in samples_text([sample]).splitlines()


def test_the_share_beside_a_language_says_of_what(cleaned):
    profile = profile_corpus(*cleaned)
    summary = FUNNEL | {"characters_in": 9000, "removals": {}, "removed_characters": {}}
    shown = profile_text({"corpus": "中文", "summary": summary, "profile": profile})
    assert "Share rejected" in shown
    assert "Documents by cleaning profile" in shown
    assert "chinese script" not in shown


@pytest.mark.parametrize(
    ("text", "label"),
    [("People walk along the river every day.", "Advertisement"), ("人们每天沿着河边走去上班。", "责任编辑：李四")],
)
def test_what_rules_took_out_of_a_document_is_shown_beside_it(tmp_path, text, label):
    raw, out = tmp_path / "a.html", tmp_path / "part"
    raw.write_text(f"<p>{text}</p><p>{label}</p><p>{text}</p>", "utf-8")
    spec = CorpusSpec(source=PathSource(path="."), cleaning=Cleaning(rules=()))
    file = RawFile(raw.name, raw.stat().st_size, digest_file(raw), raw)
    out.mkdir()
    summary = clean_part("pages", (Slice(file.path, file.sha256),), {file.path: file}, spec, out)
    summary |= decide_part(out / "statistics.parquet", spec.cleaning, out / "decisions.parquet")
    parts = [CleanPart(*(out / f"{name}.parquet" for name in ("documents", "statistics", "decisions")))]
    assert f"page_labels: {len(label) + 1} characters taken out" in samples_text(draw_documents(parts, 1))
    write_corpus_page("pages", summary, profile_corpus(parts, []), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8").count("page_labels") == 2  # of the corpus and of the document


def test_a_corpus_without_documents_has_a_page(tmp_path):
    profile = profile_corpus([], [])
    summary = {"records_in": 0, "kept": 0, "rejected": 0, "quarantined": 0, "personal_data": {}, "reasons": {}}
    write_corpus_page("empty", summary, profile, tmp_path / "page.html")
    assert ">empty</h1>" in (tmp_path / "page.html").read_text("utf-8")
