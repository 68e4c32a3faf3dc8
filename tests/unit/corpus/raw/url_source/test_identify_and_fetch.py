import os
import subprocess
import sys
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw import url_source
from lm_pipeline.errors import InputError, UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource
from tests.unit.corpus.raw.url_source.conftest import fetched


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
from lm_pipeline.corpus.raw import url_source
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource
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
from lm_pipeline.corpus.raw import url_source
from lm_pipeline.errors import UnavailableError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import UrlSource
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
