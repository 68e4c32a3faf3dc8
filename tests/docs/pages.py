"""The pages of the documentation, and what stands in them: code blocks, tables, links, headings."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import dropwhile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh-CN.md")
_BLOCK = re.compile(r"^```([\w-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pages() -> list[str]:
    """Every page, as a path relative to the repository."""
    top = (*READMES, "CONTRIBUTING.md", "CHANGELOG.md")
    return [*top, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]


@cache
def text(page: str) -> str:
    """A page's Markdown."""
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Fenced blocks of a language, without their fences."""
    return [body for name, body in _BLOCK.findall(text(page)) if name == language]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", text(page))


def commands(page: str) -> list[list[str]]:
    """Every command of the page's shell blocks as words, comments left out."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def mentions(page: str) -> Iterator[list[str]]:
    """Words of every `make` and `lm-pipeline` command, in blocks and in backquotes."""
    for words in commands(page):
        # Variables may be set before the program's name.
        typed = list(dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words))
        if typed and typed[0] in ("make", "lm-pipeline"):
            yield typed
    for code in re.findall(r"`((?:make|lm-pipeline) [^`\n]+)`", prose(page)):
        yield shlex.split(code)


def rows(page: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, its head left out."""
    body = f"\n{text(page)}".split(f"\n{heading}\n", 1)[1]
    lines = [line for line in re.split(r"\n#+ ", body)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def codes(cell: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(page: str) -> set[str]:
    """The anchors that a page's headings make, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
