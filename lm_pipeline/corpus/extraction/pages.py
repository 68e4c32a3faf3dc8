"""A web page's text and what it says about itself."""

import re
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from typing import Any

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import DocumentNode, ElementNode, HTMLTree

from lm_pipeline.corpus.extraction.blocks import Block, join_blocks, parse_blocks, size_of
from lm_pipeline.corpus.extraction.boilerplate import without_boilerplate
from lm_pipeline.corpus.extraction.parsed import READINGS, Removal


@dataclass(slots=True)
class Page:
    """What is taken out of a page.

    Attributes:
        text: plain text; may be empty.
        title: its headline, else what it calls itself.
        url: its own, canonical address.
        date: when it was published, ISO 8601, as far as the page says it in such a form.
        removals: what each rule of `boilerplate.py` took out.
    """

    text: str
    title: str | None = None
    url: str | None = None
    date: str | None = None
    removals: list[Removal] = field(default_factory=list)


_ASIDE = ["figcaption", "[class*=caption i]", "[itemprop=caption]", *READINGS]
_ARTICLE_LINKS = "p a[rel], p a[class], blockquote[class*=twitter i]"
_DOCBOOK_BOXES = ".sidebar > .titlepage"
_SHALLOW_LISTS = "body > ul, body > * > ul, body > * > :not(li) > ul"
_SHALLOW_TEXT_LISTS = ", ".join(f"body > {'* > ' * depth}p ~ ul" for depth in range(3)) + (
    ", body > :is(main, article) > ul, body > * > :is(main, article) > ul, body > :is(main, article) > * > ul"
)
_LINE = 80  # letters
_NUM_WRAPPERS = 4
_OPEN_ANCHOR = re.compile(r"<a\b([^<>]*)/>", re.IGNORECASE)
_LONE_CHARACTER = re.compile(
    r">\s*+([!-~][^\x00-\x7f]|[\u0800-\uffff]|(?!&nbsp;)[!-~]?&#?\w++;)(?=\s*+(?:<|\Z))", re.ASCII
)
_STAND_IN = "\ufdd0"  # no character, reserved for use within programs
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?")
_JSON_LD_DATE = re.compile(r'"datePublished"\s*:\s*"([^"]{10,40})"')
_TITLES = "meta[property='og:title'], meta[name='og:title'], meta[name='twitter:title']"
_URLS = "link[rel=canonical], meta[property='og:url']"
_DATES = (
    "meta[property='article:published_time'], meta[itemprop=datePublished], meta[name=date i], meta[name=pubdate i],"
    "meta[name=publishdate i], meta[name='dc.date' i], time[itemprop=datePublished], time[pubdate],"
    "article time[datetime]"
)


def extract_page(html: str, extractor: str = "resiliparse") -> Page:
    """Take the main content and the metadata out of a page.

    Args:
        html: the page.
        extractor: `resiliparse` with the rules of `boilerplate.py`; `trafilatura`; `none` for all visible text.

    Returns:
        The page; the headline is its title and not part of the text (with `none` and `trafilatura` it may be).
    """
    closed = _OPEN_ANCHOR.sub(r"<a\1></a>", html) if "/>" in html else html
    tree = HTMLTree.parse(_LONE_CHARACTER.sub(_with_stand_in, closed) if extractor == "resiliparse" else closed)
    document = tree.document
    if document is None:
        return Page("")
    named = (_first(document, _TITLES) or "", tree.title or "")
    titles = [title for name in named if (title := name.replace(_STAND_IN, "").strip())]
    page = Page("", titles[0] if titles else None, _url(document), _date(document, html))
    if extractor == "none":
        page.text = extract_plain_text(tree, alt_texts=False, skip_elements=READINGS).strip()
    elif extractor == "trafilatura":
        page.text = _trafilatura()(html, include_comments=False, favor_precision=True) or ""
    else:
        blocks, headline, page.removals = without_boilerplate(_main_content(tree, document), titles)
        page.text, page.title = join_blocks(blocks), headline or page.title
    return page


def _main_content(tree: HTMLTree, document: DocumentNode) -> list[Block]:
    _spare_text(document)
    minimal = extract_plain_text(
        tree,
        preserve_formatting="minimal_html",
        main_content=True,
        alt_texts=False,
        links=True,
        comments=False,
        post_meta=False,
        skip_elements=_ASIDE,
    )
    return list(parse_blocks(minimal.replace(_STAND_IN, "")))


def _with_stand_in(match: re.Match[str]) -> str:
    """A text of one character or two with a stand-in behind it.

    resiliparse takes any text of three bytes that does not end in ASCII for an icon of the private use area: one Han,
    Kana or Hangul character, one mark such as 、 or a dash, an ASCII character with an accented letter or a hard space.
    Icons, what cannot be seen, and signs of a section's anchor (¶) go as before.
    """
    text = unescape(match[1])
    is_icon = len(text) == 1 and (text < "\u0800" or not text.isprintable())
    return match[0] if is_icon else match[0] + _STAND_IN


def _spare_text(document: DocumentNode) -> None:
    """Keep resiliparse from taking text for furniture.

    Links within paragraphs and quoted tweets are text whatever their class says ('tag', 'twitter'); a box in the text
    is what DocBook calls a sidebar; a list beside paragraphs, in the page's main part or with long items is text even
    where it stands so near the root that resiliparse takes it for a menu; where links are much of it, it goes anyway.
    """
    for element in document.query_selector_all(_DOCBOOK_BOXES):
        if box := element.parent_element:
            box.remove_attribute("class")
    for element in document.query_selector_all(_ARTICLE_LINKS):
        for name in ("class", "rel"):
            if element.has_attribute(name):
                element.remove_attribute(name)
    for element in document.query_selector_all(_SHALLOW_TEXT_LISTS):
        _wrap(element, document)
    for element in filter(_has_long_items, document.query_selector_all(_SHALLOW_LISTS)):
        _wrap(element, document)


def _wrap(element: ElementNode, document: DocumentNode) -> None:
    """Put an element deeper into the page."""
    outer = inner = document.create_element("div")
    for _ in range(_NUM_WRAPPERS - 1):
        wrapper = document.create_element("div")
        inner.append_child(wrapper)
        inner = wrapper
    element.replace_with(outer)
    inner.append_child(element)


def _has_long_items(element: ElementNode) -> bool:
    """Whether a list's items are longer than a line, in the mean."""
    text = " ".join((element.text or "").split())
    return size_of(text) > _LINE * max(1, len(element.query_selector_all("li")))


def _first(document: DocumentNode, selector: str, attributes: tuple[str, ...] = ("content",)) -> str | None:
    element = document.query_selector(selector)
    if element is None:
        return None
    return next((value.strip() for name in attributes if (value := element.get_attribute(name))), None)


def _url(document: DocumentNode) -> str | None:
    url = _first(document, _URLS, ("href", "content"))
    return url if url and url.startswith(("http://", "https://")) and " " not in url else None


def _date(document: DocumentNode, html: str) -> str | None:
    json_ld = _JSON_LD_DATE.search(html)
    for written in (_first(document, _DATES, ("content", "datetime")), json_ld and json_ld[1]):
        if written and (date := _ISO_DATE.match(written)):
            return date[0]
    return None


@cache
def _trafilatura() -> Any:
    from trafilatura import extract

    return extract
