"""Writes raw files and reads them back through the one way in."""

from pathlib import Path

import pytest

from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.specs.cleaning import Cleaning
from lm_pipeline.specs.corpus import AutoFormat, CorpusSpec, Extraction, Fields, PathSource


class Reading:
    """Reads bytes as a raw file of the given name and format."""

    def __init__(self, folder: Path):
        self.folder = folder

    def file(self, name: str, data: bytes) -> RawFile:
        path = self.folder / name
        path.write_bytes(data)
        return RawFile(name, len(data), "0" * 64, path)

    def spec(self, file_format=None, max_line_bytes=1 << 26, **fields) -> CorpusSpec:
        return CorpusSpec(
            source=PathSource(path=str(self.folder)),
            format=file_format or AutoFormat(),
            fields=Fields(**fields),
            cleaning=Cleaning(max_line_bytes=max_line_bytes),
            extraction=Extraction(max_file_bytes=max_line_bytes),
        )

    def __call__(self, name: str, data: bytes, file_format=None, start=0, end=None, **options) -> list:
        return list(read_records(self.file(name, data), self.spec(file_format, **options), start, end))


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    return Reading(tmp_path)
