import contextlib
import functools
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from lm_pipeline.corpus import downloads, url_source
from lm_pipeline.corpus.raw_files import raw_files
from lm_pipeline.corpus.url_source import Earlier
from lm_pipeline.errors import InputError, UnavailableError
from lm_pipeline.graph import materialize
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import CorpusSpec, UrlSource
from lm_pipeline.stages.corpus import corpus_nodes


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.pipe("/corpus/a.txt", "中文".encode())
    system.pipe("/corpus/deep/b.jsonl", b'{"text": "b"}')
    yield system
    system.rm("/corpus", recursive=True)


def fetched(url: str, tmp_path: Path, **options) -> dict[str, bytes]:
    source, home, out = UrlSource(url=url, **options), Home(tmp_path / "data"), tmp_path / "out"
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


@pytest.fixture
def asked() -> list[str]:
    """The files that the server was asked for by GET."""
    return []


@pytest.fixture
def http(tmp_path: Path, asked: list[str]) -> Iterator[str]:
    """The address of a server of a folder with three files."""
    folder = tmp_path / "served"
    for name, text in {"法律.txt": "第一条", "deep/er/a.txt": "a", "deep/b.jsonl": "{}", ".hidden": "x"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments) -> None:
            pass

        def do_GET(self) -> None:
            if self.path.endswith("broken.txt"):
                self.send_error(500)
                return
            name = self.path.rpartition("/")[2]
            if name:
                asked.append(name)
            if name >= "200.txt" and (folder / "many/000-broken.txt").exists():
                time.sleep(0.3)  # so that not all are downloaded before anybody knows of the failure
            super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_over_http_is_copied(http, tmp_path: Path):
    assert fetched(f"{http}/%E6%B3%95%E5%BE%8B.txt", tmp_path) == {"法律.txt": "第一条".encode()}
    with pytest.raises(UnavailableError, match=r"absent\.txt cannot be had"):
        url_source.identify(UrlSource(url=f"{http}/absent.txt"), Home(tmp_path))


def test_what_a_server_answers_is_said(tmp_path: Path):
    class Broken(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(500)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UnavailableError, match="500"):
            url_source.identify(UrlSource(url=f"http://127.0.0.1:{server.server_port}/a.txt"), Home(tmp_path))
        server.shutdown()


