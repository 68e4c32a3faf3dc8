import os
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw import url_source
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource
from tests.unit.corpus.raw.url_source.conftest import fetched


@pytest.mark.parametrize("pattern", ["", "**", "**/*.txt", "**/中*", "**/*"])
def test_links_on_this_machine_are_followed_into_each_folder_once(tmp_path: Path, pattern):
    folder, outside = tmp_path / "texts", tmp_path / "outside"
    for path in (folder / "laws", outside):
        path.mkdir(parents=True)
    for path in (folder / "中文.txt", folder / "laws/中国.txt", outside / "中心.txt"):
        path.write_text("正文", "utf-8")
    (folder / "laws/loop").symlink_to(folder)
    (folder / "again").symlink_to(folder / "laws")
    (folder / "outside").symlink_to(outside)
    (folder / "中.txt").symlink_to(outside / "nothing")
    os.mkfifo(folder / "中pipe.txt")
    source, home = UrlSource(url=f"file://{folder}/{pattern}"), Home(tmp_path / "data")
    identity = url_source.identify(source, home)
    assert [name for name, *_ in identity["files"]] == ["laws/中国.txt", "outside/中心.txt", "中文.txt"]
    (tmp_path / "out").mkdir()
    summary = url_source.fetch(source, identity, home, tmp_path / "out")
    assert (summary["num_files"], summary["dangling_links"]) == (3, ["中.txt"])


def test_a_pattern_without_two_stars_goes_as_deep_as_it_says(tmp_path: Path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "loop").symlink_to(folder)
    for pattern, expected in {"*.txt": ["a.txt"], "*/*.txt": ["loop/a.txt"], "[a-b].*": ["a.txt"]}.items():
        source = UrlSource(url=f"file://{folder}/{pattern}")
        assert [name for name, *_ in url_source.identify(source, Home(tmp_path / "data"))["files"]] == expected
    with pytest.raises(InputError, match="No file matches"):
        url_source.identify(UrlSource(url=f"file://{folder}/*.md"), Home(tmp_path / "data"))


@pytest.mark.parametrize("pattern", ["", "*", "**"])
def test_a_link_that_leads_nowhere_is_no_log_of_a_database(tmp_path: Path, pattern):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "法律.db").write_bytes(b"SQLite format 3\0".ljust(5000, b"."))
    (folder / "法律.db-wal").symlink_to(tmp_path / "nothing")
    identity = url_source.identify(UrlSource(url=f"file://{folder}/{pattern}"), Home(tmp_path / "data"))
    assert [name for name, *_ in identity["files"]] == ["法律.db"]
    assert identity["dangling_links"] == ["法律.db-wal"]


def test_a_folder_that_is_not_there_is_told_as_such(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a")
    for name in ("法律", "a.txt"):
        url = f"file://{tmp_path}/{name}/"
        with pytest.raises(InputError) as told:
            url_source.identify(UrlSource(url=url), Home(tmp_path / "data"))
        assert str(told.value) == f"{url}: there is no folder {tmp_path}/{name}. Put the text there or correct `url`."


@pytest.mark.parametrize("pattern", ["", "*", "**"])
def test_names_on_this_machine_are_taken_as_they_are(tmp_path: Path, pattern):
    folder = tmp_path / "50%25 what?"
    folder.mkdir()
    names = ["100%.txt", "100%25.txt", "what.txt", "what?.txt", "什么?.txt"]
    for name in names:
        (folder / name).write_text(name, "utf-8")
    assert fetched(f"file://{folder}/{pattern}", tmp_path) == {name: name.encode() for name in names}
    (tmp_path / "one").mkdir()
    assert fetched(f"file://{folder}/{names[1]}", tmp_path / "one") == {names[1]: names[1].encode()}
