import zipfile
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw.raw_files import RawFile, raw_files, write_files
from lm_pipeline.errors import InputError


def test_a_listing_reads_back_sorted_and_with_absolute_locations(tmp_path: Path):
    out = tmp_path / "attempt"
    out.mkdir()
    inside = RawFile("b/中文.txt", 6, "1" * 64, out / "files" / "b" / "中文.txt", "member.db")
    outside = RawFile("a.txt", 2, "0" * 64, tmp_path / "a.txt")
    summary = write_files([inside, outside], out)
    assert (summary["num_files"], summary["num_bytes"]) == (2, 8)
    assert summary["files"][0] == {"path": "a.txt", "bytes": 2, "sha256": "0" * 64}
    assert raw_files(out / "files.parquet") == [outside, inside]
    # A snapshot moves with its artifact.
    moved = out.rename(tmp_path / "published")
    assert raw_files(moved / "files.parquet")[1].location == moved / "files" / "b" / "中文.txt"


def test_a_member_is_extracted_for_the_time_of_reading(tmp_path: Path):
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/text.txt", "法律")
    file = RawFile("a.whl", path.stat().st_size, "", path, "data/text.txt")
    assert file.name == "data/text.txt"
    with file.local() as extracted:
        assert extracted.read_text() == "法律"
    assert not extracted.exists()
    with pytest.raises(InputError, match="Cannot read 'none'"), RawFile("a", file.bytes, "", path, "none").local():
        pass


def test_a_damaged_archive_is_an_error_that_names_it(tmp_path: Path):
    path = tmp_path / "a.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"a\.whl"), RawFile("a.whl", 6, "", path, "x").local():
        pass
