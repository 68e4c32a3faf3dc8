"""From raw files to measured documents and quarantined records, and back to those documents that are kept.

A corpus is cleaned in *parts* of about 64 MB: small files are packed together; large files of lines, tables and JSON
arrays are cut by byte range. A part is an artifact of its own, so a new file costs only itself. What the corpus then
contains does not depend on how it was cut: documents are identified by file and record, read in the order of both, and
digested row by row.

Per part three Parquet files, whose columns are in `corpus/document_tables.py`: every record is a row of `documents`
(and one of `statistics`), or one of `quarantine`. A part knows no thresholds: which of its documents are kept is
decided from the statistics (`corpus/decisions.py`).
"""

import contextlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lm_pipeline.artifacts import Artifact
from lm_pipeline.corpus.cleaning import clean_records
from lm_pipeline.corpus.document_tables import (
    DECISIONS,
    DOCUMENTS,
    QUARANTINE,
    STATISTICS,
    TABLES,
    TableWriter,
    hex_digest,
    row_digests,
    sum_digests,
)
from lm_pipeline.corpus.raw_files import RawFile, member_path, raw_path
from lm_pipeline.corpus.readers.read import divisible, ranges, read_records
from lm_pipeline.corpus.readers.records import ROLES, Quarantined, Record
from lm_pipeline.digests import canonical_json, digest_file
from lm_pipeline.errors import InputError, LmPipelineError
from lm_pipeline.specs.corpus import CorpusSpec

PART_BYTES = 64 * 1024 * 1024
PART_FILES = 4096  # a part's list of files stays readable
BATCH_RECORDS = 8192
BATCH_BYTES = 16 * 1024 * 1024  # of text as Python holds it; a longer document is a batch of its own


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


def clean_part(corpus: str, part: Part, files: Mapping[str, RawFile], spec: CorpusSpec, out: Path) -> dict[str, Any]:
    """Read, normalise, identify and measure the records of one part, in batches of bounded size.

    Args:
        corpus: the corpus's name.
        part: what to read.
        files: the corpus's raw files by path.
        spec: how to read and clean.
        out: an empty folder; gets `documents.parquet`, `statistics.parquet` and `quarantine.parquet`, the same bytes
            for the same input.

    Returns:
        Counts: `records_in` = `documents` + `quarantined`; `characters_in` (of what could be read) = `characters` +
        `characters_removed` (net, by normalisation and line rules); quarantined records by reason; what line rules
        took out by rule, lines under `removals` and their characters under `removed_characters`; under `field_values`
        documents by what they have a value of; `row_digests`; `files`.

    Raises:
        InputError: a raw file is not the one that was listed.
    """
    total = Counter[str]()
    reasons, removals, removed_characters = Counter[str](), Counter[str](), Counter[str]()
    field_values = Counter[str]()
    quarantine_digest = 0
    with contextlib.ExitStack() as stack:
        tables = {
            name: stack.enter_context(TableWriter(out / f"{name}.parquet", schema)) for name, schema in TABLES.items()
        }
        for records, quarantined in _batches(part, files, spec):
            documents = clean_records(corpus, records, spec)
            bad = _quarantine_table(corpus, quarantined)
            tables["documents"].write(documents)
            tables["statistics"].write(documents)
            tables["quarantine"].write(bad)
            quarantine_digest += sum_digests(row_digests(bad))
            reasons.update(bad["reason"].to_list())
            field_values.update({role: documents[role].count() for role in ROLES})
            removed = documents["removals"].explode(empty_as_null=False).struct.unnest()
            for rule, count, characters in removed.iter_rows():
                removals[rule] += count
                removed_characters[rule] += characters
            total["records_in"] += len(records) + len(quarantined)
            total["characters_in"] += sum(len(record.text) for _, record in records)
            total["characters"] += int(documents["num_characters"].sum())
    rows = {name: table.num_rows for name, table in tables.items()}
    assert total["records_in"] == rows["documents"] + rows["quarantine"]
    assert rows["documents"] == rows["statistics"]
    return {
        "records_in": total["records_in"],
        "documents": rows["documents"],
        "quarantined": rows["quarantine"],
        "characters_in": total["characters_in"],
        "characters_removed": total["characters_in"] - total["characters"],
        "quarantine_reasons": dict(sorted(reasons.items())),
        "removals": dict(sorted(removals.items())),
        "removed_characters": dict(sorted(removed_characters.items())),
        "field_values": dict(sorted(field_values.items())),
        "row_digests": {"quarantine": hex_digest(quarantine_digest)},
        "files": sorted({piece.file for piece in part}),
    }


