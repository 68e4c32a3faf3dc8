import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from lm_pipeline.corpus import url_source
from lm_pipeline.corpus.raw_files import raw_files
from lm_pipeline.errors import InputError, UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.pipe("/corpus/a.txt", "中文".encode())
    system.pipe("/corpus/deep/b.jsonl", b'{"text": "b"}')
    yield system
    system.rm("/corpus", recursive=True)


def fetched(url: str, tmp_path: Path) -> dict[str, bytes]:
    source, home, out = UrlSource(url=url), Home(tmp_path / "data"), tmp_path / "out"
    out.mkdir()
    url_source.fetch(source, url_source.identify(source, home), home, out)
    files = raw_files(out / "files.parquet")
    for file in files:
        assert file.location.is_relative_to(out / "files")
        assert hashlib.sha256(file.location.read_bytes()).hexdigest() == file.sha256
    return {file.path: file.location.read_bytes() for file in files}


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("memory://corpus/a.txt", ["a.txt"]),
        ("memory://corpus/**/*.jsonl", ["deep/b.jsonl"]),
        ("memory://corpus/", ["a.txt", "deep/b.jsonl"]),
    ],
)
def test_files_globs_and_folders_are_copied_into_the_snapshot(memory, tmp_path: Path, url, names):
    assert list(fetched(url, tmp_path)) == names


def test_the_identity_changes_with_the_file(memory, tmp_path: Path):
    source, home = UrlSource(url="memory://corpus/a.txt"), Home(tmp_path)
    before = url_source.identify(source, home)
    assert url_source.identify(source, home) == before
    memory.pipe("/corpus/a.txt", "汉字".encode())
    assert url_source.identify(source, home) != before


def test_a_file_that_changes_between_identification_and_download_is_refused(memory, tmp_path: Path):
    source, home = UrlSource(url="memory://corpus/a.txt"), Home(tmp_path)
    identity = url_source.identify(source, home)
    memory.pipe("/corpus/a.txt", b"longer than before")
    with pytest.raises(InputError, match="has 18 bytes, but 6"):
        url_source.fetch(source, identity, home, tmp_path)


def test_a_file_over_http_is_copied(tmp_path: Path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "法律.txt").write_text("第一条")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        try:
            files = fetched(f"{base}/%E6%B3%95%E5%BE%8B.txt", tmp_path)
            with pytest.raises(UnavailableError, match=r"absent\.txt cannot be had"):
                url_source.identify(UrlSource(url=f"{base}/absent.txt"), Home(tmp_path))
        finally:
            server.shutdown()
    assert files == {"法律.txt": "第一条".encode()}


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("memory://corpus/absent.txt", UnavailableError, "Check the address"),
        ("memory://corpus/*.zip", InputError, "No file matches"),
        ("nonsense://x/y", InputError, "Protocol not known"),
    ],
)
def test_what_cannot_be_had_names_the_url(memory, tmp_path: Path, url, error, message):
    with pytest.raises(error, match=message) as caught:
        url_source.identify(UrlSource(url=url), Home(tmp_path))
    assert url in str(caught.value)
