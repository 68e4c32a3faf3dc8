"""The child process that reads tables: `python -m lm_pipeline.corpus.readers.apart_worker`, started by `apart.py`.

Is told of one file after the other on its standard input and answers with its records, in batches: JSON, and after it
the bytes of the texts. So whatever a damaged file makes of this process, it can only hand out strings.
"""

import json
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

from lm_pipeline.corpus.readers import arrow, parquet, sqlite
from lm_pipeline.corpus.readers.compression import Expansion, file_chunks, is_disk_fault
from lm_pipeline.corpus.readers.opened import HEAD_BYTES, Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record
from lm_pipeline.errors import InputError
from lm_pipeline.launch import die_with_parent
from lm_pipeline.specs.corpus import CorpusSpec

TABLE_READERS: dict[str, Callable[[Opened], Iterator[Record | Quarantined]]] = {
    "parquet": parquet.read,
    "arrow": arrow.read,
    "sqlite": sqlite.read,
}
"""By `format.kind`: what native code reads that follows places which the file gives."""

LENGTHS = struct.Struct("<QQ")
"""Of an answer: the bytes of its JSON, and of the texts that follow."""
_BATCH_RECORDS = 256
_BATCH_CHARACTERS = 1 << 20
_OF_RECORD = attrgetter(*(field.name for field in fields(Record)[2:]))  # not astuple, which copies deeply
_OF_REASON = attrgetter(*(field.name for field in fields(Quarantined)))


def main() -> None:
    """Work until the parent closes the pipe."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = _data_bytes()
    _send(answers, {"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        spec = CorpusSpec(**request["spec"])
        # Not of address space: a file that is mapped takes its own size of that.
        limit = used + spec.extraction.memory_limit_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        path = Path(request["path"])
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        expansion = Expansion(spec.extraction.max_expansion)
        opened = Opened(request["name"], spec, head, file_chunks(path), expansion, path)
        for answer in _answers(request["kind"], opened):
            _send(answers, answer)


def _data_bytes() -> int:
    with open("/proc/self/status", "rb") as file:  # noqa: PTH123 (pathlib costs a tenth of the start)
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(b"VmData"))


def _answers(kind: str, file: Opened) -> Iterator[list[Record | Quarantined] | dict[str, Any]]:
    batch: list[Record | Quarantined] = []
    number = characters = 0
    try:
        for item in TABLE_READERS[kind](file):
            number += 1
            batch.append(item)
            characters += len(item.text) if isinstance(item, Record) else len(item.detail)
            if len(batch) == _BATCH_RECORDS or characters >= _BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
    except InputError as error:
        yield {"error": str(error)}
        return
    except MemoryError:
        limit = file.spec.extraction.memory_limit_bytes
        detail = f"row {number} and later need more than {limit} bytes of memory; extraction.memory_limit_bytes"
        batch.append(Quarantined(number or None, None, "memory_limit", detail))
    except Exception as error:  # noqa: BLE001 (what a damaged file makes pyarrow raise is anybody's guess)
        if is_disk_fault(error):
            yield {"error": f"The raw file {file.name} ({file.path}) cannot be read: {error}"}
            return
        detail = f"row {number} and later: the {kind} reader failed: {type(error).__name__}: {error}"[:500]
        batch.append(Quarantined(number or None, None, "unreadable", detail))
    yield batch
    yield {"end": True}


def _send(stream: IO[bytes], answer: list[Record | Quarantined] | dict[str, Any]) -> None:
    texts: list[bytes] = []
    if isinstance(answer, list):
        texts = [item.text.encode() if isinstance(item, Record) else b"" for item in answer]
        items = [
            (item.record, len(text), *_OF_RECORD(item)) if isinstance(item, Record) else (None, *_OF_REASON(item))
            for item, text in zip(answer, texts, strict=True)
        ]
        answer = {"items": items}
    header = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    stream.write(LENGTHS.pack(len(header), sum(map(len, texts))) + header + b"".join(texts))
    stream.flush()


if __name__ == "__main__":
    main()
