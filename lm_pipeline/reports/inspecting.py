"""A corpus and its documents as the terminal shows them; control characters of texts are escaped."""

from collections.abc import Mapping, Sequence
from typing import Any

from lm_pipeline.reports.blocks import Funnel, Table
from lm_pipeline.reports.corpus_page import corpus_sections
from lm_pipeline.reports.formatting import integer, measured

_BAR = 32


def profile_text(value: Mapping[str, Any]) -> str:
    """The numbers of `inspection.inspect_corpus`: the page's tables, without its samples."""
    lines = [value["corpus"]]
    for section in corpus_sections(value["corpus"], value["summary"], value["profile"]):
        for block in section.blocks:
            if isinstance(block, Funnel):
                lines += ["", f"{block.caption} ({block.unit})"]
                width = max((len(row.label) for row in block.rows), default=0) + 2
                for row in block.rows:
                    label = f"{'  ' if row.role == 'reason' else ''}{row.label}"
                    bar = "█" * round(_BAR * row.fraction)
                    lines.append(f"  {label:{width}} {integer(row.count):>12}  {row.share:>7}  {bar}".rstrip())
            elif isinstance(block, Table):
                lines += ["", block.caption, *_table(block)]
    return printable("\n".join(lines))


def _table(block: Table) -> list[str]:
    cells = [tuple(column.title for column in block.columns), *block.rows]
    first, *others = ([row[index] for row in cells] for index in range(len(block.columns)))
    columns = [[cell.ljust(max(map(len, first))) for cell in first]]
    columns += [[cell.rjust(max(map(len, column))) for cell in column] for column in others]
    return ["  " + "  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def samples_text(samples: Sequence[Mapping[str, Any]]) -> str:
    """Samples of `inspection.inspect_documents`, one after the other."""
    return printable("\n\n".join(_sample(sample) for sample in samples))


def _sample(sample: Mapping[str, Any]) -> str:
    place = "the file" if sample["record"] is None else f"record {sample['record']}"
    lines = [f"── {sample['file']}, {place}"]
    if "excerpt" in sample:
        at = "" if sample["byte_offset"] is None else f"; byte {integer(sample['byte_offset'])}"
        return "\n".join([*lines, f"   {sample['detail']}{at}", sample["excerpt"]])
    length = sample["num_characters"]
    lines.append(f"   {sample['document_id']}, {sample['language']}, {integer(length)} characters")
    lines += [f"   {key}: {sample[key]}" for key in ("title", "url") if sample[key]]
    lines += [f"   {item['rule']}: {integer(item['characters'])} characters taken out" for item in sample["removals"]]
    lines += [
        f"   {reason['rule']}: {measured(reason['value'], reason['threshold'])}".removesuffix(": ")
        for reason in sample["reasons"]
    ]
    lines.append(sample["text"])
    if length > len(sample["text"]):
        lines.append(f"… {integer(length - len(sample['text']))} more characters")
    return "\n".join(lines)


def printable(text: str) -> str:
    r"""A text that cannot steer a terminal: what is not printable is escaped, line ends and tabs apart.

    >>> printable("中\x1b[2J\n")
    '中\\x1b[2J\n'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
