"""The child process that parses: `python -m lm_pipeline.corpus.extraction.worker`, started by `sandbox.py`.

Reads a batch of jobs from its standard input, answers each as it is done, and never trusts what it parses: limited
memory, no core dumps, no files of its own, killed with its parent. What it answers is JSON, so that even a parser
that was taken over can only hand out strings.
"""

import json
import os
import resource
import struct
import sys
from typing import IO, Any

from lm_pipeline.corpus.extraction.parsers import PARSERS, BadRecordError
from lm_pipeline.launch import die_with_parent

LENGTH = struct.Struct("<Q")
_MAX_FILE_BYTES = 16 << 20  # of what a library writes to standard error


def main() -> None:
    """Work until the parent closes the pipe."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    mapped = _limit(int(sys.argv[1]))
    _send(answers, {"mapped": mapped})
    while (batch := _receive(sys.stdin.buffer)) is not None:
        for parser, options, payload in batch:
            answer = _answer(parser, options, payload)
            _send(answers, answer)
            if answer.get("reason") == "memory_limit":
                return  # a heap that was full stays fragmented


def _limit(memory_bytes: int) -> int:
    """Set the limits; that of memory over the bytes that the interpreter has mapped by now, which are returned."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 (pathlib costs a tenth of the start)
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, mapped + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    return mapped


def _receive(stream: IO[bytes]) -> list[tuple[str, dict[str, Any], bytes]] | None:
    """A whole batch, before any of it is answered: so parent and child never both wait for the other to read."""
    length = stream.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    jobs = json.loads(stream.read(LENGTH.unpack(length)[0]))
    return [(parser, options, stream.read(size)) for parser, options, size in jobs]


def _answer(parser: str, options: dict[str, Any], payload: bytes) -> dict[str, Any]:
    try:
        return {"parsed": PARSERS[parser](payload, **options)}
    except BadRecordError as error:
        return {"reason": error.reason, "detail": str(error)}
    except MemoryError:
        return {"reason": "memory_limit", "detail": "the parser ran out of memory"}
    except RecursionError:
        return {"reason": "too_deep", "detail": f"nested deeper than the {parser} parser goes"}
    except Exception as error:  # noqa: BLE001 (a parser may raise anything; the record is quarantined with it)
        return {"reason": "unreadable", "detail": f"the {parser} parser failed: {type(error).__name__}: {error}"[:500]}


def _send(stream: IO[bytes], answer: dict[str, Any]) -> None:
    data = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


if __name__ == "__main__":
    main()
