"""Word documents: paragraphs and tables in their order, by python-docx."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import docx
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table
from lxml.etree import XMLSyntaxError

from lm_pipeline.corpus.extraction.parsed import BadRecordError, Document
from lm_pipeline.corpus.extraction.zips import opened_zip


def read_docx(path: Path, max_bytes: int) -> list[Document]:
    """The text of a document: a line a paragraph or row of a table, cells divided by tabs.

    Args:
        path: the file.
        max_bytes: longest XML part that is read.

    Raises:
        BadRecordError: `bomb`, `encrypted` or `unreadable`.
    """
    with opened_zip(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith((".xml", ".rels")) and info.file_size > max_bytes:
                detail = f"its member {info.filename!r} expands to {info.file_size} bytes; at most {max_bytes} are read"
                raise BadRecordError("bomb", detail)
    try:
        document = docx.Document(str(path))
    except (PackageNotFoundError, BadZipFile, XMLSyntaxError, KeyError, ValueError) as error:
        raise BadRecordError("unreadable", f"not a sound Word document: {error}") from error
    properties = document.core_properties
    created = properties.created
    return [
        {
            "text": "\n".join(_lines(document)).strip("\n"),
            "title": properties.title.strip() or None,
            "date": created.date().isoformat() if created else None,
        }
    ]


def _lines(container: Any) -> Iterator[str]:
    """Lines of a document or a cell of a table."""
    for item in container.iter_inner_content():
        if isinstance(item, Table):
            for row in item.rows:
                cells: list[Any] = []
                for cell in row.cells:
                    if not cells or cells[-1]._tc is not cell._tc:  # noqa: SLF001 (a merged cell comes once a column)
                        cells.append(cell)
                yield "\t".join(" ".join(filter(None, _lines(cell))) for cell in cells)
        else:
            yield item.text
