import os
from pathlib import Path

import pytest

from lm_pipeline.corpus.raw import sources
from lm_pipeline.corpus.raw.raw_files import raw_files
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.corpus import CorpusSpec, PathSource, PythonSource


def test_every_source_that_a_spec_names_has_a_module_with_the_three_functions():
    kinds = CorpusSpec.model_json_schema()["properties"]["source"]["discriminator"]["mapping"]
    assert set(sources.SOURCES) == set(kinds)
    for module in sources.SOURCES.values():
        assert all(callable(getattr(module, name)) for name in ("identify", "fingerprint", "fetch"))


def test_a_dropped_folder_is_a_corpus_whatever_the_home_is_called(tmp_path: Path):
    home = Home(tmp_path / "my home")
    folder = home.raw / "notes"
    folder.mkdir(parents=True)
    (folder / "笔记.txt").write_text("今天读书。")
    spec = CorpusSpec(source=PathSource(path=str(home.raw / "notes")))
    out = tmp_path / "out"
    out.mkdir()
    sources.fetch(spec.source, sources.identify(spec.source, home), home, out)
    files = raw_files(out / "files.parquet")
    sources.verify_files(files, home)
    assert [record.text for file in files for record in read_records(file, spec)] == ["今天读书。"]

    before = sources.fingerprint(spec.source, home)
    assert sources.fingerprint(spec.source, home) == before
    status = (folder / "笔记.txt").stat()
    (folder / "笔记.txt").write_text("明天读书。")
    os.utime(folder / "笔记.txt", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert sources.fingerprint(spec.source, home) != before
    with pytest.raises(InputError, match="materialize raw_documents again"):
        sources.verify_files(files, home)


def test_a_fingerprint_is_a_digest(tmp_path: Path):
    assert len(sources.fingerprint(PythonSource(), Home(tmp_path))) == 64
