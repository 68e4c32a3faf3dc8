"""The most memory that each stage takes, children included, for inputs from 100 MB to 4 GB.

    python benchmarks/memory.py [--data ../shared/data] [--megabytes 100 400 1000] [--stages documents ...]

The text is made of real sentences, English and Chinese, their words shuffled so that documents differ. Validation and
test hold out 2 MB each, whatever the size: n-grams of what is held out are kept in memory. Each stage runs in a process
of its own, whose resident memory and that of all its children (`LM_PIPELINE_WORKERS` of them clean parts) is summed up
every 50 ms; of a page that several share, each has its part (Linux's proportional set size). Homes stay in
`build/memory`, so it can be done in pieces: a stage that was cut off goes on, and what it took before counts. About one
minute a 100 MB, for all stages, on two cores. Prints one JSON line a stage, keeps what other sizes have in
`benchmarks/results/memory.json`, and draws `docs/images/memory.svg` and the table of `docs/scale.md`.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from filter_documents import chinese, english
from measuring import ROOT, replace_table, write_result

STAGES = {
    "documents": ["raw_documents/text", "documents/text"],
    "unique_documents": ["all/unique_documents"],
    "splits": ["all/splits"],
    "tokenizer": ["all/tokenizer"],
    "token_shards": ["all/token_shards"],
}
"""What is measured, and the assets that it makes."""
SAMPLE_SECONDS = 0.05
FILE_MEGABYTES = 500
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 300, 60, 40
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
CORPUS = """\
type: assets.Corpus
attributes:
  description: Shuffled sentences.
  source: {kind: path, path: TEXT}
  cleaning: {rules: [gopher_quality, gopher_repetition]}
"""
DATASET = """\
type: assets.Dataset
attributes:
  description: All of them.
  corpora: [text]
  tokenizer: {vocab_size: 8000, max_training_bytes: 4000000}
  split: {validation_fraction: FRACTION, test_fraction: FRACTION}
"""
HELD_OUT_MEGABYTES = 2
"""Text of the validation and of the test split, each: what is held out does not grow with a corpus."""


def documents(data: Path) -> Iterator[str]:
    """Documents without end: 10 to 60 sentences of the same language each; one in three is Chinese.

    The order of a sentence's words, or of its characters between commas, is shuffled too: repeated sentences would be
    contamination, and hardly anything would be left to train on.
    """
    generator = np.random.default_rng(0)
    pools = [
        [piece + mark for texts in sets.values() for text in texts for piece in text.split(mark) if piece.strip()]
        for sets, mark in ((english(data), ". "), (chinese(data), "。"))
    ]
    while True:
        pool = pools[int(generator.random() < 1 / 3)]
        chosen = generator.integers(0, len(pool), generator.integers(10, 61))
        sentences = [shuffled(pool[row], generator) for row in chosen]
        yield "\n\n".join("".join(sentences[i::3]) for i in range(3))


def shuffled(sentence: str, generator: np.random.Generator) -> str:
    """A sentence with its words, or its characters where it has no spaces, in another order; its mark stays last."""
    is_spaced = sentence.endswith(". ")
    parts = sentence.removesuffix(". ").split(" ") if is_spaced else list(sentence.removesuffix("。"))
    mixed = [parts[i] for i in generator.permutation(len(parts))]
    return " ".join(mixed) + ". " if is_spaced else "".join(mixed) + "。"


def write_input(folder: Path, megabytes: int, data: Path) -> None:
    """Files of JSON lines, so many megabytes in all, and the declarations."""
    if (folder / "ready").exists():
        return
    (folder / "text").mkdir(parents=True, exist_ok=True)
    lines = ((json.dumps({"text": text}, ensure_ascii=False) + "\n").encode() for text in documents(data))
    left = megabytes * 10**6
    for number in itertools.count():
        room = min(left, FILE_MEGABYTES * 10**6)
        if room <= 0:
            break
        left -= room
        with (folder / "text" / f"{number:03}.jsonl").open("wb") as file:
            while file.tell() < room:
                file.write(next(lines))
    for name, text in (("text", CORPUS), ("all", DATASET)):
        path = folder / "defs" / name / "defs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        fraction = f"{HELD_OUT_MEGABYTES / megabytes:.6f}"
        path.write_text(text.replace("TEXT", str(folder / "text")).replace("FRACTION", fraction), "utf-8")
    (folder / "ready").touch()


def child(folder: Path, assets: list[str]) -> None:
    """Make assets; what exists is found."""
    from lm_pipeline.graph import materialize
    from lm_pipeline.home import Home
    from lm_pipeline.project import build_graph
    from lm_pipeline.specs.declarations import load_declarations

    home = Home(folder / "home")
    home.raw.mkdir(parents=True, exist_ok=True)
    graph = build_graph(load_declarations([folder / "defs"], home.raw))
    for asset in assets:
        outcome = materialize(graph, home, asset, lambda _: None, log=lambda line: print(line, file=sys.stderr))
        print(json.dumps({"reused": outcome.reused}), flush=True)


def resident(process: psutil.Process) -> int:
    """Bytes of a process and all its descendants now."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it ends: the next sample counts
            total += each.memory_full_info().pss
    return total


