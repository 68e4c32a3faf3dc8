"""How a corpus is cut into parts: every byte of every file in one of them, and what was cut before stays as it was."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.corpus.readers.read import divisible, ranges
from lm_pipeline.digests import canonical_json
from lm_pipeline.specs.corpus import CorpusSpec

PART_BYTES = 64 * 1024 * 1024
PART_FILES = 4096  # a part's list of files stays readable


@dataclass(frozen=True)
class Slice:
    """A raw file, or the records of it that begin in the bytes from `start` to before `end` (None: its end).

    `record` is the index of the first of them, where the format's ranges begin at records; else 0.
    """

    file: str
    sha256: str
    start: int = 0
    end: int | None = None
    record: int = 0


Part = tuple[Slice, ...]
"""What is cleaned together. As JSON: a list of `dataclasses.asdict(slice)`."""


def plan_parts(
    files: Sequence[RawFile], spec: CorpusSpec, previous: Sequence[Part] = (), *, read_alike: bool = False
) -> list[Part]:
    """Cover every file exactly once.

    Args:
        files: the corpus's raw files.
        spec: how they are read.
        previous: the parts of an earlier plan. Those whose slices are all still wanted stay as they are, first.
        read_alike: whether the earlier plan was made for the same format, fields and limits. Then files that it has
            are cut as there, and not looked into again.

    Returns:
        The parts; new ones in the order of the files.
    """
    known: dict[tuple[str, str], list[Slice]] = {}
    if read_alike:
        for piece in sorted(itertools.chain(*previous), key=lambda piece: piece.start):
            known.setdefault((piece.file, piece.sha256), []).append(piece)
    wanted = dict.fromkeys(
        piece
        for file in sorted(files, key=lambda file: file.path)
        for piece in known.get((file.path, file.sha256)) or _cut(file, spec)
    )
    kept = []
    for part in previous:
        if part and all(piece in wanted for piece in part):
            kept.append(tuple(part))
            for piece in part:
                del wanted[piece]
    sizes = {file.path: file.bytes for file in files}
    return kept + _pack(wanted, sizes)


def _cut(file: RawFile, spec: CorpusSpec) -> list[Slice]:
    if file.bytes <= PART_BYTES or not divisible(file, spec):
        return [Slice(file.path, file.sha256)]
    return [Slice(file.path, file.sha256, *found) for found in ranges(file, spec, PART_BYTES)]


def _pack(slices: Iterable[Slice], sizes: Mapping[str, int]) -> list[Part]:
    parts: list[Part] = []
    current: list[Slice] = []
    room = PART_BYTES
    for piece in slices:
        size = (sizes[piece.file] if piece.end is None else piece.end) - piece.start
        if current and (size > room or len(current) == PART_FILES):
            parts.append(tuple(current))
            current, room = [], PART_BYTES
        current.append(piece)
        room -= size
    return [*parts, tuple(current)] if current else parts


def write_plan(parts: Sequence[Part], path: Path) -> None:
    """Write a plan as JSON: a list of parts, each a list of slices."""
    path.write_text(canonical_json([[asdict(piece) for piece in part] for part in parts]) + "\n", "utf-8")


def read_plan(path: Path) -> list[Part]:
    """Read what `write_plan` wrote."""
    return [tuple(Slice(**piece) for piece in part) for part in json.loads(path.read_text("utf-8"))]
