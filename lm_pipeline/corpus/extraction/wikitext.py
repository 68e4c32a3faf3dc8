"""Wikitext to plain text, by mwparserfromhell: links become their words; templates, tables and notes go."""

import re
from collections.abc import Sequence
from functools import lru_cache

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Node, Tag, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

from lm_pipeline.corpus.extraction.parsed import READINGS

_NO_TEXT = {"gallery", "graph", "hiero", "imagemap", "inputbox", "mapframe", "maplink", "math", "ref", "references"}
_NO_TEXT |= {"score", "syntaxhighlight", "table", "templatedata", "templatestyles", "timeline", *READINGS}
_VERBATIM = {"ce", "chem", "nowiki", "pre", "source"}
_CODE = {"code", "kbd", "samp", "tt", "var"}
_OPAQUE = re.compile(
    rf"""<!--.*?-->
    |<(?P<name>{"|".join(sorted((_NO_TEXT | _VERBATIM | _CODE) - {"table"}))})(?=[\s/>])[^<>]*+
    (?:(?<=/)>|(?<!/)>(?P<inside>[^<]*+(?:<(?!/?(?P=name)[\s/>])[^<]*+)*+)</(?P=name)\s*>)""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
"""Tags whose insides are no wikitext, and such around code; one that is opened again before its end has none."""

_MARKS = "{}()_'"
_STAND_INS = "".join(map(chr, range(0xFDD0, 0xFDD0 + len(_MARKS))))  # no characters, reserved for use within programs
_HIDE_ALL = str.maketrans(_MARKS, _STAND_INS)
_HIDE_IN_CODE = str.maketrans(_MARKS[:-1], _STAND_INS[:-1])  # quotes are italics there, as everywhere
_SHOW = str.maketrans(_STAND_INS, _MARKS)
_HEADING = r"^==[^\n]*=[ \t]*$"
_BRACES = re.compile(rf"\{{{{2,}}|\}}{{2,}}|{_HEADING}", re.MULTILINE)
_TABLE_ENDS = re.compile(rf"^[ \t:*#;]*\{{\||^[ \t]*\|\}}(?!\}})|{_HEADING}", re.MULTILINE)
_EMPTY_CELL = re.compile(r"[|!](?:[^|!]*\|)?\s*")
_PARAGRAPH_END = re.compile(rf"\n[ \t]*\n(?!\s*[|!])|\n(?={_HEADING})", re.MULTILINE)
_VARIANT = re.compile(r"-\{(?:([A-Za-z;\-\s]*)\|)?([^{}]*)\}-")
_HIDDEN_VARIANTS = {"H", "T", "-"}  # rules for the page, for its title, and rules taken back
_VARIANT_NAME = re.compile(r"^\s*zh(?:-\w+)?\s*:\s*")
_MAGIC = re.compile(r"__[A-Z]+__|'{2,5}")
_EMPTY_PARENTHESES = re.compile(r"\s?[(（][\s,，;；、:：]*[)）]")
_LOST_IN_PARENTHESES = re.compile(  # around a template that is gone
    r"(?<=[(（])[\s,，;；、]+|(?<![\s,，;；、])[\s,，;；、]+(?=[)）])"
)
_BLANK_LINES = re.compile(r"\n{3,}")


def plain_text(wikitext: str, aside: Sequence[str] = ()) -> str:
    """The text of an article.

    Args:
        wikitext: the page's source.
        aside: names of namespaces (as 文件, Category) whose links are pictures and categories and no text.

    Returns:
        Paragraphs divided by empty lines, headings on lines of their own. Of `-{zh-hans:…;zh-hant:…}-`, the first;
        conversion rules that show nothing (`-{H|…}-`) are no text.
    """
    bare = _OPAQUE.sub(_set_aside, wikitext)
    bare = _without_spans(bare, *_templates(bare))
    bare = _VARIANT.sub(_first_variant, _without_spans(bare, *_tables(bare)))
    code = mwparserfromhell.parse(bare, skip_style_tags=True)
    text = _render(code, _lowered(tuple(aside)))
    text = _LOST_IN_PARENTHESES.sub("", _EMPTY_PARENTHESES.sub("", _MAGIC.sub("", text))).translate(_SHOW)
    return _BLANK_LINES.sub("\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip()


def _set_aside(match: re.Match[str]) -> str:
    """What is left of an opaque tag: nothing, or itself with stand-ins for the characters that would be markup."""
    name, inside = (match["name"] or "").lower(), match["inside"] or ""
    if not name or name in _NO_TEXT:
        return ""
    if name in _CODE:  # templates work there, but their braces are counted apart
        inside = _OPAQUE.sub(_set_aside, inside)
        hidden = _without_spans(inside, _templates(inside)[0], []).translate(_HIDE_IN_CODE)
    else:
        hidden = inside.translate(_HIDE_ALL)
    start, end = match.span("inside") if match["inside"] is not None else (match.end(), match.end())
    return match.string[match.start() : start] + hidden + match.string[end : match.end()]


def _templates(wikitext: str) -> tuple[list[tuple[int, int]], list[int]]:
    """Where `{{…}}` and `{{{…}}}` are, and where those begin that have no end.

    Braces are matched as MediaWiki does it, three at most, from the inside out; the parser takes several times as long.
    Those of a heading are left to the parser, which would take what is left for something else.
    """
    opened: list[tuple[int, int]] = []  # where, and how many braces
    closed: list[tuple[int, int]] = []
    for run in _BRACES.finditer(wikitext):
        at, num_left = run.start(), len(run[0])
        if run[0][0] == "{":
            opened.append((at, num_left))
        elif run[0][0] == "}":
            while num_left >= 2 and opened:
                start, num_open = opened.pop()
                num_matched = min(num_left, num_open, 3)
                num_open, num_left, at = num_open - num_matched, num_left - num_matched, at + num_matched
                closed.append((start + num_open, at))
                if num_open >= 2:
                    opened.append((start, num_open))
    return closed, [start for start, _ in opened]


def _tables(wikitext: str) -> tuple[list[tuple[int, int]], list[int]]:
    """As `_templates`, of `{|…|}`. Both begin a line; an end without a beginning is that of the rows before it.

    Those a template has begun. A table reaches beyond a heading only if its first heading is in a cell: as often as not
    a template (`{{end}}`) is its end.
    """
    opened: list[int] = []
    closed: list[tuple[int, int]] = []
    unclosed: list[int] = []
    num_with_headings = at = 0
    for mark in _TABLE_ENDS.finditer(wikitext):
        if mark[0].endswith("{|"):
            opened.append(mark.start())
        elif mark[0].endswith("|}"):
            closed.append((opened.pop() if opened else _first_row(wikitext, at, mark.start()), mark.end()))
            num_with_headings = min(num_with_headings, len(opened))
        elif len(opened) > num_with_headings:
            if _ends_in_cell(wikitext[at : mark.start()]):
                num_with_headings = len(opened)
            else:
                unclosed += opened[num_with_headings:]
                del opened[num_with_headings:]
        at = mark.end()
    return closed, unclosed + opened


def _first_row(wikitext: str, begin: int, end: int) -> int:
    """Where the rows begin that end at `end`: paragraphs that begin with a cell, and the cells of the one before."""
    start = at = end
    is_cell = True
    for line in reversed(wikitext[begin:end].splitlines(keepends=True)):
        at -= len(line)
        if line.isspace():
            if not is_cell:
                break
        else:
            is_cell = line.lstrip().startswith(("|", "!"))
            start = at if is_cell else start
    return start


def _ends_in_cell(table: str) -> bool:
    """Whether a piece of a table ends inside a cell; a template that ended the table has left an empty line."""
    last = max(table.rfind("\n|"), table.rfind("\n!")) + 1
    cell, *lines = table[last:].removesuffix("\n").split("\n")
    return all(map(str.strip, lines)) or (_EMPTY_CELL.fullmatch(cell) is not None and not any(map(str.strip, lines)))


def _without_spans(text: str, closed: list[tuple[int, int]], unclosed: list[int]) -> str:
    """Cut spans out; what is opened and never closed goes to the end of its paragraph or section."""
    kept: list[str] = []
    at = 0
    for start, end in sorted([*closed, *((start, -1) for start in unclosed)]):
        if start < at and end <= at:
            continue
        kept.append(text[at:start])
        at = end
        if end < 0:
            at = found.start() if (found := _PARAGRAPH_END.search(text, start)) else len(text)
    return "".join([*kept, text[at:]])


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
    if link.text is not None:
        return _render(link.text, aside)
    return _render(link.title, aside).removeprefix(":")  # [[:Category:Towns]] is a link to it, and no category


@lru_cache(maxsize=8)
def _lowered(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower() for name in ("File", "Image", "Media", "Category", *names))


def _first_variant(match: re.Match[str]) -> str:
    if _HIDDEN_VARIANTS.intersection(map(str.strip, (match[1] or "").split(";"))):
        return ""
    return _VARIANT_NAME.sub("", match[2].split(";")[0])
