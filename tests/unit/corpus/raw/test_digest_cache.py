import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw import digest_cache
from lm_pipeline.corpus.raw.digest_cache import digest_files
from lm_pipeline.errors import HomeError, InputError
from lm_pipeline.home import Home


@pytest.fixture
def counted(monkeypatch) -> list[Path]:
    """Paths that were really read."""
    read: list[Path] = []
    real = digest_cache.digest_file

    def counting(path: Path) -> str:
        read.append(path)
        return real(path)

    monkeypatch.setattr(digest_cache, "digest_file", counting)
    return read


def test_an_unchanged_file_is_read_once(tmp_path: Path, counted, monkeypatch):
    monkeypatch.setattr(digest_cache, "_RECENT_NS", -1)
    home = Home(tmp_path / "data")
    file = tmp_path / "中文.txt"
    file.write_text("文本")
    expected = [(6, hashlib.sha256("文本".encode()).hexdigest())]
    assert digest_files([file], home) == expected
    assert digest_files([file], home) == expected
    assert counted == [file]


def test_other_bytes_of_the_same_size_and_time_are_noticed(tmp_path: Path, counted, monkeypatch):
    monkeypatch.setattr(digest_cache, "_RECENT_NS", -1)
    home = Home(tmp_path / "data")
    file = tmp_path / "a.txt"
    file.write_text("one")
    before = file.stat()
    digest_files([file], home)
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest_files([file], home) == [(3, hashlib.sha256(b"two").hexdigest())]


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path, counted):
    file = tmp_path / "a.txt"
    file.write_text("one")
    for _ in range(2):
        digest_files([file], Home(tmp_path / "data"))
    assert len(counted) == 2


def test_a_missing_file_and_a_damaged_cache_say_what_to_do(tmp_path: Path):
    home = Home(tmp_path / "data")
    with pytest.raises(InputError, match=r"no\.txt.*Restore it or exclude it"):
        digest_files([tmp_path / "no.txt"], home)
    (home.cache / "digests.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(HomeError, match="Delete it"):
        digest_files([], home)


def test_processes_that_open_a_fresh_cache_at_once_agree(tmp_path: Path):
    for n in range(20):
        (tmp_path / f"{n}.txt").write_text(f"文本 {n}")
        os.utime(tmp_path / f"{n}.txt", (1, 1))
    code = (
        "import sys; from pathlib import Path; from lm_pipeline.home import Home;"
        "from lm_pipeline.corpus.raw import digest_cache as c; c._RECENT_NS = -1; folder = Path(sys.argv[1]);"
        "print(c.digest_files(sorted(folder.glob('*.txt')), Home(folder / 'data')))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0] * 4
    assert len(set(outputs)) == 1
