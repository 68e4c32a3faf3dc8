import json
import tempfile
import zipfile
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus import documents
from lm_pipeline.corpus.cleaning import document_id
from lm_pipeline.corpus.decisions import decide_part
from lm_pipeline.corpus.document_tables import DOCUMENTS, ROW_DIGEST, STATISTICS, TABLES, row_digests, sum_digests
from lm_pipeline.corpus.documents import (
    CleanPart,
    Slice,
    clean_part,
    merge_summaries,
    plan_parts,
    read_documents,
    read_plan,
    read_rejected,
    write_plan,
)
from lm_pipeline.corpus.raw_files import RawFile
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.digests import digest_file
from lm_pipeline.errors import InputError
from lm_pipeline.specs.cleaning import Cleaning, LineRules
from lm_pipeline.specs.corpus import CorpusSpec, PathSource, TextFormat

ENGLISH = (
    "The river that runs through the town is old, and people have walked along it to work with their children. " * 3
)
CHINESE = "这条河流过小镇已经有很多年了。人们每天沿着河边走去上班，孩子们在水里玩耍，老人坐在树下说话。" * 2
SPEC = CorpusSpec(source=PathSource(path="."))
LINES = CorpusSpec(source=PathSource(path="."), format=TextFormat(unit="line"), cleaning=Cleaning(profile="none"))


def raw(folder, **contents):
    """Raw files `<name>.txt`, or `<name>.jsonl` for lists of texts, with these contents, by path."""
    files = {}
    for name, content in contents.items():
        suffix, data = ("jsonl", json_lines(content)) if isinstance(content, list) else ("txt", content)
        path = folder / f"{name}.{suffix}"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        files[path.name] = RawFile(path.name, path.stat().st_size, digest_file(path), path)
    return files


def json_lines(texts):
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


def clean(files, spec, folder, parts=None):
    """Clean all parts and decide on their documents. Returns their folders and the merged summary."""
    folders, summaries = [], []
    for number, part in enumerate(parts or plan_parts(list(files.values()), spec)):
        folders.append(folder / str(number))
        folders[-1].mkdir(parents=True)
        summaries.append(clean_part("notes", part, files, spec, folders[-1]))
        statistics, decisions = folders[-1] / "statistics.parquet", folders[-1] / "decisions.parquet"
        summaries.append(decide_part(statistics, spec.cleaning, decisions))
    return folders, merge_summaries(summaries)


def table(folders, name="documents"):
    return [folder / f"{name}.parquet" for folder in folders]


def clean_of(folders):
    return [CleanPart(*(folder / f"{name}.parquet" for name in PART_FILES)) for folder in folders]


PART_FILES = ("documents", "statistics", "decisions")


def test_a_part_has_the_documented_columns(tmp_path):
    files = raw(tmp_path, a=[ENGLISH, "short"])
    (folder,), _ = clean(files, SPEC, tmp_path)
    for name, schema in TABLES.items():
        assert pl.read_parquet_schema(folder / f"{name}.parquet") == schema


def test_each_document_gets_the_profile_of_its_language(tmp_path):
    files = raw(tmp_path, a=[ENGLISH, CHINESE])
    folders, summary = clean(files, SPEC, tmp_path)
    rows = read_documents(clean_of(folders)).collect()
    assert rows["profile"].to_list() == ["english", "chinese"]
    assert rows["language"].to_list() == ["en", "zh"]
    assert summary["languages"] == {"en": 1, "zh": 1}
    assert rows["num_bytes"].to_list() == [len(text.strip().encode()) for text in (ENGLISH, CHINESE)]
    assert rows["document_id"].to_list() == [document_id("notes", "a.jsonl", record) for record in (0, 1)]


@pytest.mark.parametrize(("language", "profile"), [("en", "english"), ("zh", "chinese")])
def test_a_declared_language_overrides_identification(tmp_path, language, profile):
    spec = SPEC.model_copy(update={"language": language})
    (folder,), _ = clean(raw(tmp_path, a=[ENGLISH, CHINESE, "123"]), spec, tmp_path)
    rows = pl.read_parquet(folder / "statistics.parquet")
    assert len(rows) == 3
    assert set(rows["language"]) == {language}
    assert set(rows["language_confidence"]) == {1.0}
    assert set(rows["profile"]) == {profile}


