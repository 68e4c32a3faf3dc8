import hashlib
import sqlite3
import zipfile
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw import wheel_source
from lm_pipeline.corpus.raw.raw_files import raw_files
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.errors import InputError, UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import CorpusSpec, Fields, SqliteFormat, WheelSource

FILE_NAME = "tiny_law-1.0-py3-none-any.whl"
MEMBER = "tiny_law/data/laws.db"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with a database in it, in a folder that pip is told to look into."""
    database = tmp_path / "laws.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE articles (text TEXT, law TEXT)")
    connection.execute("INSERT INTO articles VALUES ('第一条 为了保护专利权人的合法权益', '专利法')")
    connection.commit()
    connection.close()
    path = tmp_path / "index" / FILE_NAME
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(database, MEMBER)
        archive.writestr("tiny_law-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-law\nVersion: 1.0\n")
        archive.writestr(
            "tiny_law-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_law-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def offline(monkeypatch, wheel: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def pin(wheel: Path, **changes) -> WheelSource:
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return WheelSource(**{"name": "Tiny.Law", "version": "1.0", "sha256": sha256, "member": MEMBER} | changes)


def fetch(source: WheelSource, home: Home, out: Path) -> list:
    out.mkdir()
    wheel_source.fetch(source, wheel_source.identify(source, home), home, out)
    return raw_files(out / "files.parquet")


def test_a_pinned_wheel_is_downloaded_once_checked_and_read_as_a_zip(tmp_path: Path, wheel: Path, offline):
    home = Home(tmp_path / "data")
    source = pin(wheel)
    (file,) = fetch(source, home, tmp_path / "one")
    assert (file.path, file.member, file.sha256) == (FILE_NAME, MEMBER, source.sha256)
    assert file.location.is_relative_to(tmp_path / "one" / "files")
    query = SqliteFormat(query="SELECT text, law FROM articles")
    (record,) = read_records(file, CorpusSpec(source=source, format=query, fields=Fields(group="law")))
    assert (record.text, record.group) == ("第一条 为了保护专利权人的合法权益", "专利法")
    wheel.unlink()
    assert len(fetch(source, home, tmp_path / "two")) == 1
    assert [path.name for path in (home.cache / "wheels").iterdir()] == [FILE_NAME]


def test_a_cached_wheel_with_another_hash_is_refused_naming_both(tmp_path: Path, wheel: Path):
    home = Home(tmp_path / "data")
    (home.cache / "wheels").mkdir(parents=True)
    got = hashlib.sha256(wheel.read_bytes()).hexdigest()
    cached = wheel.rename(home.cache / "wheels" / FILE_NAME)
    with pytest.raises(InputError) as caught:
        fetch(pin(cached, sha256="0" * 64), home, tmp_path / "out")
    assert all(part in str(caught.value) for part in (got, "0" * 64, str(cached), "was not used"))
    assert not isinstance(caught.value, UnavailableError)


def test_an_offered_wheel_with_another_hash_is_refused_naming_both(tmp_path: Path, wheel: Path, offline):
    home = Home(tmp_path / "data")
    with pytest.raises(InputError) as caught:
        fetch(pin(wheel, sha256="0" * 64), home, tmp_path / "out")
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert not list((home.cache / "wheels").iterdir())


def test_a_wheel_that_no_index_offers_is_unavailable(tmp_path: Path, wheel: Path, offline):
    with pytest.raises(UnavailableError, match=r"Tiny\.Law==2\.0 cannot be downloaded"):
        fetch(pin(wheel, version="2.0"), Home(tmp_path / "data"), tmp_path / "out")


def test_a_missing_member_suggests_the_nearest(tmp_path: Path, wheel: Path, offline):
    with pytest.raises(InputError, match=r"Did you mean 'tiny_law/data/laws\.db'"):
        fetch(pin(wheel, member="tiny_law/laws.db"), Home(tmp_path / "data"), tmp_path / "out")