def test_a_server_that_fails_now_and_then_is_asked_again(tmp_path: Path):
    asked: list[str] = []

    class Busy(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.send_header("ETag", '"1"')
            self.end_headers()

        def do_GET(self):
            asked.append(self.path)
            if len(asked) < 3:
                self.send_error(503)
                return
            self.do_HEAD()
            self.wfile.write("法律".encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert fetched(f"http://127.0.0.1:{server.server_port}/a.txt", tmp_path) == {"a.txt": "法律".encode()}
        server.shutdown()
    assert len(asked) == 3


@pytest.mark.parametrize("folder", ["laws", "法律"])
def test_a_database_in_use_is_refused_behind_a_server_without_ranges_and_not_read_for_it(tmp_path: Path, folder):
    """The server answers as Python's own does, with the whole file, here of 256 MiB."""
    sent: list[int] = []

    class Whole(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            if self.path.endswith("/"):
                self.send_header("Content-Type", "text/html")
            else:
                self.send_header("Content-Length", str(256 << 20))
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            if self.path.endswith("/"):
                self.wfile.write(b"<a href='a.db'>a.db</a> <a href='a.db-wal'>a.db-wal</a>")
                return
            with contextlib.suppress(ConnectionError):
                for number in range(256):
                    self.wfile.write(b"SQLite format 3\0".ljust(1 << 20, b"."))
                    sent.append(number)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Whole) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{folder}/"
        with pytest.raises(InputError, match=r"a\.db has changes in a log of its own, a\.db-wal"):
            url_source.identify(UrlSource(url=url), Home(tmp_path))
        server.shutdown()
    assert len(sent) < 64  # what sockets hold


def test_an_empty_database_whose_rows_are_in_its_log_is_refused(http, s3, tmp_path: Path):
    (tmp_path / "served/法律.db").write_bytes(b"")
    (tmp_path / "served/法律.db-wal").write_bytes(b"x" * 9000)
    system = fsspec.filesystem("s3", **s3)
    system.mkdir("databases")
    for name in ("法律.db", "法律.db-wal"):
        system.pipe(f"databases/{name}", (tmp_path / "served" / name).read_bytes())
    for source in (UrlSource(url=f"{http}/"), UrlSource(url="s3://databases/", storage_options=s3)):
        with pytest.raises(InputError, match=r"法律\.db has changes in a log of its own"):
            url_source.identify(source, Home(tmp_path))


def test_a_whole_database_is_known_by_its_first_bytes(s3, memory, tmp_path: Path):
    """None of the logs has a byte, where the listing says so: the database is whole, and they are no raw files."""
    contents = {"a.db": b"SQLite format 3\0".ljust(5000, b"."), "a.db-wal": b"", "a.db-shm": b"x", "b-wal": b"no log"}
    system = fsspec.filesystem("s3", **s3)
    system.mkdir("whole")
    for name, content in contents.items():
        system.pipe(f"whole/{name}", content)
        memory.pipe(f"/corpus/whole/{name}", content)
    for source in (UrlSource(url="s3://whole/", storage_options=s3), UrlSource(url="memory://corpus/whole/")):
        found = [name for name, *_ in url_source.identify(source, Home(tmp_path))["files"]]
        assert found == ["a.db", "b-wal"]


def test_a_folder_over_http_is_read_recursively_and_its_changes_are_seen(http, tmp_path: Path):
    source = UrlSource(url=f"{http}/", exclude=("*.jsonl",))
    before = url_source.identify(source, Home(tmp_path))
    assert [name for name, _, _ in before["files"]] == ["deep/er/a.txt", "法律.txt"]
    assert all(size and version for _, size, version in before["files"])
    (tmp_path / "served/deep/er/a.txt").write_text("longer")
    (tmp_path / "served/new.txt").write_text("new")
    assert [name for name, _, _ in url_source.identify(source, Home(tmp_path))["files"]] == [
        "deep/er/a.txt",
        "new.txt",
        "法律.txt",
    ]
    assert fetched(f"{http}/", tmp_path)["deep/er/a.txt"] == b"longer"


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


@pytest.mark.parametrize("name", ["a.txt", "", "*.txt"])
@pytest.mark.parametrize("protocol", ["http", "s3"])
def test_a_server_that_says_nothing_is_given_up_and_named(tmp_path: Path, monkeypatch, protocol, name):
    monkeypatch.setattr(url_source, "READ_SECONDS", 0.2)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        url = f"{address}/{name}" if protocol == "http" else f"s3://bucket/{name}"
        options = {} if protocol == "http" else {"endpoint_url": address}
        with pytest.raises(UnavailableError, match=r"the server did not answer within") as caught:
            url_source.identify(UrlSource(url=url, storage_options=options), Home(tmp_path))
        assert url in str(caught.value)


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The options of a real S3 endpoint, a moto server, with a bucket of three objects."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            options = {"endpoint_url": f"http://127.0.0.1:{port}"}
            system = fsspec.filesystem("s3", skip_instance_cache=True, **options)
            _until_it_answers(port, server)
            system.mkdir("corpus")
            for name in ("zh/法律.txt", "en/a.txt", "en/deep/b.txt.gz", "en/_tmp/c.tmp"):
                system.pipe(f"corpus/{name}", name.encode())
            yield options
        finally:
            server.terminate()
            server.wait(30)


def _until_it_answers(port: int, server: subprocess.Popen) -> None:
    for _ in range(300):
        assert server.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the server does not answer")


@pytest.mark.parametrize(
    ("url", "include", "names"),
    [
        ("s3://corpus/", ("*",), ["en/a.txt", "en/deep/b.txt.gz", "zh/法律.txt"]),
        ("s3://corpus/en/", ("**/*.txt",), ["a.txt"]),
        ("s3://corpus/**/*.txt", ("*",), ["en/a.txt", "zh/法律.txt"]),
        ("s3://corpus/zh/法律.txt", ("*",), ["法律.txt"]),
    ],
)
def test_objects_of_a_bucket_are_copied(s3, tmp_path: Path, url, include, names):
    assert list(fetched(url, tmp_path, include=include, storage_options=s3)) == names


def test_options_may_be_booleans_and_nested(s3, tmp_path: Path, monkeypatch):
    fsspec.filesystem("s3", **s3).chmod("corpus", "public-read")
    fsspec.filesystem("s3", **s3).chmod("corpus/en/a.txt", "public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    options = {"anon": True, "client_kwargs": s3, "config_kwargs": {"s3": {"addressing_style": "path"}}}
    assert fetched("s3://corpus/en/a.txt", tmp_path, storage_options=options) == {"a.txt": b"en/a.txt"}


def test_an_object_that_is_written_again_has_another_identity(s3, tmp_path: Path):
    source, home = UrlSource(url="s3://corpus/en/a.txt", storage_options=s3), Home(tmp_path)
    before = url_source.identify(source, home)
    assert url_source.identify(source, home) == before
    fsspec.filesystem("s3", **s3).pipe("corpus/en/a.txt", b"A/en.txt")
    assert url_source.identify(source, home) != before
    fsspec.filesystem("s3", **s3).pipe("corpus/en/a.txt", b"en/a.txt")


def test_a_bucket_that_is_not_there_is_said_with_what_to_check(s3, tmp_path: Path):
    source = UrlSource(url="s3://absent/a.txt", storage_options=s3)
    with pytest.raises(UnavailableError, match="AWS_ACCESS_KEY_ID"):
        url_source.identify(source, Home(tmp_path))


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("hf://datasets/a/b/", "huggingface_hub", "hf"), ("s3://a/b", "s3fs", "s3"), ("https://a/b", "aiohttp", "http")],
)
def test_a_protocol_without_its_package_says_what_to_install(tmp_path: Path, url, module, extra):
    """In a process of its own: what is imported stays imported."""
    code = f"""
import sys
from pathlib import Path
sys.modules[{module!r}] = None
from lm_pipeline.corpus import downloads, url_source
from lm_pipeline.errors import InputError
from lm_pipeline.graph import materialize
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import CorpusSpec, UrlSource
from lm_pipeline.stages.corpus import corpus_nodes
try:
    url_source.identify(UrlSource(url={url!r}), Home(Path({str(tmp_path)!r})))
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert f'pip install "lm-pipeline[{extra}]"' in done.stdout


def test_hugging_face_out_of_reach_says_what_to_check(tmp_path: Path):
    code = f"""
from pathlib import Path
from lm_pipeline.corpus import downloads, url_source
from lm_pipeline.errors import UnavailableError
from lm_pipeline.graph import materialize
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import CorpusSpec, UrlSource
from lm_pipeline.stages.corpus import corpus_nodes
try:
    url_source.identify(UrlSource(url="hf://datasets/someone/something/data/"), Home(Path({str(tmp_path)!r})))
except UnavailableError as error:
    print(error)
"""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DOWNLOAD_TIMEOUT": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment, timeout=120
    )
    assert "hf://datasets/someone/something/data/ cannot be had" in done.stdout, done.stderr
    assert "HF_TOKEN" in done.stdout


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
