import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.corpus.documents import read_documents, read_rejected
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.digests import digest_file
from lm_pipeline.specs.corpus import CorpusSpec
from tests.unit.corpus.documents.cleaned import CHINESE, ENGLISH, PART_FILES, cleaned, parts_of, table

MESSY_LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"",
                b"\r",
                b"   ",
                "　".encode(),
                ENGLISH.encode(),
                CHINESE.encode(),
                b"x" * 3000,
                b"\xff\xfe\xfd",
                b"a\0b",
            ]
        ),
        st.sampled_from(
            [b'{"text": "', b'{"text": 1}', b'{"text": "a"}', b'{"other": "a"}', b'{"text": "\\ud800"}', b"[1]"]
        ),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
        st.binary(max_size=20),
    ),
    max_size=12,
)
FORMATS = {
    "txt": [{"kind": "text", "unit": unit} for unit in ("file", "paragraph", "line")] + [{"kind": "auto"}],
    "jsonl": [{"kind": "auto"}],
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(MESSY_LINES, min_size=1, max_size=3),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([(suffix, kind) for suffix, kinds in FORMATS.items() for kind in kinds]),
)
def test_every_record_is_kept_rejected_or_quarantined(contents, line_end, form):
    suffix, kind = form
    spec = CorpusSpec.model_validate(
        {"source": {"kind": "path", "path": "."}, "format": kind, "cleaning": {"max_line_bytes": 2000}}
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {}
        for number, lines in enumerate(contents):
            data = line_end.join(lines)
            path = folder / f"{number}.{suffix}"
            path.write_bytes(data)
            files[path.name] = RawFile(path.name, len(data), digest_file(path), path)
        folders, summary = cleaned(files, spec, folder / "out")
        items = [item for file in files.values() for item in read_records(file, spec)]
        names = (*PART_FILES, "quarantine")
        heights = {name: sum(pq.read_metadata(path).num_rows for path in table(folders, name)) for name in names}
        clean_rows = [len(read(parts_of(folders)).collect()) for read in (read_documents, read_rejected)]
    assert heights["documents"] == heights["statistics"] == heights["decisions"] == sum(clean_rows)
    assert summary["records_in"] == len(items) == heights["documents"] + heights["quarantine"]
    assert [summary["kept"], summary["rejected"], summary["quarantined"]] == [*clean_rows, heights["quarantine"]]
    assert sum(summary["quarantine_reasons"].values()) == summary["quarantined"]
    assert sum(summary["languages"].values()) == summary["kept"]
    assert summary["characters_in"] == sum(summary[f"characters_{fate}"] for fate in ("kept", "rejected", "removed"))
