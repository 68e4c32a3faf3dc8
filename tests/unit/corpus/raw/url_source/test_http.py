import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw import url_source
from lm_pipeline.errors import UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource
from tests.unit.corpus.raw.url_source.conftest import fetched


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
