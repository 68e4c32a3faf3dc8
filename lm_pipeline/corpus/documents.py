"""From raw files to clean documents, rejected documents with their reasons, and quarantined records.

A corpus is cleaned in *parts* of about 64 MB: small files are packed together, large files of lines are cut by byte
range. A part is an artifact of its own, so a new file costs only itself. What the corpus then contains does not
depend on how it was cut: documents are identified by file and record, read in the order of both, and digested row by
row.

Per part three Parquet files, whose columns are in `corpus/document_tables.py`. Every record is in
exactly one of them.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from lm_pipeline.artifacts import canonical_json, digest_file
from lm_pipeline.corpus.cleaning import clean_records
from lm_pipeline.corpus.document_tables import (
    DOCUMENTS,
    QUARANTINE,
    REJECTED,
    TABLES,
    TableWriter,
    digest_rows,
    hex_digest,
)
from lm_pipeline.corpus.raw_files import RawFile
from lm_pipeline.corpus.readers.read import divisible, read_records
from lm_pipeline.corpus.readers.records import Quarantined, Record
from lm_pipeline.errors import InputError
from lm_pipeline.specs.corpus import CorpusSpec

PART_BYTES = 64 * 1024 * 1024
PART_FILES = 4096  # a part's list of files stays readable
BATCH_RECORDS = 8192
BATCH_CHARACTERS = 16 * 1024 * 1024


@dataclass(frozen=True, order=True)
class Slice:
    """A raw file, or the lines of it that begin in the bytes from `start` to before `end` (None: its end)."""

    file: str
    sha256: str
    start: int = 0
    end: int | None = None


Part = tuple[Slice, ...]
"""What is cleaned together. As JSON: a list of `dataclasses.asdict(slice)`."""


def plan_parts(files: Sequence[RawFile], spec: CorpusSpec, previous: Sequence[Part] = ()) -> list[Part]:
    """Cover every file exactly once.

    Args:
        files: the corpus's raw files.
        spec: how they are read.
        previous: the parts of an earlier plan. Those whose slices are all still wanted stay as they are, first.

    Returns:
        The parts; new ones in the order of the files.
    """
    wanted = dict.fromkeys(piece for file in sorted(files, key=lambda file: file.path) for piece in _cut(file, spec))
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
    starts = range(0, file.bytes, PART_BYTES)
    ends = [*starts[1:], None]
    return [Slice(file.path, file.sha256, start, end) for start, end in zip(starts, ends, strict=True)]


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
    """Read, normalise, identify and judge the records of one part, in batches of bounded size.

    Args:
        corpus: the corpus's name.
        part: what to read.
        files: the corpus's raw files by path.
        spec: how to read and clean.
        out: an empty folder; gets `documents.parquet`, `rejected.parquet` and `quarantine.parquet`, the same bytes
            for the same input.

    Returns:
        Counts: `records_in` = `kept` + `rejected` + `quarantined`; `characters_in` (of what could be read) =
        `characters_kept` + `characters_rejected` + `characters_removed` (net, by normalisation); `bytes_kept`; rejected
        documents by rule under `reasons` (one document may have several), quarantined records by reason, kept
        documents by language; `row_digests` by table; `files`.

    Raises:
        InputError: a raw file is not the one that was listed.
    """
    summary = merge_summaries([])
    with contextlib.ExitStack() as stack:
        tables = {
            name: stack.enter_context(TableWriter(out / f"{name}.parquet", schema)) for name, schema in TABLES.items()
        }
        for records, quarantined in _batches(part, files, spec):
            documents = clean_records(corpus, records, spec)
            kept = documents.filter(pl.col("reasons").list.len() == 0)
            rejected = documents.filter(pl.col("reasons").list.len() > 0)
            bad = pl.DataFrame(
                [{"corpus": corpus, "file": file, **asdict(item)} for file, item in quarantined], schema=QUARANTINE
            )
            tables["documents"].write(kept.select(DOCUMENTS.names()))
            tables["rejected"].write(rejected.select(REJECTED.names()))
            tables["quarantine"].write(bad)
            characters_in = sum(len(record.text) for _, record in records)
            counts = _count(characters_in, kept, rejected, bad) | {"records_in": len(records) + len(quarantined)}
            summary = merge_summaries([summary, counts])
        summary["row_digests"] = {name: table.digest for name, table in tables.items()}
    summary["files"] = sorted({piece.file for piece in part})
    assert summary["records_in"] == summary["kept"] + summary["rejected"] + summary["quarantined"]
    assert summary["records_in"] == sum(table.num_rows for table in tables.values())
    return summary


def _batches(
    part: Part, files: Mapping[str, RawFile], spec: CorpusSpec
) -> Iterator[tuple[list[tuple[str, Record]], list[tuple[str, Quarantined]]]]:
    """The part's records and its quarantined records, each with the file's path."""
    records: list[tuple[str, Record]] = []
    quarantined: list[tuple[str, Quarantined]] = []
    characters = 0
    for piece in part:
        file = files[piece.file]
        if piece.start == 0:  # once a file, not once a slice
            _verify(file, piece)
        for item in read_records(file, spec, piece.start, piece.end):
            if isinstance(item, Quarantined):
                quarantined.append((piece.file, item))
            else:
                records.append((piece.file, item))
                characters += len(item.text) + len(item.target or "")
            if len(records) + len(quarantined) >= BATCH_RECORDS or characters >= BATCH_CHARACTERS:
                yield records, quarantined
                records, quarantined, characters = [], [], 0
    if records or quarantined:
        yield records, quarantined


def _verify(file: RawFile, piece: Slice) -> None:
    file.check_size()
    found = digest_file(file.location)
    if not found == file.sha256 == piece.sha256:
        raise InputError(
            f"The raw file {file.location} has other bytes (SHA-256 {found}) than when it was listed ({piece.sha256})."
            " Raw files must not change under a run: materialize raw_documents again."
        )


def _count(characters_in: int, kept: pl.DataFrame, rejected: pl.DataFrame, bad: pl.DataFrame) -> dict[str, Any]:
    rules = rejected.select(pl.col("reasons").list.eval(pl.element().struct.field("rule"))).explode("reasons")
    characters_kept, characters_rejected = (int(frame["num_characters"].sum()) for frame in (kept, rejected))
    return {
        "records_in": 0,
        "kept": len(kept),
        "rejected": len(rejected),
        "quarantined": len(bad),
        "characters_in": characters_in,
        "characters_kept": characters_kept,
        "characters_rejected": characters_rejected,
        "characters_removed": characters_in - characters_kept - characters_rejected,
        "bytes_kept": int(kept["num_bytes"].sum()),
        "reasons": dict(Counter(rules["reasons"].to_list())),
        "quarantine_reasons": dict(Counter(bad["reason"].to_list())),
        "languages": dict(Counter(kept["language"].to_list())),
        "row_digests": {},
        "files": [],
    }


def merge_summaries(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The summary of several parts together; of no part, the one of an empty corpus."""
    empty = pl.DataFrame(schema=REJECTED)
    total = _count(0, empty, empty, pl.DataFrame(schema=QUARANTINE))
    total["row_digests"] = dict.fromkeys(TABLES, hex_digest(0))
    for summary in summaries:
        for name, value in summary.items():
            if isinstance(value, int):
                total[name] += value
            elif name == "row_digests":
                total[name] = {
                    key: hex_digest(int(total[name][key], 16) + int(value.get(key, "0"), 16)) for key in TABLES
                }
            elif name == "files":
                total[name] = sorted({*total[name], *value})
            else:
                total[name] = dict(sorted((Counter(total[name]) + Counter(value)).items()))
    return total