def _quarantine_table(corpus: str, quarantined: list[tuple[str, Quarantined]]) -> pl.DataFrame:
    columns = {name: [getattr(item, name) for _, item in quarantined] for name in QUARANTINE.names()[2:]}
    files = [file for file, _ in quarantined]
    return pl.DataFrame({"corpus": [corpus] * len(files), "file": files, **columns}, schema=QUARANTINE)


def _batches(
    part: Part, files: Mapping[str, RawFile], spec: CorpusSpec
) -> Iterator[tuple[list[tuple[str, Record]], list[tuple[str, Quarantined]]]]:
    """The part's records and its quarantined records, each with the path of its file, inside an archive maybe."""
    records: list[tuple[str, Record]] = []
    quarantined: list[tuple[str, Quarantined]] = []
    size = 0
    for piece in part:
        file = files[piece.file]
        if piece.start == 0:  # once a file, not once a slice
            _verify(file, piece)
        for item in _read(file, piece, spec):
            if isinstance(item, Quarantined):
                quarantined.append((member_path(piece.file, item.member), item))
            else:
                more = sys.getsizeof(item.text) + sys.getsizeof(item.target)
                if records and size + more > BATCH_BYTES:
                    yield records, quarantined
                    records, quarantined, size = [], [], 0
                records.append((member_path(piece.file, item.member), item))
                size += more
            if len(records) + len(quarantined) >= BATCH_RECORDS:
                yield records, quarantined
                records, quarantined, size = [], [], 0
    if records or quarantined:
        yield records, quarantined


def _read(file: RawFile, piece: Slice, spec: CorpusSpec) -> Iterator[Record | Quarantined]:
    """The records of a slice; whatever stops the run says at which file."""
    try:
        yield from read_records(file, spec, piece.start, piece.end, piece.record)
    except LmPipelineError:
        raise
    except Exception as error:
        raise InputError(
            f"The raw file {file.location} stopped the run: {type(error).__name__}: {error}. If the disk is sound,"
            " exclude the file (`source.exclude`) or mend it, and please report it: a file should cost only itself."
        ) from error


def _verify(file: RawFile, piece: Slice) -> None:
    file.check_size()
    found = digest_file(file.location)
    if not found == file.sha256 == piece.sha256:
        raise InputError(
            f"The raw file {file.location} has other bytes (SHA-256 {found}) than when it was listed ({piece.sha256})."
            " Raw files must not change under a run: materialize raw_documents again."
        )


_NO_DOCUMENTS: dict[str, Any] = {
    "records_in": 0,
    "documents": 0,
    "kept": 0,
    "rejected": 0,
    "quarantined": 0,
    "characters_in": 0,
    "characters_kept": 0,
    "characters_rejected": 0,
    "characters_removed": 0,
    "bytes_kept": 0,
    "reasons": {},
    "quarantine_reasons": {},
    "removals": {},
    "removed_characters": {},
    "field_values": {},
    "languages": {},
    "personal_data": {},
    "row_digests": dict.fromkeys(("documents", "rejected", "quarantine"), hex_digest(0)),
    "files": [],
}


