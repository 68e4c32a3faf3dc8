import hashlib
import shutil
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw import downloads, url_source
from lm_pipeline.corpus.raw.raw_files import raw_files
from lm_pipeline.corpus.raw.url_source import Earlier
from lm_pipeline.errors import UnavailableError
from lm_pipeline.graph import materialize
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import CorpusSpec, UrlSource
from lm_pipeline.stages.corpus import corpus_nodes


def test_what_an_earlier_artifact_or_a_killed_run_has_is_not_downloaded_again(http, asked, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES_SECONDS", ())  # others would be complete before the server is given up
    folder, home, work = tmp_path / "served/many", Home(tmp_path / "data"), tmp_path / "work/raw_documents"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:03}.txt").write_text(f"法律 {number}")
    (folder / "000-broken.txt").write_text("the server fails at this one")
    source = UrlSource(url=f"{http}/many/")

    def fetch(name: str, before: str | None = None) -> tuple[dict, Path]:
        identity, out = url_source.identify(source, home), tmp_path / name
        out.mkdir()
        known = (tmp_path / before, identities[before]) if before else (None, None)
        identities[name] = identity
        asked.clear()
        return url_source.fetch(source, identity, home, out, Earlier(work / name, *known)), out

    identities: dict[str, dict] = {}
    with pytest.raises(UnavailableError):
        fetch("first")
    downloaded = sum(not path.suffix for path in (work / "first").iterdir())
    assert 0 < downloaded < 300
    (folder / "000-broken.txt").unlink()
    summary, second = fetch("second")  # another list of files, so another folder for work
    assert (summary["num_files"], summary["num_downloaded"]) == (300, 300 - downloaded)
    assert len(set(asked)) == len(asked) == 300 - downloaded
    shutil.rmtree(work)  # publishing an artifact and collecting garbage do that
    (folder / "007.txt").write_text("written again")
    (folder / "new.txt").write_text("new")
    summary, third = fetch("third", "second")
    assert sorted(asked) == ["007.txt", "new.txt"]
    assert (summary["num_files"], summary["num_downloaded"]) == (301, 2)
    same = third / "files/008.txt"
    assert same.stat().st_ino == (second / "files/008.txt").stat().st_ino
    assert all(
        hashlib.sha256(f.location.read_bytes()).hexdigest() == f.sha256 for f in raw_files(third / "files.parquet")
    )
    same.unlink()
    same.write_text("damaged")
    summary, fourth = fetch("fourth", "third")
    assert asked == ["008.txt"]
    assert (fourth / "files/008.txt").read_text() == "法律 8"
    assert summary["num_downloaded"] == 1


def test_an_interrupted_download_of_an_earlier_version_goes_when_the_newer_one_is_published(
    http, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(downloads, "PAUSES_SECONDS", ())
    folder, home = tmp_path / "served/news", Home(tmp_path / "data")
    folder.mkdir()
    (folder / "a.txt").write_text("第一版")
    (folder / "broken.txt").write_text("the server fails at this one")
    (elsewhere := tmp_path / "served/law").mkdir()
    (elsewhere / "broken.txt").write_text("the server fails at this one")
    graph = {}
    for name in ("news", "law"):
        graph |= {node.asset: node for node in corpus_nodes(name, CorpusSpec(source=UrlSource(url=f"{http}/{name}/")))}
        with pytest.raises(UnavailableError):
            materialize(graph, home, f"raw_documents/{name}", lambda _: None)
    work = home.artifacts / "work/raw_documents"
    of_news, of_law = sorted(work.iterdir(), key=lambda path: len(list(path.iterdir())), reverse=True)
    (folder / "a.txt").write_text("第二版, the second")
    (folder / "broken.txt").unlink()
    first = materialize(graph, home, "raw_documents/news", lambda _: None).artifact
    assert not of_news.exists()
    assert list(work.iterdir()) == [of_law]
    # What was published stays what it was, whatever the server has now.
    (folder / "a.txt").write_text("the third, 第三版")
    materialize(graph, home, "raw_documents/news", lambda _: None)
    assert [file.location.read_text() for file in raw_files(first.verify().path("files.parquet"))] == [
        "第二版, the second"
    ]


def test_a_folder_for_downloads_that_another_process_removes_meanwhile_is_none(tmp_path: Path, monkeypatch):
    source, other = UrlSource(url="http://localhost/法律.txt"), UrlSource(url="http://localhost/law.txt")
    for name, of in {"a": source, "b": source, "c": other, "d": source}.items():
        Earlier(tmp_path / name).begin(of)
    read = Path.read_text

    def read_after_removal(path: Path, *arguments, **options) -> str:
        if path.parent.name == "b":
            shutil.rmtree(path.parent)
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_after_removal)
    assert Earlier(tmp_path / "d").superseded(source) == ["a"]
