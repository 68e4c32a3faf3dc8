"""What the model was made from, back to the digests of the raw files."""

import json
from typing import Any

from lm_pipeline.reports.blocks import Block, Column, Details, Paragraph, Table
from lm_pipeline.reports.data import ReportData
from lm_pipeline.reports.formatting import NOTHING, integer, size

INTRO = (
    "Every artifact that this result was made from, nearest first. A key is an address: the digest of the inputs'"
    " contents, the settings that the stage reads and the stage's version. A digest is that of the content."
)


def lineage(data: ReportData) -> list[Block]:
    """A table of all ancestors, the raw files, and everything about each to unfold."""
    if not data.lineage:
        return [Paragraph("No lineage was recorded.", "warning")]
    columns = (Column("Artifact"), Column("Key"), Column("Content digest"), Column("Created", short=True))
    rows = tuple((_name(item), item["key"][:12], item["digest"][:12], _when(item)) for item in data.lineage)
    caption = "Ancestors; digests shortened, whole below"
    code = frozenset({"Key", "Content digest"})
    blocks: list[Block] = [Paragraph(INTRO, "aside"), Table(caption, columns, rows, code=code)]
    blocks += [_raw_files(item) for item in data.lineage if item.get("files")]
    return [*blocks, *(_details(item) for item in data.lineage)]


MAX_FILES = 100
"""Raw files listed per corpus; `lm-pipeline trace` prints all of them."""


def _raw_files(item: dict[str, Any]) -> Table:
    files = item["files"]
    shown = "" if len(files) <= MAX_FILES else f"; the first {MAX_FILES} of {integer(len(files))}, all by `trace`"
    rows = tuple((file["path"], size(file["bytes"]), file["sha256"]) for file in files[:MAX_FILES])
    columns = (Column("Raw file"), Column("Size", numeric=True), Column("SHA-256"))
    return Table(f"Raw files of {_name(item)}{shown}", columns, rows, code=frozenset({"Raw file", "SHA-256"}))


def _details(item: dict[str, Any]) -> Details:
    facts = (
        ("stage", item["stage"]),
        ("key", item["key"]),
        ("digest", item["digest"]),
        ("created", _when(item)),
        ("lm_pipeline", str(item.get("code_version") or NOTHING)),
    )
    spec = json.dumps(item.get("spec", {}), indent=2, ensure_ascii=False)
    return Details(_name(item), item["key"][:12], facts, spec)


def _name(item: dict[str, Any]) -> str:
    corpus = item.get("corpus")
    return str(item.get("asset") or (f"{item['stage']}[{corpus}]" if corpus else item["stage"]))


def _when(item: dict[str, Any]) -> str:
    return str(item.get("created") or NOTHING).replace("T", " ").replace("Z", " UTC")
