"""Electronic books: the documents of the spine, in reading order. EPUB 2 and 3, by zipfile and resiliparse."""

import posixpath
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET
from zipfile import ZipFile

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from lm_pipeline.corpus.extraction.page_charset import UndecodableError, decode_page
from lm_pipeline.corpus.extraction.parsed import READINGS, BadRecordError, Document
from lm_pipeline.corpus.extraction.zips import opened_zip, read_member

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FONT_OBFUSCATION = {"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"}
_HTML_TYPES = {"application/xhtml+xml", "text/html"}


def read_epub(path: Path, max_bytes: int, unit: str) -> list[Document]:
    """The text of a book.

    Args:
        path: the file.
        max_bytes: longest member that is read.
        unit: `file`, or `chapter` for a document an item of the spine (`index` is its place there; items without text
            are left out).

    Raises:
        BadRecordError: `bomb`, `encrypted` (protected against copying) or `unreadable`.
    """
    with opened_zip(path) as archive:
        _refuse_encryption(archive, max_bytes)
        package_name = _package_name(archive, max_bytes)
        package = _xml(archive, package_name, max_bytes)
        title = (package.findtext(".//{*}title") or "").strip() or None
        date = (package.findtext(".//{*}date") or "").strip() or None
        chapters = [
            _chapter_text(archive, posixpath.normpath(posixpath.join(posixpath.dirname(package_name), name)), max_bytes)
            for name in _spine(package)
        ]
    if unit == "chapter":
        return [
            {"text": text, "title": title, "date": date, "index": index} for index, text in enumerate(chapters) if text
        ]
    return [{"text": "\n\n".join(filter(None, chapters)), "title": title, "date": date, "index": 0}]


def _package_name(archive: ZipFile, max_bytes: int) -> str:
    rootfile = _xml(archive, _CONTAINER, max_bytes).find(".//{*}rootfile")
    name = None if rootfile is None else rootfile.get("full-path")
    if not name:
        raise BadRecordError("unreadable", f"{_CONTAINER} names no package document")
    return name


def _spine(package: ET.Element) -> list[str]:
    """Paths of the spine's pages, without what stands aside of the reading order and the table of contents."""
    manifest = {
        item.get("id"): unquote(item.get("href") or "")
        for item in package.iterfind(".//{*}manifest/{*}item")
        if item.get("media-type") in _HTML_TYPES and "nav" not in (item.get("properties") or "").split()
    }
    references = package.iterfind(".//{*}spine/{*}itemref")
    wanted = [reference.get("idref") for reference in references if reference.get("linear") != "no"]
    return [manifest[name] for name in wanted if manifest.get(name)]


def _chapter_text(archive: ZipFile, name: str, max_bytes: int) -> str:
    try:
        html = decode_page(read_member(archive, name, max_bytes))
    except UndecodableError as error:
        raise BadRecordError("undecodable", f"{name}: {error}") from error
    return extract_plain_text(HTMLTree.parse(html), alt_texts=False, skip_elements=READINGS).strip()


def _refuse_encryption(archive: ZipFile, max_bytes: int) -> None:
    if _ENCRYPTION not in archive.namelist():
        return
    methods = _xml(archive, _ENCRYPTION, max_bytes).iterfind(".//{*}EncryptionMethod")
    foreign = {method.get("Algorithm") for method in methods} - _FONT_OBFUSCATION
    if foreign:
        raise BadRecordError("encrypted", f"protected against copying: {', '.join(sorted(map(str, foreign)))}")


def _xml(archive: ZipFile, name: str, max_bytes: int) -> ET.Element:
    data = read_member(archive, name, max_bytes)
    if b"<!ENTITY" in data:
        raise BadRecordError("unreadable", f"{name} declares entities; no book needs them, and they can be a bomb")
    try:
        return ET.fromstring(data)  # noqa: S314 (without entities, in a child with limits)
    except ET.ParseError as error:
        raise BadRecordError("unreadable", f"{name}: {error}") from error
