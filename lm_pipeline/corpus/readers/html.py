"""Web pages: a file is one document, its main content."""

import importlib.util
from collections.abc import Iterator

from lm_pipeline.corpus.extraction.sandbox import Job
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt
from lm_pipeline.corpus.readers.sandboxed import Unparsed, parsed_records, whole
from lm_pipeline.errors import InputError
from lm_pipeline.specs.corpus import CorpusSpec


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield the page, with its title, its canonical address and its date as far as it says them.

    Raises:
        InputError: trafilatura is asked for and not installed.
    """
    check_extractor(file.spec)
    data = whole(file)
    if isinstance(data, Quarantined):
        yield data
        return
    declared = getattr(file.spec.format, "encoding", "auto")
    options = {"extractor": file.spec.extraction.extractor, "charset": None if declared == "auto" else declared}
    job = Job("html", data, options)
    yield from parsed_records(file, [Unparsed(0, job, 0, len(data), excerpt=excerpt(data[:1000]))])


def check_extractor(spec: CorpusSpec) -> None:
    """Look whether the extractor that a spec names is installed.

    Raises:
        InputError: it is not.
    """
    if spec.extraction.extractor == "trafilatura" and importlib.util.find_spec("trafilatura") is None:
        raise InputError(
            "`extraction.extractor` is trafilatura, which is not installed. Run: pip install 'lm-pipeline[trafilatura]'"
            ", or take 'resiliparse'."
        )
