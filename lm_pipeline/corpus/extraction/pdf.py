"""The text layer of PDF files, by pdfium."""

import re
from collections import Counter
from pathlib import Path

import pypdfium2

from lm_pipeline.corpus.extraction.parsed import BadRecordError, Document

_HYPHEN = "\ufffe"  # pdfium's mark for a hyphen that only divides a word at a line's end
_SENTENCE_END = re.compile(r"[.!?。！？…:：]['\"”’»」』)）\]]*$")
_WIDE_END = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]$")
_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_BLANK_LINES = re.compile(r"\n{3,}")
_FULL_LINE = 0.85
_DATE = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?")


def read_pdf(source: Path | bytes, unit: str) -> list[Document]:
    """The text of a PDF, lines that run on joined to paragraphs.

    Args:
        source: the file, or its bytes.
        unit: `file`, or `page` for a document a page (`index` is the page's number from 0; empty ones are left out).

    Raises:
        BadRecordError: `encrypted`, `no_text_layer` (scans), or `unreadable`.
    """
    try:
        pdf = pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        reason = "encrypted" if "password" in str(error).lower() else "unreadable"
        raise BadRecordError(reason, f"pdfium: {error}") from error
    with pdf:
        title = pdf.get_metadata_value("Title").strip() or None
        date = _iso_date(pdf.get_metadata_value("CreationDate"))
        pages = [joined_lines(page) for page in without_running_lines([_lines(pdf, n) for n in range(len(pdf))])]
    if not any(pages):
        raise BadRecordError(
            "no_text_layer", f"none of its {len(pages)} pages has a text layer; pictures of text need OCR"
        )
    if unit == "page":
        return [
            {"text": text, "title": title, "date": date, "index": number} for number, text in enumerate(pages) if text
        ]
    return [{"text": "\n\n".join(filter(None, pages)), "title": title, "date": date, "index": 0}]


def _lines(pdf: pypdfium2.PdfDocument, number: int) -> list[str]:
    """A page's lines; a word that is divided at a line's end is put together."""
    page = pdf[number]
    try:
        text_page = page.get_textpage()
        try:
            text = text_page.get_text_range()
        finally:
            text_page.close()
    finally:
        page.close()
    text = text.replace(_HYPHEN + "\r\n", "").replace(_HYPHEN, "").replace("\r\n", "\n").replace("\r", "\n")
    return [line.strip() for line in text.strip().split("\n")]


def without_running_lines(pages: list[list[str]]) -> list[list[str]]:
    """Drop heads and feet: first and last lines that stand on half of the pages, three at least, numbers apart.

    >>> without_running_lines([["Guide", "One.", "1"], ["Guide", "Two.", "2"], ["Guide", "Three.", "3"]])
    [['One.'], ['Two.'], ['Three.']]
    """
    for place in (0, -1):
        lines = [_NUMBER.sub("#", page[place]) for page in pages if page]
        running = {line for line, count in Counter(lines).items() if count >= max(3, 0.5 * len(lines))}
        pages = [_without(page, place) if page and _NUMBER.sub("#", page[place]) in running else page for page in pages]
    return pages


def _without(lines: list[str], place: int) -> list[str]:
    return lines[1:] if place == 0 else lines[:-1]


def joined_lines(lines: list[str]) -> str:
    r"""Join lines that were only broken because they were full.

    A line is full if it has at least 85 % of the longest line's characters and does not end a sentence.

    >>> joined_lines(["A line that is full and", "goes on with these words", "and ends.", "Title"])
    'A line that is full and goes on with these words and ends.\nTitle'
    """
    full = _FULL_LINE * max(map(len, lines), default=0)
    joined: list[str] = []
    last_length = 0
    for line in lines:
        runs_on = line and joined and last_length >= full and not _SENTENCE_END.search(joined[-1])
        if runs_on:
            joined[-1] += line if _WIDE_END.search(joined[-1]) else f" {line}"
        else:
            joined.append(line)
        last_length = len(line)
    return _BLANK_LINES.sub("\n\n", "\n".join(joined)).strip()


def _iso_date(written: str) -> str | None:
    """PDF's `D:20240131...` as far as it goes."""
    match = _DATE.match(written)
    return "-".join(filter(None, match.groups())) if match else None
