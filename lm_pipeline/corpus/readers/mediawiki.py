"""MediaWiki XML dumps: a document is the plain text of a page's last revision in the dump."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from lm_pipeline.corpus.extraction.sandbox import Job
from lm_pipeline.corpus.readers.compression import DamagedStreamError
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, excerpt
from lm_pipeline.corpus.readers.sandboxed import Unparsed, parsed_records
from lm_pipeline.specs.corpus import MediawikiFormat

_FILES, _CATEGORIES = "6", "14"  # numbers of namespaces, the same in every wiki
_FIELDS = {"title", "ns", "model", "timestamp", "text"}


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every page of the wanted namespaces; the record index counts all pages.

    Redirects, pages of other namespaces and pages that are no wikitext are counted in one quarantined record at the
    end, `skipped`. Broken XML costs the rest of the file.
    """
    yield from parsed_records(file, _items(file))


@dataclass(slots=True)
class _Page:
    number: int
    offset: int
    fields: dict[str, str] = field(default_factory=dict)
    is_redirect: bool = False
    length: int = 0


class _Dump:
    """Handlers of an XML parser that collect pages. Entities may not be declared: they can be a bomb."""

    def __init__(self, max_bytes: int):
        self.pages: list[_Page] = []
        self.aside: list[str] = []
        self.site = ""
        self._max_bytes = max_bytes
        self._page: _Page | None = None
        self._num_pages = 0
        self._in_revision = False
        self._text: list[str] | None = None
        self._text_size = 0
        self._namespace = ""
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.buffer_size = 1 << 20
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.EntityDeclHandler = self._refuse_entity

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "page":
            self._page = _Page(self._num_pages, self.parser.CurrentByteIndex)
            self._num_pages += 1
        elif name == "redirect" and self._page:
            self._page.is_redirect = True
        elif (name in _FIELDS and self._page) or name in {"namespace", "base"}:
            self._text, self._text_size = [], 0
            self._namespace = attributes.get("key", "")

    def _end(self, name: str) -> None:
        page = self._page
        if name == "page" and page:
            page.length = self.parser.CurrentByteIndex + len("</page>") - page.offset
            self.pages.append(page)
            self._page = None
        elif self._text is not None and (name in _FIELDS or name in {"namespace", "base"}):
            text = "".join(self._text)
            if page:
                page.fields[name] = text
            elif name == "base":
                self.site = text
            elif self._namespace in {_FILES, _CATEGORIES}:
                self.aside.append(text)
            self._text = None

    def _characters(self, data: str) -> None:
        if self._text is not None and self._text_size <= self._max_bytes:  # what is longer is told by its length
            self._text.append(data)
            self._text_size += len(data)

    def _refuse_entity(self, name: str, *_: object) -> None:
        raise DamagedStreamError(
            "invalid_xml", f"declares the entity {name!r}; a dump needs none, and they can be a bomb"
        )


def _items(file: Opened) -> Iterator[Unparsed | Quarantined]:
    wanted = {str(number) for number in _namespaces(file)}
    dump = _Dump(file.max_bytes)
    skipped: Counter[str] = Counter()
    number = offset = 0
    damage: DamagedStreamError | expat.ExpatError | None = None
    pieces = _pieces(file)
    while damage is None:
        try:
            piece = next(pieces, None)
            if piece is None:
                break
            dump.parser.Parse(piece, piece == b"")
        except (DamagedStreamError, expat.ExpatError) as error:
            damage = error  # the pages before it come first
        for page in dump.pages:
            number, offset = page.number + 1, page.offset + page.length
            if reason := _skip_reason(page, wanted):
                skipped[reason] += 1
            else:
                yield _item(file, page, dump)
        dump.pages.clear()
    if damage:
        reason = damage.reason if isinstance(damage, DamagedStreamError) else "invalid_xml"
        yield Quarantined(number, offset, reason, f"pages before this one were read: {damage}")
    if skipped:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
        yield Quarantined(None, None, "skipped", f"pages that are no wanted articles: {counts}")


def _pieces(file: Opened) -> Iterator[bytes]:
    yield from (chunk for chunk in file.content if chunk)
    yield b""


def _namespaces(file: Opened) -> tuple[int, ...]:
    wanted = file.spec.format
    return (wanted if isinstance(wanted, MediawikiFormat) else MediawikiFormat()).namespaces


def _skip_reason(page: _Page, wanted: set[str]) -> str | None:
    if page.is_redirect:
        return "redirect"
    namespace = page.fields.get("ns", "0")
    if namespace not in wanted:
        return f"of namespace {namespace}"
    model = page.fields.get("model", "wikitext")
    return None if model == "wikitext" else f"of model {model}"


def _item(file: Opened, page: _Page, dump: _Dump) -> Unparsed | Quarantined:
    title = page.fields.get("title")
    source = page.fields.get("text", "").encode()
    if len(source) > file.max_bytes:
        detail = f"{title}: more than {file.max_bytes} bytes; cleaning.max_line_bytes"
        return Quarantined(page.number, page.offset, "too_long", detail, excerpt(source[:1000]))
    job = Job("wikitext", source, {"aside": dump.aside})
    return Unparsed(
        page.number,
        job,
        page.offset,
        page.length,
        title=title,
        url=_address(dump.site, title),
        date=page.fields.get("timestamp"),
        excerpt=excerpt(source[:1000]),
    )


def _address(site: str, title: str | None) -> str | None:
    """A page's address beside the main page's, which is the one that a dump names."""
    if not title or not site.startswith(("http://", "https://")):
        return None
    return f"{site.rpartition('/')[0]}/{title.replace(' ', '_')}"
