"""The text layer of PDF files, by pdfium."""

import re
from itertools import pairwise
from pathlib import Path

import pypdfium2

from lm_pipeline.corpus.extraction.parsed import BadRecordError, Document

_HYPHEN = "\ufffe"  # pdfium's mark for a hyphen that only divides a word at a line's end
_SENTENCE_END = re.compile(r"[.!?。！？…:：]['\"”’»」』)）\]]*$")
_WIDE_END = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]$")
_NUMBER = re.compile(r"\d{1,9}|\b[ivxlc]+\b")
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_HEADING_BEFORE = re.compile(
    r"""\b(?:act|annex|appendix|article|book|canto|case|chapter|day|example|exercise|exhibit|figure|lecture|lesson|module
    |part|poem|problem|question|scene|section|session|step|story|table|topic|unit|volume|week)\W{0,3}$
    |[第图圖表例题題课課]\s?$|(?:附[录錄件]|[问問]题|单元|單元|[专專][题題]|[练練][习習]|步[骤驟]|案例|附表|附[图圖])\s?$""",
    re.IGNORECASE | re.VERBOSE,
)
_PAGE_AFTER = re.compile(r"\s?[页頁張张]")
_REGULAR = 0.8
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
    """Drop heads and feet: first and last lines that stand on half of the pages, three at least, page numbers apart.

    The only line of a page stays, whatever it is.

    >>> without_running_lines([["Guide", "One.", "1"], ["Guide", "Two.", "2"], ["Guide", "Three.", "3"]])
    [['One.'], ['Two.'], ['Three.']]
    """
    for place in (0, -1):
        running = _running({index: page[place] for index, page in enumerate(pages) if any(page)})
        rests = [page[1:] if place == 0 else page[:-1] for page in pages]
        pages = [
            rest if index in running and any(rest) else page
            for index, (page, rest) in enumerate(zip(pages, rests, strict=True))
        ]
    return pages


def _running(lines: dict[int, str]) -> set[int]:
    """Of a line of each page, by the page's index, the pages where it is one of many that are equal."""
    alike: dict[tuple[str, ...], list[int]] = {}  # what stands around the numbers; a stand-in could be text as well
    for index, line in lines.items():
        alike.setdefault(tuple(_NUMBER.split(line)), []).append(index)
    enough = max(3, 0.5 * len(lines))
    return {
        index
        for indices in alike.values()
        if len(indices) >= enough and _only_page_numbers_vary({index: lines[index] for index in indices})
        for index in indices
    }


def _only_page_numbers_vary(lines: dict[int, str]) -> bool:
    """Whether each number of lines that are else equal stays the same from page to page, or grows as pages do.

    A new count (after a preface, in each chapter) may begin now and then. Two a page are spreads. What counts chapters
    may not grow with the pages, or every page began one.
    """
    first = next(iter(lines.values()))
    headings = [
        _HEADING_BEFORE.search(first[: number.start()]) and not _PAGE_AFTER.match(first, number.end())
        for number in _NUMBER.finditer(first)
    ]
    columns = zip(*(map(_value, _NUMBER.findall(line)) for line in lines.values()), strict=True)
    for column, is_heading in zip(columns, headings, strict=True):
        regular = 0
        for (page, value), (next_page, next_value) in pairwise(zip(lines, column, strict=True)):
            step = (next_value - value) / (next_page - page)
            regular += step == 0 or (step in {1, 2} and not is_heading)
        if regular < _REGULAR * (len(lines) - 1):
            return False
    return True


def _value(number: str) -> int:
    """Of digits or Roman numerals.

    >>> [_value(number) for number in ("12", "iv", "xli")]
    [12, 4, 41]
    """
    if number.isdecimal():
        return int(number)
    values = [_ROMAN[letter] for letter in number]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))


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
