import zipfile

import polars as pl

from lm_pipeline.corpus.document_tables import DOCUMENTS, ROW_DIGEST, STATISTICS, row_digests, sum_digests
from lm_pipeline.corpus.documents import merge_summaries, plan_parts, read_documents, read_rejected
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.digests import digest_file
from lm_pipeline.specs.cleaning import Cleaning
from tests.unit.corpus.documents.cleaned import CHINESE, ENGLISH, LINES, SPEC, cleaned, json_lines, parts_of, raw


def test_a_corpus_without_files_has_an_empty_summary_and_no_documents():
    assert plan_parts([], SPEC) == []
    assert merge_summaries([])["records_in"] == 0
    assert read_documents([]).collect().is_empty()
    assert read_rejected([]).collect().is_empty()
    assert set(merge_summaries([])["row_digests"].values()) == {"0" * 64}


def test_the_digest_of_what_is_kept_is_that_of_its_rows(tmp_path):
    folders, summary = cleaned(raw(tmp_path, a=[ENGLISH, CHINESE, "short"]), SPEC, tmp_path / "out")
    rows = read_documents(parts_of(folders)).select(*DOCUMENTS, *STATISTICS).collect()
    assert f"{sum_digests(row_digests(rows)):064x}" == summary["row_digests"]["documents"]
    stored = pl.read_parquet(folders[0] / "statistics.parquet")[ROW_DIGEST]
    assert set(row_digests(rows)) == set(stored[:2])
    assert sum_digests(stored) == sum(int.from_bytes(digest, "little") for digest in stored) % 2**256
    assert sum_digests(stored[1:]) == sum(int.from_bytes(digest, "little") for digest in stored[1:]) % 2**256


def test_another_row_gives_another_digest(tmp_path):
    _, one = cleaned(raw(tmp_path, a="text one"), LINES, tmp_path / "one")
    _, two = cleaned(raw(tmp_path, a="text two"), LINES, tmp_path / "two")
    assert one["row_digests"]["documents"] != two["row_digests"]["documents"]


def test_documents_are_read_by_file_and_record(tmp_path):
    first = raw(tmp_path, b=["x", "y"], d=["z"])
    files = first | raw(tmp_path, a=["p"], c=["q", "r"])
    spec = SPEC.model_copy(update={"cleaning": Cleaning(profile="none")})
    parts = plan_parts(list(files.values()), spec, plan_parts(list(first.values()), spec))
    folders, _ = cleaned(files, spec, tmp_path / "out", parts)
    rows = read_documents(parts_of(folders)).select("file", "record", "text").collect()
    assert rows.equals(rows.sort("file", "record"))
    assert rows["text"].to_list() == ["p", "x", "y", "q", "r", "z"]


def test_documents_of_an_archive_are_kept_rejected_or_quarantined_under_their_own_paths(tmp_path):
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("z.jsonl", json_lines([ENGLISH, CHINESE]))
        archive.writestr("a/短.txt", "太短。")
        archive.writestr("bad.jsonl", "{")
    files = raw(tmp_path, a=[ENGLISH], c=[CHINESE])
    files["b.zip"] = RawFile("b.zip", path.stat().st_size, digest_file(path), path)
    folders, summary = cleaned(files, SPEC, tmp_path / "out")
    assert (summary["records_in"], summary["kept"], summary["rejected"], summary["quarantined"]) == (6, 4, 1, 1)
    rows = read_documents(parts_of(folders)).select("file", "record").collect()
    assert rows.rows() == [("a.jsonl", 0), ("b.zip//z.jsonl", 0), ("b.zip//z.jsonl", 1), ("c.jsonl", 0)]
    assert read_rejected(parts_of(folders)).collect()["file"].to_list() == ["b.zip//a/短.txt"]
