import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.documents import (
    Slice,
    clean,
    plan,
    plan_parts,
    read_documents,
    read_plan,
    read_rejected,
    write_plan,
)
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.digests import digest_file
from lm_pipeline.specs.cleaning import Cleaning
from tests.unit.corpus.documents.cleaned import CHINESE, ENGLISH, LINES, SPEC, cleaned, parts_of, raw, table


def test_adding_a_file_plans_and_cleans_only_that_file(tmp_path):
    files = raw(tmp_path, b=ENGLISH, d=CHINESE)
    before = plan_parts(list(files.values()), SPEC)
    old, _ = cleaned(files, SPEC, tmp_path / "old", before)
    files |= raw(tmp_path, a="new", c="newer")
    after = plan_parts(list(files.values()), SPEC, before)
    assert after[: len(before)] == before
    assert [[piece.file for piece in part] for part in after[len(before) :]] == [["a.txt", "c.txt"]]
    new, _ = cleaned(files, SPEC, tmp_path / "new", after)
    assert table(new)[0].read_bytes() == table(old)[0].read_bytes()


@pytest.mark.parametrize("fate", ["changed", "removed"])
def test_a_changed_or_removed_file_replans_its_part_and_no_other(tmp_path, monkeypatch, fate):
    monkeypatch.setattr(plan, "PART_FILES", 2)
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
        patch.setattr(plan, "PART_BYTES", 100)
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
    whole, whole_summary = cleaned(files, LINES, tmp_path / "whole")
    assert len(whole) == 1
    monkeypatch.setattr(plan, "PART_BYTES", 1000)
    monkeypatch.setattr(clean, "BATCH_RECORDS", 7)
    before = plan_parts(list(first.values()), LINES)
    parts = plan_parts(list(files.values()), LINES, before)
    assert len(parts) > 5
    cut, cut_summary = cleaned(files, LINES, tmp_path / "cut", parts)
    assert read_documents(parts_of(cut)).collect().equals(read_documents(parts_of(whole)).collect())
    assert read_documents(parts_of(cut[::-1])).collect().equals(read_documents(parts_of(whole)).collect())
    assert cut_summary == whole_summary
    assert read_rejected(parts_of(cut)).collect().equals(read_rejected(parts_of(whole)).collect())


@pytest.mark.parametrize("name", ["table.csv", "array.json"])
def test_large_tables_and_arrays_are_cut_where_records_begin_and_are_looked_into_once(tmp_path, monkeypatch, name):
    rows = [f'第{n}行\nwith two lines, and "marks" ' + "字" * (n % 9) for n in range(300)]
    values = json.dumps([{"text": text} for text in rows], ensure_ascii=False, indent=1)
    table = "text\n" + "".join('"' + text.replace('"', '""') + '"\n' for text in rows)
    path = tmp_path / name
    path.write_text(table if name.endswith("csv") else values, "utf-8")
    file = RawFile(name, path.stat().st_size, digest_file(path), path)
    spec = SPEC.model_copy(update={"cleaning": Cleaning(profile="none")})
    whole, whole_summary = cleaned({name: file}, spec, tmp_path / "whole")
    monkeypatch.setattr(plan, "PART_BYTES", 2000)
    parts = plan_parts([file], spec)
    assert len(parts) > 5
    cut, cut_summary = cleaned({name: file}, spec, tmp_path / "cut", parts)
    assert cut_summary == whole_summary
    assert cut_summary["kept"] == 300
    assert read_documents(parts_of(cut[::-1])).collect().equals(read_documents(parts_of(whole)).collect())
    monkeypatch.setattr(plan, "ranges", lambda *_: pytest.fail("the file was looked into again"))
    assert plan_parts([file], spec, parts, read_alike=True) == parts