def test_a_rejected_document_keeps_its_text_and_all_its_reasons(tmp_path):
    (folder,), summary = clean(raw(tmp_path, a=["太短。", "Too short."]), SPEC, tmp_path)
    rejected = read_rejected(clean_of([folder])).collect()
    assert rejected["text"].to_list() == ["太短。", "Too short."]
    assert [[reason["rule"] for reason in reasons] for reasons in rejected["reasons"].to_list()] == [
        ["gopher_short_doc", "gopher_below_alpha_threshold", "gopher_too_few_stop_words"],
        ["gopher_short_doc", "gopher_too_few_stop_words"],
    ]
    assert summary["reasons"]["gopher_short_doc"] == 2


def test_the_same_input_gives_the_same_bytes(tmp_path):
    files = raw(tmp_path, a=[ENGLISH, CHINESE, "short"], b=b"bad \xff bytes", c=ENGLISH)
    first, _ = clean(files, SPEC, tmp_path / "first")
    second, _ = clean(files, SPEC, tmp_path / "second")
    for name in TABLES:
        assert [p.read_bytes() for p in table(first, name)] == [p.read_bytes() for p in table(second, name)]


def test_a_corpus_without_files_has_an_empty_summary_and_no_documents():
    assert plan_parts([], SPEC) == []
    assert merge_summaries([])["records_in"] == 0
    assert read_documents([]).collect().is_empty()
    assert read_rejected([]).collect().is_empty()
    assert set(merge_summaries([])["row_digests"].values()) == {"0" * 64}


def test_a_raw_file_that_changed_at_the_same_size_is_refused(tmp_path):
    files = raw(tmp_path, a="text one")
    (tmp_path / "a.txt").write_text("text two")
    with pytest.raises(InputError, match="materialize raw_documents again"):
        clean(files, SPEC, tmp_path)


MESSY_LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"",
                b"\r",
                b"   ",
                "　".encode(),
                ENGLISH.encode(),
                CHINESE.encode(),
                b"x" * 3000,
                b"\xff\xfe\xfd",
                b"a\0b",
            ]
        ),
        st.sampled_from(
            [b'{"text": "', b'{"text": 1}', b'{"text": "a"}', b'{"other": "a"}', b'{"text": "\\ud800"}', b"[1]"]
        ),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
        st.binary(max_size=20),
    ),
    max_size=12,
)
FORMATS = {
    "txt": [{"kind": "text", "unit": unit} for unit in ("file", "paragraph", "line")] + [{"kind": "auto"}],
    "jsonl": [{"kind": "auto"}],
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(MESSY_LINES, min_size=1, max_size=3),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([(suffix, kind) for suffix, kinds in FORMATS.items() for kind in kinds]),
)
def test_every_record_is_kept_rejected_or_quarantined(contents, line_end, form):
    suffix, kind = form
    spec = CorpusSpec.model_validate(
        {"source": {"kind": "path", "path": "."}, "format": kind, "cleaning": {"max_line_bytes": 2000}}
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {}
        for number, lines in enumerate(contents):
            data = line_end.join(lines)
            path = folder / f"{number}.{suffix}"
            path.write_bytes(data)
            files[path.name] = RawFile(path.name, len(data), digest_file(path), path)
        folders, summary = clean(files, spec, folder / "out")
        items = [item for file in files.values() for item in read_records(file, spec)]
        names = (*PART_FILES, "quarantine")
        heights = {name: sum(pq.read_metadata(path).num_rows for path in table(folders, name)) for name in names}
        clean_rows = [len(read(clean_of(folders)).collect()) for read in (read_documents, read_rejected)]
    assert heights["documents"] == heights["statistics"] == heights["decisions"] == sum(clean_rows)
    assert summary["records_in"] == len(items) == heights["documents"] + heights["quarantine"]
    assert [summary["kept"], summary["rejected"], summary["quarantined"]] == [*clean_rows, heights["quarantine"]]
    assert sum(summary["quarantine_reasons"].values()) == summary["quarantined"]
    assert sum(summary["languages"].values()) == summary["kept"]
    assert summary["characters_in"] == sum(summary[f"characters_{fate}"] for fate in ("kept", "rejected", "removed"))


def test_adding_a_file_plans_and_cleans_only_that_file(tmp_path):
    files = raw(tmp_path, b=ENGLISH, d=CHINESE)
    before = plan_parts(list(files.values()), SPEC)
    old, _ = clean(files, SPEC, tmp_path / "old", before)
    files |= raw(tmp_path, a="new", c="newer")
    after = plan_parts(list(files.values()), SPEC, before)
    assert after[: len(before)] == before
    assert [[piece.file for piece in part] for part in after[len(before) :]] == [["a.txt", "c.txt"]]
    new, _ = clean(files, SPEC, tmp_path / "new", after)
    assert table(new)[0].read_bytes() == table(old)[0].read_bytes()


@pytest.mark.parametrize("fate", ["changed", "removed"])
def test_a_changed_or_removed_file_replans_its_part_and_no_other(tmp_path, monkeypatch, fate):
    monkeypatch.setattr(documents, "PART_FILES", 2)
    files = raw(tmp_path, a="1", b="2", c="3", d="4")
    before = plan_parts(list(files.values()), SPEC)
    assert [[piece.file for piece in part] for part in before] == [["a.txt", "b.txt"], ["c.txt", "d.txt"]]
    del files["c.txt"]
    if fate == "changed":
        files |= raw(tmp_path, c="other")
    after = plan_parts(list(files.values()), SPEC, before)
    replanned = ["c.txt", "d.txt"] if fate == "changed" else ["d.txt"]
    assert after[0] == before[0]
    assert [[piece.file for piece in part] for part in after[1:]] == [replanned]


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), max_size=12), st.integers(0, 12))
def test_a_plan_covers_every_byte_of_every_file_once(sizes, num_before):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PART_BYTES", 100)
        files = list(raw(Path(name), **{f"f{i:02}": "x" * size for i, size in enumerate(sizes)}).values())
        before = plan_parts(files[:num_before], LINES)
        parts = plan_parts(files, LINES, before)
    slices = sorted((piece for part in parts for piece in part), key=lambda piece: (piece.file, piece.start))
    assert parts[: len(before)] == before
    for file in files:
        mine = [piece for piece in slices if piece.file == file.path]
        assert [piece.start for piece in mine] == [0, *(piece.end for piece in mine[:-1])]
        assert mine[-1].end is None
    assert len({piece.file for piece in slices}) == len(files)


