"""How much personal data is found, how much of what is found is personal data, and how fast.

    python benchmarks/personal_data.py [--data ../shared/data]

Prints one JSON line a set and kind, and writes `benchmarks/results/personal_data.json` and the tables of
`docs/personal-data.md`.
"""

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from measuring import cpu_seconds, replace_table, write_result
from personal_data_sets import CHINESE, ENGLISH, Example, filled, generated, written_oddly

from lm_pipeline.corpus.personal_data.find import KINDS, find
from lm_pipeline.corpus.text.normalisation import normalise

_NAMES = {
    "PHONE_NUMBER": "phone", "CREDIT_CARD": "credit_card", "IP_ADDRESS": "ip_address", "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban",
}  # fmt: skip


def presidio(path: Path) -> list[Example]:
    """The hand-checked sample of `presidio-research`, with the kinds that it shares with ours."""
    return [
        Example(
            item["full_text"],
            [
                (s["start_position"], s["end_position"], _NAMES[s["entity_type"]])
                for s in item["spans"]
                if s["entity_type"] in _NAMES
            ],
        )
        for item in json.loads(path.read_text("utf-8"))
    ]


def score(name: str, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Recall and precision by kind. A span is found if one of its kind covers nine tenths of it."""
    found = find(pl.Series([example.text for example in examples]))
    known, right, given, wrong = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    missed: dict[str, list[str]] = {}
    for index, example in enumerate(examples):
        spans = [(span.start, span.end, span.kind.name) for span in found.get(index, [])]
        for start, end, kind in example.spans:
            known[kind] += 1
            if any(k == kind and min(e, end) - max(s, start) >= 0.9 * (end - start) for s, e, k in spans):
                right[kind] += 1
            else:
                missed.setdefault(kind, []).append(example.text[start:end])
        for start, end, kind in spans:
            given[kind] += 1
            if not any(k == kind and min(e, end) > max(s, start) for s, e, k in example.spans):
                wrong[kind] += 1
                missed.setdefault(f"wrong {kind}", []).append(example.text[start:end])
    rows = []
    for kind in sorted(known | given):
        row = {
            "set": name,
            "kind": kind,
            "known": known[kind],
            "recall": round(right[kind] / known[kind], 4) if known[kind] else None,
            "precision": round(1 - wrong[kind] / given[kind], 4) if given[kind] else None,
            "missed": missed.get(kind, [])[:3],
            "wrong": missed.get(f"wrong {kind}", [])[:3],
        }
        print(json.dumps(row, ensure_ascii=False), flush=True)
        rows.append(row)
    return rows


def speed(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Megabytes a second of processor time, and what is found in real text."""
    column = pl.Series([normalise(text) for text in texts])
    find(column.head(100))
    found: dict[int, list] = {}
    seconds = cpu_seconds(lambda: found.update(find(column)))
    counts = Counter(span.kind.name for spans in found.values() for span in spans)
    megabytes = column.str.len_bytes().sum() / 1e6
    row = {
        "text": name,
        "megabytes": round(megabytes, 1),
        "mb_per_second": round(megabytes / seconds),
        "found": dict(counts),
    }
    print(json.dumps(row, ensure_ascii=False), flush=True)
    return row


def main() -> None:
    """Score every set and measure the speed on clean and on messy text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    templates = (data / "large/pii/templates.txt").read_text("utf-8", errors="replace").splitlines()
    rows = [
        *score("presidio-research, 100 sentences", presidio(data / "small/pii/generated_small.json")),
        *score("its templates, filled 20 times", [e for seed in range(20) for e in filled(templates, seed)]),
        *score("generated English", generated(ENGLISH, 200, seed=1)),
        *score("generated Chinese", generated(CHINESE, 200, seed=2)),
        *score("written oddly", written_oddly()),
    ]
    novel = (data / "large/zh-novels/水浒传.txt").read_text("utf-8")
    reviews = [
        json.loads(line)["text"]
        for line in gzip.decompress((data / "large/imdb/train.jsonl.gz").read_bytes()).splitlines()
    ]
    posts = gzip.decompress((data / "large/newsgroups-mini/mini_newsgroups.jsonl.gz").read_bytes()).splitlines()
    speeds = [
        speed("novel (水浒传)", [novel[at : at + 1500] for at in range(0, len(novel), 1500)] * 3),
        speed("movie reviews (IMDB)", reviews),
        speed("newsgroup posts with their headers", [json.loads(line)["text"] for line in posts]),
    ]
    write_result("personal_data", {"kinds": [kind.name for kind in KINDS], "sets": rows, "speed": speeds})
    lines = ["| set | kind | known | recall | precision |", "|---|---|---:|---:|---:|"]
    for row in rows:
        cells = ("–" if row[key] is None else f"{row[key]:.1%}" for key in ("recall", "precision"))
        lines.append(f"| {row['set']} | {row['kind']} | {row['known']:,} | {' | '.join(cells)} |")
    replace_table(Path("docs/personal-data.md"), "accuracy", lines)
    lines = ["| text | MB | MB/s | found |", "|---|---:|---:|---|"]
    for row in speeds:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in row["found"].items()) or "nothing"
        lines.append(f"| {row['text']} | {row['megabytes']} | {row['mb_per_second']} | {kinds} |")
    replace_table(Path("docs/personal-data.md"), "speed", lines)


if __name__ == "__main__":
    main()
