"""What a cleaned corpus is like: lengths, languages, domains, statistics, and samples of every fate.

Numbers are counted over all documents. Distributions of statistics and samples are of documents drawn by their digest:
the same ones every time, wherever they stand.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from lm_pipeline.corpus.document_tables import DECISIONS, DOCUMENTS, ROW_DIGEST, STATISTICS
from lm_pipeline.corpus.documents import CleanPart

NUM_SAMPLES = 3
"""Samples of each fate: kept, each rule that rejects, each reason of quarantine."""
NUM_KEPT_SAMPLES = 6
SAMPLE_CHARACTERS = 1500
"""Longest part of a document's text that a sample shows."""
DISTRIBUTION_DOCUMENTS = 50_000
"""Documents that distributions of statistics are taken from."""
NUM_DOMAINS = 20
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)

MEASURED = tuple(name for name, dtype in STATISTICS.items() if dtype.is_numeric() and name != "language_confidence")
"""Statistics whose distribution is shown."""

_DOMAIN = r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#@]*@)?(?:www\.)?([^/?#:]+)"


def profile_corpus(parts: Sequence[CleanPart], quarantines: Iterable[Path]) -> dict[str, Any]:
    """Look at a corpus.

    Args:
        parts: its measured and decided parts.
        quarantines: the parts' `quarantine.parquet`.

    Returns:
        JSON: `lengths` (`words` and `characters` of kept documents: [[from, below, documents]], powers of two),
        `languages`, `chinese_scripts` and `profiles` (kept and rejected documents by value: {value: [kept, rejected]}),
        `domains` ([[domain, documents]], kept ones, the most frequent first), `distributions` ({statistic: quantiles}
        of kept documents, see `QUANTILES`), `samples` (`kept`: [sample]; `rejected` and `quarantined`: {reason:
        [sample]}). A sample of a document has document_id, file, record, title, url, language, text (its beginning),
        num_characters, removals and reasons; one from quarantine has file, record, byte_offset, detail and excerpt.
    """
    counts, drawn = _Counts(), _Drawn()
    for number, part in enumerate(parts):
        rows = pl.concat([pl.read_parquet(part.statistics), pl.read_parquet(part.decisions)], how="horizontal")
        urls = pl.read_parquet(part.documents, columns=["url"])["url"]
        counts.add(rows, urls)
        drawn.add(rows, number)
    return {
        "lengths": {name: _bins(counter) for name, counter in counts.lengths.items()},
        "languages": _by_fate(counts.languages),
        "chinese_scripts": _by_fate(counts.scripts),
        "profiles": _by_fate(counts.profiles),
        "domains": [list(item) for item in _most(counts.domains)[:NUM_DOMAINS]],
        "distributions": drawn.distributions(),
        "samples": {
            "kept": drawn.samples(parts, drawn.kept),
            "rejected": {rule: drawn.samples(parts, rows) for rule, rows in sorted(drawn.rejected.items())},
            "quarantined": _quarantined(quarantines),
        },
    }


def draw_documents(parts: Sequence[CleanPart], num: int, rule: str | None = None) -> list[dict[str, Any]]:
    """Samples, as in a profile, of the kept documents, or of those that a rule rejects."""
    places: list[_Place] = []
    for number, part in enumerate(parts):
        columns = [pl.read_parquet(part.statistics, columns=[ROW_DIGEST]), pl.read_parquet(part.decisions)]
        rows = pl.concat(columns, how="horizontal").with_row_index()
        wanted = pl.col("kept") if rule is None else pl.col("reasons").list.eval(_RULE).list.contains(rule)
        places = _smallest([*places, *_places(rows.filter(wanted), number, num)], num)
    return [_sample(parts[place.part], place.row) for place in places]


def draw_quarantined(quarantines: Iterable[Path], num: int, reason: str) -> list[dict[str, Any]]:
    """Samples, as in a profile, of the first records that could not be read for this reason."""
    rows = pl.concat([pl.scan_parquet(path) for path in quarantines]).filter(pl.col("reason") == reason)
    return rows.head(num).drop("corpus", "reason").collect().to_dicts()


@dataclass
class _Counts:
    lengths: dict[str, Counter[int]] = field(default_factory=lambda: {"words": Counter(), "characters": Counter()})
    languages: Counter[tuple[str, bool]] = field(default_factory=Counter)
    scripts: Counter[tuple[str, bool]] = field(default_factory=Counter)
    profiles: Counter[tuple[str, bool]] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)

    def add(self, rows: pl.DataFrame, urls: pl.Series) -> None:
        kept = rows.filter("kept")
        for name, counter in self.lengths.items():
            # The bin of n is the number of its binary digits: it holds [2^(b-1), 2^b).
            numbers = kept.select(pl.col(f"num_{name}").clip(1).log(2).floor().cast(pl.Int64) + 1)
            counter.update(dict(numbers.to_series().value_counts().iter_rows()))
        for counter, column in (
            (self.languages, "language"),
            (self.scripts, "chinese_script"),
            (self.profiles, "profile"),
        ):
            found = rows.filter(pl.col(column).is_not_null()).group_by(column, "kept").len()
            counter.update({(value, fate): number for value, fate, number in found.iter_rows()})
        domains = urls.filter(rows["kept"]).str.extract(_DOMAIN).str.to_lowercase().drop_nulls()
        self.domains.update(dict(domains.value_counts().iter_rows()))