def row_digests(tables: Iterable[Path]) -> str:
    """Digest of the rows of Parquet files, whatever their order and their distribution over files and row groups.

    The sum modulo 2^256 of each row's SHA-256, so that parts are digested apart and added up.

    Returns:
        64 hex digits; zero for no rows.
    """
    total = 0
    for path in tables:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            total += digest_rows(pl.DataFrame(file.read_row_group(group)))
    return hex_digest(total)


def read_documents(parts: Sequence[Path]) -> pl.LazyFrame:
    """Documents of several parts in canonical order: by file, then by record.

    Rows are not sorted but read in the right order: inside a part the rows of a file are together and ascend, so
    only which part goes on where has to be known. Memory stays bounded when the frame is read in batches.

    Args:
        parts: `documents.parquet` (or `rejected.parquet`) files.

    Returns:
        The rows; without parts, none with the columns `DOCUMENTS`.
    """
    runs = []  # (file, first record, part, first row, number of rows)
    for path in parts:
        # A run ends where another file begins, or where a later part of the same file comes before an earlier one.
        files = pl.read_parquet(path, columns=["file", "record"]).with_row_index("row")
        jump = (pl.col("file") != pl.col("file").shift(1)) | (pl.col("record") < pl.col("record").shift(1))
        grouped = files.group_by(jump.fill_null(value=False).cum_sum().alias("run"), maintain_order=True).agg(
            pl.first("file", "record", "row"), num_rows=pl.len()
        )
        runs += [(file, record, path, row, n) for _, file, record, row, n in grouped.iter_rows()]
    pieces: list[list[Any]] = []
    for _, _, path, row, num_rows in sorted(runs, key=lambda run: run[:2]):
        if pieces and pieces[-1][0] == path and sum(pieces[-1][1:]) == row:
            pieces[-1][2] += num_rows
        else:
            pieces.append([path, row, num_rows])
    if not pieces:
        return pl.scan_parquet(parts[0]) if parts else pl.LazyFrame(schema=DOCUMENTS)
    return pl.concat([pl.scan_parquet(path).slice(row, num_rows) for path, row, num_rows in pieces])
