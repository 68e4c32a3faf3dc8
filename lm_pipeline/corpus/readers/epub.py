"""Electronic books (.epub): a document is the book or a chapter."""

from collections.abc import Iterator

from lm_pipeline.corpus.extraction.sandbox import Job
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt
from lm_pipeline.corpus.readers.sandboxed import Unparsed, parsed_records
from lm_pipeline.specs.corpus import EpubFormat


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield the book, or its chapters that have text; the record index is the chapter's place in the spine."""
    unit = file.spec.format.unit if isinstance(file.spec.format, EpubFormat) else "file"
    with file.local() as path:
        job = Job("epub", options={"path": str(path), "max_bytes": file.max_file_bytes, "unit": unit})
        yield from parsed_records(file, [Unparsed(0, job, excerpt=excerpt(file.head[:1000]))])