@dataclass(frozen=True)
class _Place:
    """A document drawn as a sample; the one with the smaller digest is drawn first."""

    digest: bytes
    part: int
    row: int


class _Drawn:
    """The documents with the smallest digests of all parts so far."""

    def __init__(self) -> None:
        self.kept: list[_Place] = []
        self.rejected: dict[str, list[_Place]] = {}
        self._statistics = pl.DataFrame(schema={ROW_DIGEST: pl.Binary, **{name: STATISTICS[name] for name in MEASURED}})

    def add(self, rows: pl.DataFrame, part: int) -> None:
        numbered = rows.select(ROW_DIGEST, "kept", *MEASURED, rule=pl.col("reasons").list.eval(_RULE)).with_row_index()
        kept = numbered.filter("kept")
        self.kept = _smallest([*self.kept, *_places(kept, part, NUM_KEPT_SAMPLES)], NUM_KEPT_SAMPLES)
        ruled = numbered.filter(~pl.col("kept")).select("index", ROW_DIGEST, "rule").explode("rule")
        for (rule,), group in ruled.group_by("rule"):
            found = [*self.rejected.get(str(rule), []), *_places(group, part, NUM_SAMPLES)]
            self.rejected[str(rule)] = _smallest(found, NUM_SAMPLES)
        together = pl.concat([self._statistics, kept.select(self._statistics.columns)])
        self._statistics = together.bottom_k(DISTRIBUTION_DOCUMENTS, by=ROW_DIGEST)

    def distributions(self) -> dict[str, dict[str, Any]]:
        """By statistic: its quantiles, and how many of the drawn documents have it and how many have no value."""
        return {
            name: {
                "quantiles": [_number(column.quantile(q, "nearest")) for q in QUANTILES],
                "documents": len(column) - column.null_count(),
                "without": column.null_count(),
            }
            for name in MEASURED
            for column in [self._statistics[name]]
        }

    def samples(self, parts: Sequence[CleanPart], places: Sequence[_Place]) -> list[dict[str, Any]]:
        """The documents at these places."""
        return [_sample(parts[place.part], place.row) for place in places]


_RULE = pl.element().struct.field("rule")


def _places(rows: pl.DataFrame, part: int, number: int) -> list[_Place]:
    first = rows.bottom_k(number, by=ROW_DIGEST).select(ROW_DIGEST, "index")
    return [_Place(digest, part, row) for digest, row in first.iter_rows()]


def _smallest(places: list[_Place], number: int) -> list[_Place]:
    return sorted(places, key=lambda place: place.digest)[:number]


def _sample(part: CleanPart, row: int) -> dict[str, Any]:
    files = (part.documents, part.statistics, part.decisions)
    document = pl.concat([pl.scan_parquet(path).slice(row, 1) for path in files], how="horizontal")
    wanted = ("document_id", "file", "record", "title", "url", "language", "num_characters", "removals", "reasons")
    assert set(wanted) <= {*DOCUMENTS, *STATISTICS, *DECISIONS}
    return document.select(*wanted, text=pl.col("text").str.head(SAMPLE_CHARACTERS)).collect().row(0, named=True)


def _quarantined(quarantines: Iterable[Path]) -> dict[str, list[dict[str, Any]]]:
    samples: dict[str, list[dict[str, Any]]] = {}
    for path in quarantines:
        rows = pl.read_parquet(path).group_by("reason", maintain_order=True).head(NUM_SAMPLES)
        for row in rows.drop("corpus").iter_rows(named=True):
            found = samples.setdefault(row.pop("reason"), [])
            if len(found) < NUM_SAMPLES:
                found.append(row)
    return dict(sorted(samples.items()))


def _bins(counter: Counter[int]) -> list[list[int]]:
    if not counter:
        return []
    return [[2 ** (b - 1), 2**b, counter[b]] for b in range(min(counter), max(counter) + 1)]


def _by_fate(counter: Counter[tuple[str, bool]]) -> dict[str, list[int]]:
    """{value: [kept, rejected]}, the most frequent first."""
    totals = Counter[str]()
    for (value, _), number in counter.items():
        totals[value] += number
    return {value: [counter[value, True], counter[value, False]] for value, _ in _most(totals)}


def _most(counter: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def _number(value: Any) -> float | None:
    return None if value is None else round(float(value), 6)
