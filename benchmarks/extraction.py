"""Main content of web pages: how much of it is found, and how fast, beside trafilatura.

    python benchmarks/extraction.py [--data ../shared/data] [--rounds 3]

The 91 pages of the article extraction benchmark (scrapinghub) that are at hand, by its own definition: 4-grams of words
that a page's truth and its extract share; precision and recall are means over pages, F1 is made of the two. trafilatura
is installed from PyPI into `build/peers/trafilatura` and runs in a process of its own; both take turns on the same
pages. Prints one JSON line a comparison, and writes `benchmarks/results/extraction.json` and the table of
`docs/extraction.md`.
"""

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median, stdev

from measuring import cpu_seconds, peer_python, replace_table, write_result
from resiliparse.extract.html2text import extract_plain_text

from lm_pipeline.corpus.extraction.pages import extract_page
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.corpus.readers.read import read_records
from lm_pipeline.specs.corpus import CorpusSpec, PathSource

PEER = ("trafilatura", "trafilatura==2.3.1", "lxml-html-clean==0.4.6")
PEER_CODE = """
import gzip, json, sys, time
from pathlib import Path
from trafilatura import extract
pages = {path.name[:-8]: gzip.decompress(path.read_bytes()).decode() for path in sorted(Path(sys.argv[1]).glob("*.gz"))}
options = json.loads(sys.argv[2])
extract(next(iter(pages.values())), **options)
started = time.process_time()
texts = {name: extract(page, **options) or "" for name, page in pages.items()}
print(json.dumps({"seconds": time.process_time() - started, "texts": texts}))
"""
PEER_OPTIONS = {
    "trafilatura": {},
    "trafilatura, no comments, fast": {"include_comments": False, "fast": True},
    "trafilatura, no comments, for precision": {"include_comments": False, "favor_precision": True},
}
PUBLISHED = ("rs_trafilatura", "go_trafilatura", "trafilatura", "newspaper4k", "readability_js", "justext", "html-text")
"""Rows of the benchmark's own README that are shown beside; they are of all its 181 pages."""
Score = tuple[float | None, float | None]
"""Precision and recall of a page; None, and left out of the mean, where there is nothing to measure it on."""


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """4-grams of words, or the whole text if it has fewer."""
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3)) if words)


def score(true: str, found: str) -> Score:
    """Precision and recall of one page, as the benchmark's `evaluate.py` defines them."""
    truth, extract = shingles(true), shingles(found)
    common = (truth & extract).total()
    return (common / extract.total() if extract else None), (common / truth.total() if truth else None)


def f1(scores: Sequence[Score]) -> dict[str, float]:
    """Means over pages, and their harmonic mean."""
    precision, recall = (mean(v for v in values if v is not None) for values in zip(*scores, strict=True))
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}


def summary(truth: dict[str, str], texts: dict[str, str]) -> dict[str, float]:
    """Scores of all pages with a bootstrap interval, and of the half that no rule was made on."""
    scores = [score(truth[name], texts[name]) for name in sorted(texts)]
    generator = random.Random(0)
    drawn = [f1(generator.choices(scores, k=len(scores)))["f1"] for _ in range(500)]
    return f1(scores) | {"f1_interval": 1.96 * stdev(drawn), "f1_unseen_half": f1(scores[1::2])["f1"]}


