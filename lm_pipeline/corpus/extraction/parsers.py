"""The parsers that run in the child process, by name. Each is imported when it is first used."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_pipeline.corpus.extraction.parsed import BadRecordError, Document, storable


def parse_html(data: bytes, extractor: str = "resiliparse", charset: str | None = None) -> list[Document]:
    """A web page.

    Args:
        data: its bytes.
        extractor: see `pages.extract_page`.
        charset: the character set that HTTP or the spec declares.

    Raises:
        BadRecordError: `undecodable`.
    """
    from lm_pipeline.corpus.extraction.page_charset import UndecodableError, decode_page
    from lm_pipeline.corpus.extraction.pages import extract_page

    try:
        html = decode_page(data, charset)
    except UndecodableError as error:
        raise BadRecordError("undecodable", str(error)) from error
    page = extract_page(html, extractor)
    return [{"text": page.text, "title": page.title, "url": page.url, "date": page.date, "removals": page.removals}]


def parse_plain(data: bytes, charset: str | None = None) -> list[Document]:
    """A plain text that came over HTTP; its character set is found as a page's is."""
    from lm_pipeline.corpus.extraction.page_charset import UndecodableError, decode_page

    try:
        return [{"text": decode_page(data, charset)}]
    except UndecodableError as error:
        raise BadRecordError("undecodable", str(error)) from error


def parse_capture(data: bytes, media_type: str, max_bytes: int, extractor: str) -> list[Document]:
    """A capture of a web archive: an HTTP answer or a resource; see `captures.read_answer`."""
    from lm_pipeline.corpus.extraction.captures import read_answer

    answer = read_answer(data, media_type, max_bytes)
    if answer.kind == "pdf":
        return parse_pdf(answer.body)
    if answer.kind == "plain":
        return parse_plain(answer.body, answer.charset)
    return parse_html(answer.body, extractor, answer.charset)


def parse_pdf(data: bytes, path: str | None = None, unit: str = "file") -> list[Document]:
    """The text layer of a PDF, of its bytes or at a path; see `pdf.read_pdf`."""
    from lm_pipeline.corpus.extraction.pdf import read_pdf

    return read_pdf(Path(path) if path else data, unit)


def parse_docx(_: bytes, path: str, max_bytes: int) -> list[Document]:
    """A Word document at a path; see `docx.read_docx`."""
    from lm_pipeline.corpus.extraction.docx import read_docx

    return read_docx(Path(path), max_bytes)


def parse_epub(_: bytes, path: str, max_bytes: int, unit: str = "file") -> list[Document]:
    """An electronic book at a path; see `epub.read_epub`."""
    from lm_pipeline.corpus.extraction.epub import read_epub

    return read_epub(Path(path), max_bytes, unit)


def parse_wikitext(data: bytes, **options: Any) -> list[Document]:
    """Wikitext in UTF-8; see `wikitext.plain_text`."""
    from lm_pipeline.corpus.extraction.wikitext import plain_text

    return [{"text": plain_text(data.decode(), **options)}]


def probe(_: bytes, fault: str) -> list[Document]:
    """Misbehave on purpose, to see that the limits hold: `hang`, `crash`, `memory`, `abort`."""
    if fault == "hang":
        time.sleep(3600)
    elif fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "memory":
        hoard = [bytearray(1 << 24) for _ in range(1 << 16)]
        return [{"text": str(len(hoard))}]
    elif fault == "abort":
        os.write(2, b"memory allocation of 9 bytes failed\n")
        os.abort()
    return [{"text": fault}]


def _storing(parse: Callable[..., list[Document]]) -> Callable[..., list[Document]]:
    def parse_storable(data: bytes, **options: Any) -> list[Document]:
        documents = parse(data, **options)
        for document in documents:
            for name in ("text", "title", "url", "date"):
                if value := document.get(name):
                    document[name] = storable(value)
        return documents

    return parse_storable


PARSERS: dict[str, Callable[..., list[Document]]] = {
    "html": _storing(parse_html),
    "capture": _storing(parse_capture),
    "pdf": _storing(parse_pdf),
    "docx": _storing(parse_docx),
    "epub": _storing(parse_epub),
    "wikitext": _storing(parse_wikitext),
    "probe": probe,
}
