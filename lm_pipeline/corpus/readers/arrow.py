"""Arrow IPC: files (Feather version 2 among them) and streams, which Hugging Face `datasets` writes to disk."""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from lm_pipeline.corpus.readers.columns import DAMAGE, is_not_the_files, records_of, wanted_columns
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record

FILE_MAGIC = b"ARROW1"


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every row. A file is mapped, a stream read batch by batch as it was written.

    A file without a named column, and the rest of a file from a damaged batch on, are one quarantined record each.
    """
    if file.head.startswith(b"FEA1"):
        yield Quarantined(None, None, "unsupported_format", "Feather version 1; write it again as version 2")
    elif file.head.startswith(FILE_MAGIC):
        with file.local() as path, pa.memory_map(str(path)) as source:
            yield from _read(file, source, pa.ipc.open_file)
    else:
        yield from _read(file, file.stream(), pa.ipc.open_stream)


def _read(file: Opened, source: Any, open_reader: Callable[[Any], Any]) -> Iterator[Record | Quarantined]:
    try:
        reader = open_reader(source)
    except DAMAGE as error:
        if is_not_the_files(error):
            raise
        yield Quarantined(None, None, "unreadable", f"not a sound Arrow file: {error}")
        return
    with reader:
        columns = wanted_columns(file, reader.schema)
        if isinstance(columns, Quarantined):
            yield columns
            return
        yield from records_of(_batches(reader), columns, file)


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchFileReader):
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
    else:
        yield from reader