def measure(folder: Path, stage: str) -> int:
    """Peak in bytes of a stage, over all the runs that it took to make it."""
    record = folder / f"{stage}.json"
    before = json.loads(record.read_text()) if record.exists() else {"bytes": 0, "done": False}
    if before["done"]:
        return before["bytes"]
    peak = before["bytes"]
    command = [sys.executable, __file__, "--child", str(folder), *STAGES[stage]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            process = psutil.Process(running.pid)
            while running.poll() is None:
                peak = max(peak, resident(process))
                time.sleep(SAMPLE_SECONDS)
        finally:
            running.send_signal(signal.SIGINT)
            record.write_text(json.dumps({"bytes": peak, "done": running.returncode == 0}))
        *_, last = running.communicate()[0].splitlines() or ["nothing"]
    if running.returncode or json.loads(last)["reused"]:
        raise SystemExit(f"{stage} ended with {running.returncode}: {last}")
    return peak


def previous() -> dict[tuple[int, str], dict]:
    """What is on record, by size and stage."""
    path = ROOT / "benchmarks/results/memory.json"
    lines = json.loads(path.read_text("utf-8"))["result"] if path.exists() else []
    return {(line["megabytes"], line["stage"]): line for line in lines}


def draw(lines: list[dict], path: Path) -> None:
    """Peak memory against the size of the input, a line a stage; both axes logarithmic in size, linear in memory."""
    sizes = sorted({line["megabytes"] for line in lines})
    top = max(line["ours"] for line in lines) * 1.15

    def x(size: float) -> float:
        span = np.log(sizes[-1] / sizes[0]) or 1
        return round(LEFT + float(np.log(size / sizes[0]) / span) * (WIDTH - LEFT - 150), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - 20), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for size in sizes:
        parts.append(f'<text x="{x(size)}" y="{HEIGHT - 22}" text-anchor="middle">{size:,} MB</text>')
        parts.append(f'<path d="M{x(size)} 20V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
    for value in np.linspace(0, top, 5):
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{value:,.0f}</text>')
        parts.append(f'<path d="M{LEFT} {y(value)}H{x(sizes[-1])}" stroke="#ddd"/>')
    parts.append(f'<text x="{LEFT}" y="13">peak memory in MB, children included, by size of the input</text>')
    for colour, stage in zip(COLOURS, STAGES, strict=True):
        own = sorted((line["megabytes"], line["ours"]) for line in lines if line["stage"] == stage)
        if not own:
            continue
        points = " ".join(f"{x(size)},{y(value)}" for size, value in own)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(size)}" cy="{y(value)}" r="3" fill="{colour}"/>' for size, value in own]
        parts.append(f'<text x="{x(own[-1][0]) + 8}" y="{y(own[-1][1]) + 4}" fill="{colour}">{stage}</text>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", "utf-8")


def table(lines: list[dict]) -> list[str]:
    """A row a stage, a column a size."""
    sizes = sorted({line["megabytes"] for line in lines})
    found = {(line["megabytes"], line["stage"]): line["ours"] for line in lines}
    rows = [" | ".join(["| peak memory in MB", *(f"{size:,} MB" for size in sizes)]) + " |"]
    rows.append("|---" + "|---:" * len(sizes) + "|")
    for stage in STAGES:
        cells = [f"{found[size, stage]:,}" if (size, stage) in found else "" for size in sizes]
        rows.append(f"| `{stage}` | " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    """Measure the sizes and stages that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 400, 1000, 4000])
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--scratch", type=Path, default=ROOT / "build/memory")
    parser.add_argument("--child", nargs="+")
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child[0]), arguments.child[1:])
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was measured so far is kept
    lines = previous()
    for megabytes in arguments.megabytes:
        folder = arguments.scratch / str(megabytes)
        write_input(folder, megabytes, arguments.data)
        for stage in (stage for stage in STAGES if stage in arguments.stages):
            measured = measure(folder, stage)
            lines[megabytes, stage] = {
                "name": f"memory, {stage}, {megabytes} MB",
                "ours": round(measured / 1e6),
                "peer": None,
                "ratio": None,
                "unit": "MB",
                "work": f"{megabytes} MB of JSON lines, {os.cpu_count()} cores",
                "stage": stage,
                "megabytes": megabytes,
            }
            print(json.dumps(lines[megabytes, stage]), flush=True)
            result = [lines[key] for key in sorted(lines, key=lambda key: (key[0], list(STAGES).index(key[1])))]
            write_result("memory", result)
            draw(result, ROOT / "docs/images/memory.svg")
            replace_table(Path("docs/scale.md"), "memory", table(result))


if __name__ == "__main__":
    main()
