"""What resiliparse makes of a page, as blocks: a line of text, what kind it is, and how much of it is links."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["heading", "paragraph", "item", "pre", "line"]

_TAG = re.compile(r"<[^>]*>")
_LINK = re.compile(r"<a(?: [^>]*)?>(.*?)</a>", re.DOTALL)
_START = re.compile(r"\s*<(h[1-6]|p|li|pre|[uo]l)>")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_KINDS: dict[str, Kind] = {"p": "paragraph", "li": "item", "pre": "pre"}


@dataclass(slots=True)
class Block:
    """One line of a page.

    Attributes:
        kind: what the page marked it as; `line` for text outside of all that.
        level: of a heading, 1 to 6; else 0.
        text: as a reader sees it, without markup.
        num_link_characters: how many characters of it are links.
        gap: whether an empty line comes before it.
    """

    kind: Kind
    level: int
    text: str
    num_link_characters: int
    gap: bool

    @property
    def link_fraction(self) -> float:
        """Characters of links over all characters."""
        return self.num_link_characters / max(1, len(self.text))

    @property
    def line(self) -> str:
        """As it stands in a text: an item with a hyphen."""
        return f"- {self.text}" if self.kind == "item" else self.text


def size_of(text: str) -> int:
    """Length in characters; a Han, Kana or Hangul character says as much as three letters."""
    return len(text) if text.isascii() else len(text) + 2 * len(_WIDE.findall(text))


def parse_blocks(minimal_html: str) -> Iterator[Block]:
    """Read resiliparse's `minimal_html`: `h1` to `h6`, `p`, `ul`, `ol`, `li`, `pre`, `br` and `a`, a block a line."""
    kind: Kind = "line"
    level = 0
    gap = in_pre = False
    for line in minimal_html.split("\n"):
        start = _START.match(line)
        if start and not in_pre:
            tag = start[1]
            kind = "heading" if tag[0] == "h" else _KINDS.get(tag, "line")
            level = int(tag[1]) if tag[0] == "h" else 0
            in_pre = tag == "pre"
        text = _visible(line)
        if in_pre:
            yield Block("pre", 0, text.rstrip(), 0, gap)
            gap = False
            in_pre = "</pre>" not in line
        elif text := text.strip():
            links = sum(len(_visible(link).strip()) for link in _LINK.findall(line)) if "<a" in line else 0
            yield Block(kind, level, text, links, gap)
            gap = False
        else:
            gap = True
        if kind == "heading" or line.rstrip().endswith(("</p>", "</li>", "</pre>")):
            kind, level = "line", 0


def _visible(markup: str) -> str:
    text = _TAG.sub("", markup)
    return html.unescape(text) if "&" in text else text


def join_blocks(blocks: list[Block]) -> str:
    """Blocks as text again: an empty line where the page had one, items with a hyphen."""
    lines: list[str] = []
    for block in blocks:
        if block.gap and lines:
            lines.append("")
        lines.append(block.line)
    return "\n".join(lines).strip("\n")
