import os
from pathlib import Path

import pytest

from lm_pipeline.corpus import url_source
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource


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