def test_a_plan_survives_being_written(tmp_path):
    parts = [(Slice("a", "00"), Slice("河/b", "01", 5, 10)), (Slice("河/b", "01", 10),)]
    write_plan(parts, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == parts


def test_the_corpus_does_not_depend_on_how_it_was_cut(tmp_path, monkeypatch):
    words = [f"line {i} " + "河" * (i % 7) for i in range(400)]
    first = raw(tmp_path, b="\n".join(words), c="one\ntwo")
    files = first | raw(tmp_path, a="three\n\nfour", d="\r\n".join(words[:50]))
    whole, whole_summary = clean(files, LINES, tmp_path / "whole")
    assert len(whole) == 1
    monkeypatch.setattr(documents, "PART_BYTES", 1000)
    monkeypatch.setattr(documents, "BATCH_RECORDS", 7)
    before = plan_parts(list(first.values()), LINES)
    parts = plan_parts(list(files.values()), LINES, before)
    assert len(parts) > 5
    cut, cut_summary = clean(files, LINES, tmp_path / "cut", parts)
    assert read_documents(clean_of(cut)).collect().equals(read_documents(clean_of(whole)).collect())
    assert read_documents(clean_of(cut[::-1])).collect().equals(read_documents(clean_of(whole)).collect())
    assert cut_summary == whole_summary
    assert read_rejected(clean_of(cut)).collect().equals(read_rejected(clean_of(whole)).collect())


@pytest.mark.parametrize("name", ["table.csv", "array.json"])
def test_large_tables_and_arrays_are_cut_where_records_begin_and_are_looked_into_once(tmp_path, monkeypatch, name):
    rows = [f'第{n}行\nwith two lines, and "marks" ' + "字" * (n % 9) for n in range(300)]
    values = json.dumps([{"text": text} for text in rows], ensure_ascii=False, indent=1)
    table = "text\n" + "".join('"' + text.replace('"', '""') + '"\n' for text in rows)
    path = tmp_path / name
    path.write_text(table if name.endswith("csv") else values, "utf-8")
    file = RawFile(name, path.stat().st_size, digest_file(path), path)
    spec = SPEC.model_copy(update={"cleaning": Cleaning(profile="none")})
    whole, whole_summary = clean({name: file}, spec, tmp_path / "whole")
    monkeypatch.setattr(documents, "PART_BYTES", 2000)
    parts = plan_parts([file], spec)
    assert len(parts) > 5
    cut, cut_summary = clean({name: file}, spec, tmp_path / "cut", parts)
    assert cut_summary == whole_summary
    assert cut_summary["kept"] == 300
    assert read_documents(clean_of(cut[::-1])).collect().equals(read_documents(clean_of(whole)).collect())
    monkeypatch.setattr(documents, "ranges", lambda *_: pytest.fail("the file was looked into again"))
    assert plan_parts([file], spec, parts, read_alike=True) == parts


def test_the_digest_of_what_is_kept_is_that_of_its_rows(tmp_path):
    folders, summary = clean(raw(tmp_path, a=[ENGLISH, CHINESE, "short"]), SPEC, tmp_path / "out")
    rows = read_documents(clean_of(folders)).select(*DOCUMENTS, *STATISTICS).collect()
    assert f"{sum_digests(row_digests(rows)):064x}" == summary["row_digests"]["documents"]
    stored = pl.read_parquet(folders[0] / "statistics.parquet")[ROW_DIGEST]
    assert set(row_digests(rows)) == set(stored[:2])
    assert sum_digests(stored) == sum(int.from_bytes(digest, "little") for digest in stored) % 2**256
    assert sum_digests(stored[1:]) == sum(int.from_bytes(digest, "little") for digest in stored[1:]) % 2**256


def test_documents_are_read_by_file_and_record(tmp_path):
    first = raw(tmp_path, b=["x", "y"], d=["z"])
    files = first | raw(tmp_path, a=["p"], c=["q", "r"])
    spec = SPEC.model_copy(update={"cleaning": Cleaning(profile="none")})
    parts = plan_parts(list(files.values()), spec, plan_parts(list(first.values()), spec))
    folders, _ = clean(files, spec, tmp_path / "out", parts)
    rows = read_documents(clean_of(folders)).select("file", "record", "text").collect()
    assert rows.equals(rows.sort("file", "record"))
    assert rows["text"].to_list() == ["p", "x", "y", "q", "r", "z"]


def test_another_row_gives_another_digest(tmp_path):
    _, one = clean(raw(tmp_path, a="text one"), LINES, tmp_path / "one")
    _, two = clean(raw(tmp_path, a="text two"), LINES, tmp_path / "two")
    assert one["row_digests"]["documents"] != two["row_digests"]["documents"]


def test_real_prose_is_kept_in_both_languages(tmp_path, shared_data):
    paths = {"en": "small/lm/en/alice-in-wonderland.txt", "zh": "small/lm/zh/journey-to-the-west-ch1-20.txt"}
    texts = {name: (shared_data / path).read_text("utf-8") for name, path in paths.items()}
    passages = {name: [text[at : at + 2000] for at in range(0, len(text) - 2000, 2000)] for name, text in texts.items()}
    _, summary = clean(raw(tmp_path, **passages), SPEC, tmp_path / "out")
    assert summary["languages"] == {name: len(passages[name]) for name in passages}
    assert summary["rejected"] == summary["quarantined"] == 0


def test_a_whole_novel_is_too_long_to_be_one_document(tmp_path, shared_data):
    text = (shared_data / "small/lm/zh/journey-to-the-west-ch1-20.txt").read_bytes()
    _, summary = clean(raw(tmp_path, a=text), SPEC, tmp_path / "out")
    assert summary["reasons"] == {"gopher_long_doc": 1}


def test_documents_of_an_archive_are_kept_rejected_or_quarantined_under_their_own_paths(tmp_path):
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("z.jsonl", json_lines([ENGLISH, CHINESE]))
        archive.writestr("a/短.txt", "太短。")
        archive.writestr("bad.jsonl", "{")
    files = raw(tmp_path, a=[ENGLISH], c=[CHINESE])
    files["b.zip"] = RawFile("b.zip", path.stat().st_size, digest_file(path), path)
    folders, summary = clean(files, SPEC, tmp_path / "out")
    assert (summary["records_in"], summary["kept"], summary["rejected"], summary["quarantined"]) == (6, 4, 1, 1)
    rows = read_documents(clean_of(folders)).select("file", "record").collect()
    assert rows.rows() == [("a.jsonl", 0), ("b.zip//z.jsonl", 0), ("b.zip//z.jsonl", 1), ("c.jsonl", 0)]
    assert read_rejected(clean_of(folders)).collect()["file"].to_list() == ["b.zip//a/短.txt"]


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_lines_that_go_are_counted_and_the_characters_add_up(tmp_path, text):
    cleaning = Cleaning(lines=LineRules(), rules=())
    (folder,), summary = clean(
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
