"""Word documents: paragraphs and tables in their order, then notes. python-docx opens them; text is taken from the XML.

python-docx's own paragraphs leave out what stands in insertions, content controls, smart tags, simple fields and text
boxes. Foot- and endnotes come after the body, as in pandoc's plain text, but without their marks. Headers and footers,
which repeat on every page, and comments, which are about the text, are left out. Elements by ECMA-376, part 1, section
17 (WordprocessingML).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import docx
from docx.document import Document as WordDocument
from docx.opc.exceptions import PackageNotFoundError
from docx.oxml import parse_xml
from lxml.etree import QName, XMLSyntaxError

from lm_pipeline.corpus.extraction.parsed import BadRecordError, Document
from lm_pipeline.corpus.extraction.zips import opened_zip

_UNSEEN = {"del", "moveFrom", "pPr", "rPr", "sdtPr", "rt"}
"""What is no text of the final document: deletions, properties (tab stops are called tabs, too), readings of ruby."""
_CHARACTERS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_UNSEEN_IF = {"tr": "{*}trPr/{*}del", "tc": "{*}tcPr/{*}cellDel", "sdt": "{*}sdtPr/{*}showingPlcHdr"}
"""Rows and cells that are deleted, content controls that show only how to fill them in."""
_JOINED_IF = ("{*}pPr/{*}rPr/{*}del", "{*}pPr/{*}rPr/{*}moveFrom")
"""A paragraph whose end is deleted; the next one continues it."""


def read_docx(path: Path, max_bytes: int) -> list[Document]:
    """The text of a document with its changes accepted: a line a paragraph or row of a table, cells divided by tabs.

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
        notes = [line for kind in ("footnote", "endnote") for line in _notes(document, kind)]
    except (PackageNotFoundError, BadZipFile, XMLSyntaxError, KeyError, ValueError) as error:
        raise BadRecordError("unreadable", f"not a sound Word document: {error}") from error
    properties = document.core_properties
    created = properties.created
    return [
        {
            "text": "\n".join([*_lines(document.element), *notes]).strip("\n"),
            "title": properties.title.strip() or None,
            "date": created.date().isoformat() if created else None,
        }
    ]


def _notes(document: WordDocument, kind: str) -> Iterator[str]:
    """Lines of the notes whose marks are in the text, in the order of these."""
    parts = [part for part in document.part.rels.values() if part.reltype.endswith(f"/{kind}s")]
    notes = {_id(note): note for part in parts for note in parse_xml(part.target_part.blob)}
    for number in dict.fromkeys(_id(mark) for mark in _descendants(document.element, f"{kind}Reference")):
        yield from (line for line in map(str.strip, _lines(notes.get(number, ()))) if line)


def _id(element: Any) -> str | None:
    return next((value for name, value in element.items() if QName(name).localname == "id"), None)


def _lines(container: Iterable[Any]) -> Iterator[str]:
    """Lines of a document, a cell of a table or a text box."""
    text, boxes = "", []  # of paragraphs whose end is deleted and that may go on
    for element in _seen(container):
        name = _name(element)
        if name == "p":
            text += "".join(_pieces(element, boxes))
            if not any(element.find(path) is not None for path in _JOINED_IF):
                yield from _with_boxes(text, boxes)
                text, boxes = "", []
            continue
        lines = list(_rows(element) if name == "tbl" else _lines(element))
        if lines and (text or boxes):  # nothing but a paragraph continues one
            yield from _with_boxes(text, boxes)
            text, boxes = "", []
        yield from lines
    if text or boxes:
        yield from _with_boxes(text, boxes)


def _with_boxes(text: str, boxes: Iterable[Any]) -> Iterator[str]:
    """A paragraph, and the lines of the text boxes that are anchored there."""
    yield text
    for box in boxes:
        yield from _lines(box)


def _rows(table: Iterable[Any]) -> Iterator[str]:
    """A line a row."""
    for row in _descendants(table, "tr"):
        yield "\t".join(" ".join(filter(None, _lines(cell))) for cell in _descendants(row, "tc"))


def _pieces(container: Iterable[Any], boxes: list[Any]) -> Iterator[str]:
    """The text of a paragraph, run by run; the text boxes that are anchored there are collected."""
    for element in _seen(container):
        name = _name(element)
        if name == "t":
            yield element.text or ""
        elif name in _CHARACTERS:
            yield _CHARACTERS[name]
        elif name == "txbxContent":
            boxes.append(element)
        else:
            yield from _pieces(element, boxes)


def _descendants(container: Iterable[Any], name: str) -> Iterator[Any]:
    """Rows of a table or cells of a row, which may stand in content controls as well."""
    for element in _seen(container):
        if _name(element) == name:
            yield element
        else:
            yield from _descendants(element, name)


def _seen(container: Iterable[Any]) -> Iterator[Any]:
    """What a reader sees of an element's parts; of alternatives for old and new programs, the first."""
    for element in container:
        name = _name(element)
        if name == "AlternateContent":
            yield from element[:1]
        elif name not in _UNSEEN and (name not in _UNSEEN_IF or element.find(_UNSEEN_IF[name]) is None):
            yield element


def _name(element: Any) -> str:
    """Without its namespace; empty for a comment."""
    return QName(element).localname if isinstance(element.tag, str) else ""
