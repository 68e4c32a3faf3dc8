import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from lm_pipeline.corpus.raw import url_source
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource


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


def test_an_empty_log_beside_a_database_is_no_change_over_http_where_listings_give_no_sizes(http, tmp_path: Path):
    whole = b"SQLite format 3\0".ljust(5000, b".")
    for name, content in {"法律.db": whole, "法律.db-wal": b"", "法律.db-journal": b""}.items():
        (tmp_path / "served" / name).write_bytes(content)
    source = UrlSource(url=f"{http}/", include=("*.db",))
    assert [name for name, *_ in url_source.identify(source, Home(tmp_path))["files"]] == ["法律.db"]
    (tmp_path / "served/法律.db-wal").write_bytes(b"x")
    with pytest.raises(InputError, match=r"法律\.db has changes in a log of its own, 法律\.db-wal"):
        url_source.identify(source, Home(tmp_path))
