import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw import path_source, url_source
from lm_pipeline.corpus.raw.raw_files import raw_files
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import PathSource, UrlSource

FILES = [
    "english.txt",
    "中文.txt",
    "deep/er/notes.md",
    "deep/rows.jsonl",
    ".hidden.txt",
    ".git/config.txt",
    "draft.txt~",
    "~$open.txt",
    "half.txt.part",
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    for name in FILES:
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return Home(tmp_path / "data")


def names(home: Home, path: str, **options) -> list[str]:
    return [name for name, _, _ in path_source.identify(PathSource(path=path, **options), home)["files"]]


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("texts", {}, ["deep/er/notes.md", "deep/rows.jsonl", "english.txt", "中文.txt"]),
        ("texts/english.txt", {}, ["english.txt"]),
        ("texts/*.txt", {}, ["english.txt", "中文.txt"]),
        ("texts/**/*.md", {}, ["deep/er/notes.md"]),
        ("texts/**", {}, ["deep/er/notes.md", "deep/rows.jsonl", "english.txt", "中文.txt"]),
        ("texts/../texts/deep", {}, ["er/notes.md", "rows.jsonl"]),
        ("texts", {"include": ("*.txt", "*.md")}, ["deep/er/notes.md", "english.txt", "中文.txt"]),
        ("texts", {"exclude": ("deep/*", "中*")}, ["english.txt"]),
        ("texts", {"include": ("**/*.txt",)}, ["english.txt", "中文.txt"]),
        ("texts", {"include": ("deep/**",), "exclude": ("**/er/**",)}, ["deep/rows.jsonl"]),
        ("texts", {"include": ("*/*.jsonl", "**/[!a-z]*.txt")}, ["deep/rows.jsonl", "中文.txt"]),
    ],
)
def test_files_folders_and_globs_give_sorted_names_without_hidden_and_temporary_files(home, path, options, expected):
    assert names(home, path, **options) == expected
    assert names(home, str(home.root.parent / path), **options) == expected


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("nowhere", {}, "There is no"),
        ("texts/*.pdf", {}, "No file matches"),
        ("texts", {"include": ("*.pdf",)}, r"No file matches.*\*\.pdf"),
        ("empty", {}, "No file matches"),
    ],
)
def test_nothing_to_read_is_an_error_that_names_the_place(home, path, options, message):
    (home.root.parent / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        names(home, path, **options)


def test_fetch_lists_the_files_where_they_are(home, tmp_path: Path):
    source = PathSource(path="texts")
    out = tmp_path / "out"
    out.mkdir()
    identity = path_source.identify(source, home)
    summary = path_source.fetch(source, identity, home, out)
    assert summary["num_files"] == 4
    assert [path.name for path in out.iterdir()] == ["files.parquet"]
    for file in raw_files(out / "files.parquet"):
        assert file.location.read_text() == file.path
        assert file.sha256 == hashlib.sha256(file.path.encode()).hexdigest()


def test_the_fingerprint_changes_with_every_addition_change_and_removal(home):
    source = PathSource(path="texts")
    folder = home.root.parent / "texts"
    seen = [path_source.fingerprint(source, home)]
    (folder / "new.txt").write_text("新")
    seen.append(path_source.fingerprint(source, home))
    (folder / "new.txt").write_text("新的")
    seen.append(path_source.fingerprint(source, home))
    (folder / ".swap").write_text("does not count")
    assert path_source.fingerprint(source, home) == seen[-1]
    (folder / "english.txt").unlink()
    seen.append(path_source.fingerprint(source, home))
    assert all(seen[i] != seen[j] for i in range(4) for j in range(i))
    assert "error" in path_source.fingerprint(PathSource(path="nowhere"), home)


def test_linked_folders_are_read_once_and_dangling_links_are_told(home, tmp_path: Path):
    outside = tmp_path / "elsewhere"
    (outside / "zh").mkdir(parents=True)
    (outside / "zh/三国.txt").write_text("话说天下大势")
    (outside / "back").symlink_to(tmp_path / "texts")
    folder = tmp_path / "texts"
    (folder / "linked").symlink_to(outside)
    (folder / "again").symlink_to(folder / "deep")
    (folder / "gone.txt").symlink_to(outside / "nothing")
    (folder / "gone.tmp").symlink_to(outside / "nothing")
    source = PathSource(path="texts")
    identity = path_source.identify(source, home)
    expected = ["deep/er/notes.md", "deep/rows.jsonl", "english.txt", "linked/zh/三国.txt", "中文.txt"]
    assert [name for name, _, _ in identity["files"]] == expected
    assert identity["dangling_links"] == ["gone.txt"]
    before = path_source.fingerprint(source, home)
    (outside / "new.txt").write_text("new")
    assert path_source.fingerprint(source, home) != before
    summary = path_source.fetch(source, identity, home, tmp_path)
    assert (summary["num_files"], summary["dangling_links"]) == (5, ["gone.txt"])
    with pytest.raises(InputError, match=r"1 links lead nowhere \(gone\.txt\)"):
        path_source.identify(PathSource(path="texts", include=("gone*",)), home)


def test_a_loop_of_links_ends_and_a_pipe_is_no_file(home):
    folder = home.root.parent / "texts"
    (folder / "loop").symlink_to(folder)
    (folder / "dead.txt").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe.txt")
    assert len(names(home, "texts")) == 4


@pytest.mark.parametrize("pattern", ["texts/**/*.txt", "texts/**", "t*s/**/*.txt", "texts/**/中*"])
def test_a_loop_of_links_ends_below_a_pattern_too_and_each_file_has_one_name(home, pattern):
    folder = home.root.parent / "texts"
    before = names(home, pattern)
    (folder / "loop").symlink_to(folder)
    (folder / "again").symlink_to(folder)
    assert before
    assert names(home, pattern) == before


def test_only_sources_that_may_hold_a_stray_are_walked_to_find_whether_it_is_read(home, monkeypatch):
    walked = []
    for name in ("walk", "glob_files"):
        real = getattr(path_source, name)
        monkeypatch.setattr(path_source, name, lambda *place, real=real: walked.append(str(place[0])) or real(*place))
    (home.raw / "novels").mkdir(parents=True)
    (home.raw / "我的 笔记").mkdir()
    for name in ("novels/1.txt", "我的 笔记/一.txt", "loose.txt"):
        (home.raw / name).write_text("text")
    elsewhere = [PathSource(path=path) for path in ("texts", "texts/**/*.txt", "data/raw/novels", "data/raw/novels/*")]
    assert path_source.unread_in_raw(home, elsewhere) == ["loose.txt", "我的 笔记"]
    assert walked == []
    inside = [PathSource(path="data/raw/我的 笔记"), PathSource(path="data/raw/*.txt")]
    assert path_source.unread_in_raw(home, [*elsewhere, *inside]) == []
    assert walked == [str(home.raw / "我的 笔记"), str(home.raw)]
    for around in ("data", ".", "texts/../data/r*/*.txt"):
        assert "loose.txt" not in path_source.unread_in_raw(home, [PathSource(path=around)])


def test_a_name_that_is_no_utf8_is_refused(home):
    Path(os.fsdecode(os.fsencode(home.root.parent / "texts") + b"/\xff.txt")).write_text("x")
    with pytest.raises(InputError, match="not UTF-8"):
        names(home, "texts")


@pytest.mark.parametrize("path", ["texts", "texts/x.db", "texts/*.db"])
@pytest.mark.parametrize("include", [("**",), ("*.db",)])
def test_a_database_whose_last_rows_are_in_its_log_is_refused_until_they_are_in_it(tmp_path, path, include):
    home = Home(tmp_path / "data")
    (tmp_path / "texts").mkdir()
    connection = sqlite3.connect(tmp_path / "texts" / "x.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (text)")
    connection.execute("INSERT INTO t VALUES ('第一')")
    connection.commit()
    source = PathSource(path=path, include=include)
    with pytest.raises(InputError, match="wal_checkpoint"):
        path_source.identify(source, home)
    before = path_source.fingerprint(source, home)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert [name for name, _, _ in path_source.identify(source, home)["files"]] == ["x.db"]
    assert path_source.fingerprint(source, home) != before
    connection.close()


def test_a_text_beside_one_that_is_called_its_journal_is_no_database(home, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    for name, text in {"daily": "一天", "daily-journal": "a journal", "a.db-wal": "alone"}.items():
        (tmp_path / "notes" / name).write_text(text)
    for path in ("notes", "notes/*"):
        files = path_source.identify(PathSource(path=str(tmp_path / path)), home)["files"]
        assert [name for name, _, _ in files] == ["a.db-wal", "daily", "daily-journal"]
    source = UrlSource(url=f"file://{tmp_path}/notes/")
    assert [name for name, _, _ in url_source.identify(source, home)["files"]] == ["a.db-wal", "daily", "daily-journal"]
