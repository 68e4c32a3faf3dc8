"""Records of a part become measured documents, or are quarantined; whatever a file does, memory is bounded."""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lm_pipeline.corpus.cleaning import clean_records
from lm_pipeline.corpus.document_tables import QUARANTINE, TABLES, TableWriter, hex_digest, row_digests, sum_digests
from lm_pipeline.corpus.documents.plan import Part, Slice
from lm_pipeline.corpus.raw.raw_files import RawFile, member_path
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.corpus.readers.records import ROLES, Quarantined, Record
from lm_pipeline.digests import digest_file
from lm_pipeline.errors import InputError, LmPipelineError
from lm_pipeline.specs.corpus import CorpusSpec

BATCH_RECORDS = 8192
BATCH_BYTES = 16 * 1024 * 1024  # of text as Python holds it; a longer document is a batch of its own


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
        `characters_removed` (net, by rules of pages and lines and by normalisation); quarantined records by reason;
        what these rules took out by rule, lines under `removals` and their characters under `removed_characters`; under
        `field_values` documents by what they have a value of; `row_digests`; `files`.

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
            total["characters_in"] += sum(record.num_characters for _, record in records)
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
