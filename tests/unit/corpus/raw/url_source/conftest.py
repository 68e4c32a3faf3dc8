"""Places that files come from: memory, a web server, a real S3 endpoint."""

import functools
import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from lm_pipeline.corpus.raw import url_source
from lm_pipeline.corpus.raw.raw_files import raw_files
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource
from tests.servers import free_port


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


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The options of a real S3 endpoint, a moto server, with a bucket of three objects."""
    port = free_port()
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