def merge_summaries(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What `clean_part` and `decide_part` said of several parts, together; of no part, that of an empty corpus.

    `records_in` = `kept` + `rejected` + `quarantined`, and `characters_in` = `characters_kept` +
    `characters_rejected` + `characters_removed`.
    """
    total: dict[str, Any] = dict(_NO_DOCUMENTS)
    for summary in summaries:
        for name, value in summary.items():
            if isinstance(value, int):
                total[name] += value
            elif name == "row_digests":
                sums = {key: hex_digest(int(total[name][key], 16) + int(digest, 16)) for key, digest in value.items()}
                total[name] = total[name] | sums
            elif name == "files":
                total[name] = sorted({*total[name], *value})
            else:
                total[name] = dict(sorted((Counter(total[name]) + Counter(value)).items()))
    return total


@dataclass(frozen=True)
class CleanPart:
    """The files of one part that stand row by row: what documents say, what was measured and what was decided."""

    documents: Path
    statistics: Path
    decisions: Path


def clean_parts(corpus: Artifact, parts: Sequence[Artifact]) -> list[CleanPart]:
    """The files of a corpus's parts.

    Args:
        corpus: the artifact `documents/<corpus>`.
        parts: what it is made up of, in its order.
    """
    return [
        CleanPart(part.path("documents.parquet"), part.path("statistics.parquet"), corpus.path(decisions_file(number)))
        for number, part in enumerate(parts)
    ]


def decisions_file(number: int) -> str:
    """Where the artifact of a corpus has the decisions on its part with this number."""
    return f"decisions/{number:05d}.parquet"


def read_documents(parts: Sequence[CleanPart]) -> pl.LazyFrame:
    """Kept documents of several parts in canonical order: by raw file, then by place in it.

    Rows are not sorted but read in the right order: inside a part the rows of a file are together and ascend, so
    only which part goes on where has to be known. Memory stays bounded when the frame is read in batches.

    Returns:
        The columns of `DOCUMENTS` and `STATISTICS`; without parts, no row.
    """
    return _side_by_side(parts).filter("kept").select(*DOCUMENTS, *STATISTICS)


def read_rejected(parts: Sequence[CleanPart]) -> pl.LazyFrame:
    """Rejected documents of several parts, in canonical order: as `read_documents`, with their `reasons`."""
    return _side_by_side(parts).filter(~pl.col("kept")).select(*DOCUMENTS, *STATISTICS, "reasons")


def _side_by_side(parts: Sequence[CleanPart]) -> pl.LazyFrame:
    schema = pl.Schema({**DOCUMENTS, **STATISTICS, **DECISIONS})
    return in_order([(part.documents, part.statistics, part.decisions) for part in parts], schema)


def in_order(parts: Sequence[Sequence[Path]], schema: pl.Schema) -> pl.LazyFrame:
    """All rows of several parts in canonical order.

    Args:
        parts: of each part, the Parquet files that stand row by row. The first has `file` and `record`, and no two
            have columns of the same name.
        schema: the columns there are where there is no row.
    """
    pieces = canonical_pieces([part[0] for part in parts])
    if not pieces:
        return pl.LazyFrame(schema=schema)
    return pl.concat(
        pl.concat([pl.scan_parquet(path).slice(row, num_rows) for path in parts[number]], how="horizontal")
        for number, row, num_rows in pieces
    )


def canonical_pieces(parts: Sequence[Path]) -> list[tuple[int, int, int]]:
    """In which order the rows of several parts are read: by raw file, then by place in it.

    Args:
        parts: Parquet files with `file` and `record`.

    Returns:
        Pieces: the number of the part, its first row and how many rows are read from there.
    """
    runs = []  # (file, first record, part, first row, number of rows)
    for number, path in enumerate(parts):
        # A run ends where another file begins, or where a later part of the same file comes before an earlier one.
        files = pl.read_parquet(path, columns=["file", "record"]).with_row_index("row")
        # An archive is in one part as a whole, its members in the archive's own order.
        raw = pl.col("file").str.splitn("//", 2).struct[0]
        earlier = pl.col("file").eq(pl.col("file").shift(1)) & pl.col("record").lt(pl.col("record").shift(1))
        jump = raw.ne(raw.shift(1)) | earlier
        grouped = files.group_by(jump.fill_null(value=False).cum_sum().alias("run"), maintain_order=True).agg(
            pl.first("file", "record", "row"), num_rows=pl.len()
        )
        runs += [(raw_path(file), record, number, row, n) for _, file, record, row, n in grouped.iter_rows()]
    pieces: list[tuple[int, int, int]] = []
    for _, _, number, row, num_rows in sorted(runs, key=lambda run: run[:2]):
        if pieces and pieces[-1][0] == number and sum(pieces[-1][1:]) == row:
            pieces[-1] = (number, pieces[-1][1], pieces[-1][2] + num_rows)
        else:
            pieces.append((number, row, num_rows))
    return pieces
