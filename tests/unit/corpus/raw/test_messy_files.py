"""Any bytes at all, in any packing: every record ends in exactly one place, and nothing but the record is lost."""

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import polars as pl
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.documents import clean_part, merge_summaries, plan_parts
from lm_pipeline.corpus.quality.decisions import decide_part
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.corpus.readers.read import Range, divisible, ranges, read_records
from lm_pipeline.corpus.readers.records import Quarantined
from lm_pipeline.digests import digest_file
from lm_pipeline.specs.corpus import CorpusSpec

PIECES = st.sampled_from(
    [
        *(b"\n", b"\r\n", b"\n\n", b"\t", b",", b'"', b'""', b"\xff", b"\0", b"\xef\xbb\xbf", b"\xff\xfe"),
        *(b"{", b"}", b'{"text": "', b'"}', b'{"text": "a"}\n', b'{"text": 1}\n', b"[1]\n", b'{"text": "\\ud800"}\n'),
        *(b"text,label\n", b"text\tlabel\n", b'"a, b",c\n', b"plain words of a line\n", b"x" * 2500),
        *("这是一行中文。\n".encode(), "这是一行中文。\n".encode("gbk"), "第一行".encode("utf-16")),
    ]
)
CONTENTS = st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=14).map(b"".join)


def tar(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


PACKINGS = {
    "": lambda _, data: data,
    ".gz": lambda _, data: gzip.compress(data),
    ".bz2": lambda _, data: bz2.compress(data),
    ".xz": lambda _, data: lzma.compress(data),
    ".zst": lambda _, data: zstandard.compress(data),
    ".zip": lambda name, data: zipped({name: data, f"in/{name}.gz": gzip.compress(data)}),
    ".tar": lambda name, data: tar({name: data, f"in/{name}": data}),
    ".tar.gz": lambda name, data: gzip.compress(tar({name: data, "in.zip": zipped({name: data})})),
}


@st.composite
def messy_files(draw) -> tuple[str, bytes]:
    """A name and bytes: contents, packed, and then perhaps cut or with a byte changed."""
    name = draw(st.sampled_from(["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a", "a.parquet", "a.arrow"]))
    packing = draw(st.sampled_from(sorted(PACKINGS)))
    data = PACKINGS[packing](name, draw(CONTENTS))
    harm = draw(st.sampled_from(["none", "none", "cut", "flip"]))
    if harm != "none" and data:
        at = draw(st.integers(0, len(data) - 1))
        data = (
            data[:at] if harm == "cut" else data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
        )
    return name + packing, data


def spec_of(unit: str | None) -> CorpusSpec:
    return CorpusSpec.model_validate(
        {
            "source": {"kind": "path", "path": "."},
            "format": {"kind": "text", "unit": unit} if unit else {"kind": "auto"},
            "cleaning": {"max_line_bytes": 2000},
        }
    )


@settings(max_examples=60)
@given(messy_files(), st.sampled_from([None, None, "line", "paragraph"]), st.integers(1, 400))
def test_every_record_of_a_messy_file_is_kept_rejected_or_quarantined(messy, unit, num_bytes):
    name, data = messy
    spec = spec_of(unit)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        file = RawFile(name, len(data), digest_file(path), path)
        whole = list(read_records(file, spec))
        cut = ranges(file, spec, num_bytes) if divisible(file, spec) else [Range(0, None, 0)]
        apart = [item for part in cut for item in read_records(file, spec, *part)]
        out = Path(folder) / "out"
        out.mkdir()
        (part,) = plan_parts([file], spec)
        counts = clean_part("messy", part, {name: file}, spec, out)
        decided = decide_part(out / "statistics.parquet", spec.cleaning, out / "decisions.parquet")
        rows = {table: pl.read_parquet(out / f"{table}.parquet") for table in ("documents", "quarantine")}
    assert apart == whole
    summary = merge_summaries([counts, decided])
    assert summary["records_in"] == summary["kept"] + summary["rejected"] + summary["quarantined"] == len(whole)
    assert (len(rows["documents"]), len(rows["quarantine"])) == (
        len(whole) - summary["quarantined"],
        summary["quarantined"],
    )
    # (file, record) names a document, and no document is also in quarantine.
    named = Counter((item.member, item.record) for item in whole if item.record is not None)
    assert all(count == 1 for count in named.values())
    assert rows["documents"]["document_id"].n_unique() == len(rows["documents"])
    assert all(item.reason and item.detail for item in whole if isinstance(item, Quarantined))
