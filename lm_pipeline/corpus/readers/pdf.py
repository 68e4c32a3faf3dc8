"""PDF files: their text layer; a document is the file or a page."""

from collections.abc import Iterator

from lm_pipeline.corpus.extraction.sandbox import Job
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt
from lm_pipeline.corpus.readers.sandboxed import Unparsed, parsed_records
from lm_pipeline.specs.corpus import PdfFormat


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield the file, or its pages that have text; the record index is the page's number from 0."""
    unit = file.spec.format.unit if isinstance(file.spec.format, PdfFormat) else "file"
    with file.local() as path:
        job = Job("pdf", options={"path": str(path), "unit": unit})
        yield from parsed_records(file, [Unparsed(0, job, excerpt=excerpt(file.head[:1000]))])
