from pathlib import Path

import fsspec
import pytest

from lm_pipeline.corpus.raw import url_source
from lm_pipeline.errors import UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource
from tests.unit.corpus.raw.url_source.conftest import fetched


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
