"""Wikitext to plain text, by mwparserfromhell: links become their words; templates, tables and notes go."""

import re
from collections.abc import Sequence
from functools import lru_cache

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Node, Tag, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

_NO_TEXT = {"gallery", "imagemap", "math", "ref", "references", "score", "syntaxhighlight", "table", "templatestyles"}
_NO_TEXT |= {"timeline"}
_COMMENT_OR_NOTE = re.compile(r"<!--.*?-->|<ref\b[^<>]*/>|<ref\b[^<>]*>.*?</ref\s*>", re.DOTALL | re.IGNORECASE)
_BRACES = re.compile(r"\{\{|\}\}|\{\||\|\}")
_VARIANT = re.compile(r"-\{(?:[A-Za-z;\-]*\|)?([^{}]*)\}-")
_VARIANT_NAME = re.compile(r"^\s*zh(?:-\w+)?\s*:\s*")
_MAGIC = re.compile(r"__[A-Z]+__|'{2,5}")
_EMPTY_PARENTHESES = re.compile(r"\s?[(（][\s,，;；、:：]*[)）]")
_LOST_IN_PARENTHESES = re.compile(r"(?<=[(（])[\s,，;；、]+|[\s,，;；、]+(?=[)）])")  # around a template that is gone
_BLANK_LINES = re.compile(r"\n{3,}")


def plain_text(wikitext: str, aside: Sequence[str] = ()) -> str:
    """The text of an article.

    Args:
        wikitext: the page's source.
        aside: names of namespaces (as 文件, Category) whose links are pictures and categories and no text.

    Returns:
        Paragraphs divided by empty lines, headings on lines of their own. Of `-{zh-hans:…;zh-hant:…}-`, the first.
    """
    bare = _VARIANT.sub(_first_variant, _without_braces(_COMMENT_OR_NOTE.sub("", wikitext)))
    code = mwparserfromhell.parse(bare, skip_style_tags=True)
    text = _render(code, _lowered(tuple(aside)))
    text = _LOST_IN_PARENTHESES.sub("", _EMPTY_PARENTHESES.sub("", _MAGIC.sub("", text)))
    return _BLANK_LINES.sub("\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip()


def _without_braces(wikitext: str) -> str:
    """Drop templates `{{…}}` and tables `{|…|}`, nested too, in one pass; the parser takes several times as long.

    What is opened and never closed goes to the end of its paragraph, which is where it stops making sense.
    """
    kept: list[str] = []
    depth = start = 0
    for brace in _BRACES.finditer(wikitext):
        if brace[0] in {"{{", "{|"}:
            if depth == 0:
                kept.append(wikitext[start : brace.start()])
                start = brace.start()
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                start = brace.end()
    rest = wikitext[start:]
    if depth:
        rest = rest[end:] if (end := rest.find("\n\n")) >= 0 else ""
    return "".join([*kept, rest])


def _render(code: Wikicode | None, aside: frozenset[str]) -> str:
    return "".join(_render_node(node, aside) for node in code.nodes) if code is not None else ""


def _render_node(node: Node, aside: frozenset[str]) -> str:
    if isinstance(node, Text):
        return str(node.value)
    if isinstance(node, Wikilink):
        return _render_link(node, aside)
    if isinstance(node, ExternalLink):
        return _render(node.title, aside) if node.brackets else str(node.url)
    if isinstance(node, Heading):
        return _render(node.title, aside).strip()
    if isinstance(node, HTMLEntity):
        return node.normalize() or str(node)
    if isinstance(node, Tag):
        name = str(node.tag).strip().lower()
        if name == "br":
            return "\n"
        return "" if name in _NO_TEXT else _render(node.contents, aside)
    return ""  # templates, their parameters, comments


def _render_link(link: Wikilink, aside: frozenset[str]) -> str:
    namespace, colon, _ = str(link.title).strip().partition(":")
    if colon and namespace.strip().lower() in aside:
        return ""
    return _render(link.text if link.text is not None else link.title, aside)


@lru_cache(maxsize=8)
def _lowered(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower() for name in ("File", "Image", "Media", "Category", *names))


def _first_variant(match: re.Match[str]) -> str:
    return _VARIANT_NAME.sub("", match[1].split(";")[0])
