import polars as pl
import pytest

from lm_pipeline.corpus.cleaning import document_id
from lm_pipeline.corpus.document_tables import TABLES
from lm_pipeline.corpus.documents import read_documents, read_rejected
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.digests import digest_file
from lm_pipeline.errors import InputError
from lm_pipeline.specs.cleaning import Cleaning, LineRules
from tests.unit.corpus.documents.cleaned import CHINESE, ENGLISH, SPEC, cleaned, parts_of, raw, table


def test_a_part_has_the_documented_columns(tmp_path):
    files = raw(tmp_path, a=[ENGLISH, "short"])
    (folder,), _ = cleaned(files, SPEC, tmp_path)
    for name, schema in TABLES.items():
        assert pl.read_parquet_schema(folder / f"{name}.parquet") == schema


def test_each_document_gets_the_profile_of_its_language(tmp_path):
    files = raw(tmp_path, a=[ENGLISH, CHINESE])
    folders, summary = cleaned(files, SPEC, tmp_path)
    rows = read_documents(parts_of(folders)).collect()
    assert rows["profile"].to_list() == ["english", "chinese"]
    assert rows["language"].to_list() == ["en", "zh"]
    assert summary["languages"] == {"en": 1, "zh": 1}
    assert rows["num_bytes"].to_list() == [len(text.strip().encode()) for text in (ENGLISH, CHINESE)]
    assert rows["document_id"].to_list() == [document_id("notes", "a.jsonl", record) for record in (0, 1)]


@pytest.mark.parametrize(("language", "profile"), [("en", "english"), ("zh", "chinese")])
def test_a_declared_language_overrides_identification(tmp_path, language, profile):
    spec = SPEC.model_copy(update={"language": language})
    (folder,), _ = cleaned(raw(tmp_path, a=[ENGLISH, CHINESE, "123"]), spec, tmp_path)
    rows = pl.read_parquet(folder / "statistics.parquet")
    assert len(rows) == 3
    assert set(rows["language"]) == {language}
    assert set(rows["language_confidence"]) == {1.0}
    assert set(rows["profile"]) == {profile}


def test_a_rejected_document_keeps_its_text_and_all_its_reasons(tmp_path):
    (folder,), summary = cleaned(raw(tmp_path, a=["太短。", "Too short."]), SPEC, tmp_path)
    rejected = read_rejected(parts_of([folder])).collect()
    assert rejected["text"].to_list() == ["太短。", "Too short."]
    assert [[reason["rule"] for reason in reasons] for reasons in rejected["reasons"].to_list()] == [
        ["gopher_short_doc", "gopher_below_alpha_threshold", "gopher_too_few_stop_words"],
        ["gopher_short_doc", "gopher_too_few_stop_words"],
    ]
    assert summary["reasons"]["gopher_short_doc"] == 2


def test_the_same_input_gives_the_same_bytes(tmp_path):
    files = raw(tmp_path, a=[ENGLISH, CHINESE, "short"], b=b"bad \xff bytes", c=ENGLISH)
    first, _ = cleaned(files, SPEC, tmp_path / "first")
    second, _ = cleaned(files, SPEC, tmp_path / "second")
    for name in TABLES:
        assert [p.read_bytes() for p in table(first, name)] == [p.read_bytes() for p in table(second, name)]


def test_a_raw_file_that_changed_at_the_same_size_is_refused(tmp_path):
    files = raw(tmp_path, a="text one")
    (tmp_path / "a.txt").write_text("text two")
    with pytest.raises(InputError, match="materialize raw_documents again"):
        cleaned(files, SPEC, tmp_path)


def test_real_prose_is_kept_in_both_languages(tmp_path, shared_data):
    paths = {"en": "small/lm/en/alice-in-wonderland.txt", "zh": "small/lm/zh/journey-to-the-west-ch1-20.txt"}
    texts = {name: (shared_data / path).read_text("utf-8") for name, path in paths.items()}
    passages = {name: [text[at : at + 2000] for at in range(0, len(text) - 2000, 2000)] for name, text in texts.items()}
    _, summary = cleaned(raw(tmp_path, **passages), SPEC, tmp_path / "out")
    assert summary["languages"] == {name: len(passages[name]) for name in passages}
    assert summary["rejected"] == summary["quarantined"] == 0


def test_a_whole_novel_is_too_long_to_be_one_document(tmp_path, shared_data):
    text = (shared_data / "small/lm/zh/journey-to-the-west-ch1-20.txt").read_bytes()
    _, summary = cleaned(raw(tmp_path, a=text), SPEC, tmp_path / "out")
    assert summary["reasons"] == {"gopher_long_doc": 1}


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_lines_that_go_are_counted_and_the_characters_add_up(tmp_path, text):
    cleaning = Cleaning(lines=LineRules(), rules=())
    (folder,), summary = cleaned(
        raw(tmp_path, a=[f"  {text}\n\nEnable JavaScript now.\n{text}[1]", "Menu", text]),
        SPEC.model_copy(update={"cleaning": cleaning}),
        tmp_path / "out",
    )
    assert summary["removals"] == {"citation": 1, "javascript": 1, "too_few_words": 2}
    assert summary["removed_characters"] == {"citation": 3, "javascript": 23, "too_few_words": 5}
    rows = pl.read_parquet(folder / "statistics.parquet")
    assert rows["num_removed_characters"].to_list() == [27, 4, 0]
    assert summary["reasons"] == {"empty": 1, "too_short": 1}
    assert summary["characters_in"] == sum(summary[f"characters_{fate}"] for fate in ("kept", "rejected", "removed"))


@pytest.mark.parametrize(
    ("text", "label"), [(ENGLISH.strip(), "Share on Facebook"), (CHINESE.strip(), "责任编辑：李四")]
)
def test_what_rules_took_out_of_pages_is_counted_beside_lines_and_the_characters_add_up(tmp_path, text, label):
    page = (
        f"<html><body><h1>题 T</h1><p>{text}</p><p>{label}</p><p>Enable JavaScript now.</p><p>{text}</p></body></html>"
    )
    for name, content in {"a.html": page, "b.html": f"<p>{text}</p>", "c.txt": f"{text}\n{label}"}.items():
        (tmp_path / name).write_text(content, "utf-8")
    paths = sorted(tmp_path.iterdir())
    files = {path.name: RawFile(path.name, path.stat().st_size, digest_file(path), path) for path in paths}
    spec = SPEC.model_copy(update={"cleaning": Cleaning(lines=LineRules(min_words=0), rules=())})
    (folder,), summary = cleaned(files, spec, tmp_path / "out")
    assert summary["removals"] == {"javascript": 1, "page_headline": 1, "page_labels": 1}
    assert summary["removed_characters"] == {"javascript": 23, "page_headline": 4, "page_labels": len(label) + 1}
    rows = pl.read_parquet(folder / "statistics.parquet")
    assert rows["removals"].list.eval(pl.element().struct.field("rule")).to_list() == [
        ["page_headline", "page_labels", "javascript"],
        [],
        [],
    ]
    assert rows["num_removed_characters"].to_list() == [28 + len(label), 0, 0]
    read = sum(len(part) for part in (f"{text}\n\nEnable JavaScript now.\n\n{text}", text, f"{text}\n{label}"))
    assert summary["characters_in"] == read + 4 + len(label) + 1
    assert summary["characters_in"] == sum(summary[f"characters_{fate}"] for fate in ("kept", "rejected", "removed"))
