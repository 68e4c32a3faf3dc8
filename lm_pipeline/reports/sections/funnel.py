"""Where every record went: raw records to training, validation and test documents."""

from typing import Any

from lm_pipeline.reports.blocks import Block, Column, Funnel, FunnelRow, Paragraph, Table
from lm_pipeline.reports.data import ReportData
from lm_pipeline.reports.formatting import integer, share, size

LOSSES = {
    "exact": "Exact duplicates",
    "near": "Near duplicates",
    "repeated": "Repeated: nothing but text of earlier documents",
    "low_quality": "Low quality: scored below the quality model's threshold",
    "contaminated": "Contaminated: repeats evaluation text",
    "bridging": "Bridging: tied to two splits",
}
SPLITS = ("train", "validation", "test")


def funnel(data: ReportData) -> list[Block]:
    """One funnel per corpus, one for the dataset, and what each corpus gave to each split."""
    blocks: list[Block] = []
    for name, summary in data.corpora.items():
        blocks += corpus_funnel(name, summary)
    blocks += dataset_funnel(data.spec.get("dataset", "dataset"), data.splits, list(data.corpora.values()))
    blocks += contributions(data.splits)
    blocks += shared_text(data.unique)
    return blocks


def corpus_funnel(name: str, summary: dict[str, Any]) -> list[Block]:
    """From raw records to clean documents, with the reasons, and whether the numbers add up."""
    records, kept = summary.get("records_in", 0), summary.get("kept", 0)
    rejected, quarantined = summary.get("rejected", 0), summary.get("quarantined", 0)
    rows = [
        _row("Raw records", records, records, "stage"),
        _row("Quarantined: could not be read", quarantined, records, "loss"),
        *(_row(reason, n, records, "reason") for reason, n in _most(summary.get("quarantine_reasons", {}))),
        _row("Rejected by quality rules", rejected, records, "loss"),
        *(_row(rule, n, records, "reason") for rule, n in _most(summary.get("reasons", {}))),
        _row("Kept", kept, records, "result"),
    ]
    blocks: list[Block] = [Funnel(f"Corpus {name}", "records", tuple(rows))]
    languages = ", ".join(f"{code} {integer(n)}" for code, n in _most(summary.get("languages", {})))
    notes = [f"Languages of the documents: {languages}." if languages else ""]
    if sum(summary.get("reasons", {}).values()) > rejected:
        notes.append("A document may break several rules, so rules add up to more than the rejected documents.")
    blocks.append(Paragraph(" ".join(filter(None, notes)), "aside"))
    blocks.append(_identity("records", records, {"kept": kept, "rejected": rejected, "quarantined": quarantined}))
    return blocks + _removals(summary)


def _removals(summary: dict[str, Any]) -> list[Block]:
    """What rules took out of documents."""
    characters = summary.get("removed_characters", {})
    if not characters:
        return []
    total, lines = summary["characters_in"], summary["removals"]
    rows = [(rule, integer(lines[rule]), integer(n), share(n, total)) for rule, n in _most(characters)]
    columns = (Column("Rule"), *(Column(title, numeric=True) for title in ("Lines", "Characters", "Share")))
    return [Table("What rules took out of pages and lines, and its share of all characters", columns, tuple(rows))]


def dataset_funnel(name: str, splits: dict[str, Any], corpora: list[dict[str, Any]]) -> list[Block]:
    """From the clean documents of all corpora to the three splits, and whether the numbers add up."""
    total = sum(corpus.get("kept", 0) for corpus in corpora) if corpora else splits.get("documents_in", 0)
    rows = [_row("Clean documents of all corpora", total, total, "stage")]
    rows += [_row(title, splits.get(key, 0), total, "loss") for key, title in LOSSES.items()]
    rows += [_row(split.capitalize(), splits.get(split, 0), total, "result") for split in SPLITS]
    parts = {key: splits.get(key, 0) for key in (*SPLITS, *LOSSES)}
    return [Funnel(f"Dataset {name}", "documents", tuple(rows)), _identity("documents", total, parts)]


def contributions(splits: dict[str, Any]) -> list[Block]:
    """What each corpus gives to each split."""
    per_corpus, num_bytes = splits.get("per_corpus", {}), splits.get("bytes", {})
    if not per_corpus:
        return []
    rows = [(name, *(integer(parts.get(split, 0)) for split in SPLITS)) for name, parts in sorted(per_corpus.items())]
    if num_bytes:
        rows.append(("All, in bytes of text", *(size(num_bytes.get(split, 0)) for split in SPLITS)))
    columns = (Column("Corpus"), *(Column(split.capitalize(), numeric=True) for split in SPLITS))
    return [Table("Documents that each corpus gives to each split", columns, tuple(rows))]


def shared_text(unique: dict[str, Any]) -> list[Block]:
    """What corpora have in common with each other and within themselves."""
    rows = [(corpus, other, integer(num), integer(size)) for corpus, other, num, size in unique.get("matrix", [])]
    if not rows:
        return []
    columns = (
        Column("Corpus"),
        Column("Has text of"),
        Column("Documents", numeric=True),
        Column("Characters", numeric=True),
    )
    return [Table("Documents that stand in another corpus too, or twice in their own", columns, tuple(rows))]


def _identity(unit: str, total: int, parts: dict[str, int]) -> Paragraph:
    """The exact accounting identity in numbers; a warning when it does not hold."""
    summed = sum(parts.values())
    terms = " + ".join(f"{integer(n)} {name}" for name, n in parts.items())
    if summed == total:
        return Paragraph(f"{integer(total)} {unit} = {terms}. Every one is accounted for.", "aside")
    return Paragraph(
        f"The {unit} do not add up: {integer(total)} went in, but {terms} = {integer(summed)}, a difference of"
        f" {integer(abs(total - summed))}. Do not trust this dataset before that is explained.",
        "warning",
    )


def _row(label: str, count: int, whole: int, role: str) -> FunnelRow:
    return FunnelRow(label, count, count / whole if whole else 0.0, role, share(count, whole))


def _most(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Largest first; ties by name, so that the page is the same every time."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
