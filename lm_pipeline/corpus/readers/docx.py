"""Word documents (.docx): a file is one document, its paragraphs and tables in their order."""

from collections.abc import Iterator

from lm_pipeline.corpus.extraction.sandbox import Job
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt
from lm_pipeline.corpus.readers.sandboxed import Unparsed, parsed_records


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield the document."""
    with file.local() as path:
        job = Job("docx", options={"path": str(path), "max_bytes": file.max_file_bytes})
        yield from parsed_records(file, [Unparsed(0, job, excerpt=excerpt(file.head[:1000]))])