def run_peer(python: Path, folder: Path, options: dict[str, bool]) -> tuple[dict[str, str], float]:
    """Its texts by page, and seconds of processor time."""
    done = subprocess.run(
        [python, "-c", PEER_CODE, folder, json.dumps(options)], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    return result["texts"], result["seconds"]


def run_ours(pages: dict[str, str], extract: Callable[[str], str]) -> tuple[dict[str, str], float]:
    """Texts by page, and seconds of processor time."""
    texts: dict[str, str] = {}
    seconds = cpu_seconds(lambda: texts.update({name: extract(page) for name, page in pages.items()}))
    return texts, seconds


def reader_seconds(folder: Path) -> float:
    """Seconds of wall time to read the same files as a corpus, through the child process."""
    spec = CorpusSpec(source=PathSource(path=str(folder)))
    files = [RawFile(path.name, path.stat().st_size, "", path) for path in sorted(folder.glob("*.gz"))]
    list(read_records(files[0], spec))  # starts the child
    started = time.perf_counter()
    for file in files:
        assert len(list(read_records(file, spec))) == 1
    return time.perf_counter() - started


def published(readme: Path) -> dict[str, dict[str, float]]:
    """F1, precision and recall that the benchmark's README reports."""
    line = re.compile(r"^\s+(\S+)\s+\S+\s+([\d.]+) ± [\d.]+\s+([\d.]+) ± [\d.]+\s+([\d.]+) ± ", re.MULTILINE)
    rows: dict[str, dict[str, float]] = {}
    for name, *values in line.findall(readme.read_text("utf-8")):
        rows.setdefault(name, dict(zip(("f1", "precision", "recall"), map(float, values), strict=True)))
    return {name: rows[name] for name in PUBLISHED}


def table(rows: dict[str, dict[str, float]], listed: dict[str, dict[str, float]]) -> list[str]:
    """The rows as Markdown, best first."""
    lines = ["| extractor | precision | recall | F1 | unseen half | MB/s |", "|---|---:|---:|---:|---:|---:|"]
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["f1"]):
        values = f"{row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} ± {row['f1_interval']:.3f}"
        lines.append(f"| {name} | {values} | {row['f1_unseen_half']:.3f} | {row['mb_per_second']:.1f} |")
    for name, row in listed.items():
        lines.append(
            f"| {name}, as published | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | – | – |"
        )
    return lines


def main() -> None:
    """Measure all extractors in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    folder = given.data / "large/html-article-benchmark"
    truth = {name: item["articleBody"] for name, item in json.loads((folder / "ground-truth.json").read_text()).items()}
    pages = {p.name[:-8]: gzip.decompress(p.read_bytes()).decode() for p in sorted((folder / "html").glob("*.gz"))}
    megabytes = sum(len(page.encode()) for page in pages.values()) / 1e6
    python = peer_python(*PEER)
    ours: dict[str, Callable[[str], str]] = {
        "lm_pipeline": lambda page: extract_page(page).text,
        "resiliparse alone": lambda page: extract_plain_text(page, main_content=True),
    }
    texts: dict[str, dict[str, str]] = {}
    seconds: dict[str, list[float]] = {}
    wall: list[float] = []
    for _ in range(given.rounds):
        for name, extract in ours.items():
            texts[name], spent = run_ours(pages, extract)
            seconds.setdefault(name, []).append(spent)
        wall.append(reader_seconds(folder / "html"))
        for name, options in PEER_OPTIONS.items():
            texts[name], spent = run_peer(python, (folder / "html").resolve(), options)
            seconds.setdefault(name, []).append(spent)
    rows = {
        name: summary(truth, texts[name]) | {"mb_per_second": megabytes / median(spent)}
        for name, spent in seconds.items()
    }
    own = rows["lm_pipeline"]
    comparisons = [
        {"name": f"F1: {name}", "ours": own["f1"], "peer": row["f1"], "ratio": own["f1"] / row["f1"], "unit": "F1"}
        for name, row in rows.items()
        if name in PEER_OPTIONS
    ] + [
        {
            "name": f"speed: {name}",
            "ours": own["mb_per_second"],
            "peer": row["mb_per_second"],
            "ratio": own["mb_per_second"] / row["mb_per_second"],
            "unit": "MB of HTML per second of processor time",
        }
        for name, row in rows.items()
        if name in PEER_OPTIONS
    ]
    for comparison in comparisons:
        comparison["work"] = f"{len(pages)} pages, {megabytes:.1f} MB"
        print(json.dumps(comparison))
    through_child = megabytes / median(wall)
    print(json.dumps({"name": "the html reader, child included", "ours": through_child, "unit": "MB/s of wall time"}))
    write_result("extraction", {"extractors": rows, "comparisons": comparisons, "reader_mb_per_second": through_child})
    replace_table(Path("docs/extraction.md"), "extractors", table(rows, published(folder / "README.rst")))


if __name__ == "__main__":
    sys.exit(main())
