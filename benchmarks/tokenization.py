"""Tokenizing a dataset, Parquet to published shards, beside sentencepiece that encodes the same texts.

    python benchmarks/tokenization.py [--data ../shared/data] [--rounds 3]

About three minutes. All use the same model and as many threads as there are cores. Ours reads, verifies and joins its
inputs, encodes, compares every decoded document with its text, writes tokens, index and locators, hashes and publishes
them. sentencepiece (from `build/peers/sentencepiece`, set up where it is absent) is measured twice: from Parquet to
Parquet, as a script that uses nothing else would do it, and alone, with the texts in memory and the ids kept there.
They take turns; the best round of each counts. Every document is another: what returns in it is what returns in text.
Prints one JSON line a comparison, writes `benchmarks/results/tokenization.json` and the table of `docs/scale.md`.
"""

import argparse
import importlib.metadata
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from filter_documents import chinese, english
from measuring import ROOT, peer_python, replace_table, write_result

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.graph import Graph, materialize, upstream
from lm_pipeline.home import Home
from lm_pipeline.project import build_graph
from lm_pipeline.specs.declarations import load_declarations

ALGORITHMS = ("unigram", "bpe")
CORPUS = """\
type: assets.Corpus
attributes:
  description: Real text.
  source: {kind: path, path: TEXT}
  cleaning: {profile: none}
"""
DATASET = """\
type: assets.Dataset
attributes:
  description: All of it, tokenized.
  corpora: [text]
  duplicates: {exact: false, near: null}
  decontamination: null
  tokenizer: {algorithm: ALGORITHM, vocab_size: 16000, max_training_bytes: 4000000}
"""


def set_up_peer() -> Path:
    """Python of the peer's environment, with the same release of sentencepiece."""
    return peer_python(
        "sentencepiece", f"sentencepiece=={importlib.metadata.version('sentencepiece')}", "pyarrow", "numpy"
    )


def more_chinese(data: Path) -> list[str]:
    """Poems, abstracts of papers and classical prose, which `filter_documents` leaves out: they are not web pages."""
    large = data / "large"
    with lzma.open(large / "zh-poetry/poems.jsonl.xz", "rt", encoding="utf-8") as file:
        poems = ["\n".join(json.loads(line)["lines"]) for line in file]
    abstracts = [
        line.split("\t")[1]
        for name in ("dev.tsv", "kg_dev.tsv")
        for line in (large / "csl-zh" / name).read_text("utf-8").splitlines()
    ]
    with lzma.open(large / "zh-classical-modern/pairs.jsonl.xz", "rt", encoding="utf-8") as file:
        chapters: dict[str, list[str]] = {}
        for line in file:
            pair = json.loads(line)
            chapters.setdefault(f"{pair['book']} {pair['chapter']}", []).append(pair["classical"])
    return [*poems, *abstracts, *("\n".join(lines) for lines in chapters.values())]


def write_text(path: Path, texts: list[str]) -> None:
    """Documents as JSON lines, each text once."""
    with path.open("w", encoding="utf-8") as file:
        for text in dict.fromkeys(filter(str.strip, texts)):
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def declare(folder: Path) -> tuple[Graph, Home]:
    """A project with one corpus and a dataset for each algorithm."""
    for name, text in {"text": CORPUS, **{name: DATASET.replace("ALGORITHM", name) for name in ALGORITHMS}}.items():
        path = folder / "defs" / name / "defs.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text.replace("TEXT", str(folder / "text")), "utf-8")
    home = Home(folder / "home")
    home.raw.mkdir(parents=True)
    return build_graph(load_declarations([folder / "defs"], home.raw)), home


def build(graph: Graph, home: Home, asset: str) -> Artifact:
    """Materialize an asset."""
    return materialize(graph, home, asset, lambda _: None, log=lambda _: None).artifact


def compare(graph: Graph, home: Home, dataset: str, language: str, rounds: int) -> list[dict[str, object]]:
    """Ours, then sentencepiece, and again: beside it from Parquet to Parquet, and beside its encoding alone."""
    shards = f"{dataset}/token_shards"
    for asset in upstream(graph, {shards}):
        build(graph, home, asset)  # the first time also loads compiled code
    store, threads = Store(home.artifacts), len(os.sched_getaffinity(0))
    documents, model = store.ref("documents/text"), store.ref(f"{dataset}/tokenizer")
    assert documents is not None
    assert model is not None
    files = [part.path("documents.parquet") for part in store.open_parts(documents)]
    arguments = [set_up_peer(), ROOT / "benchmarks/peers/sentencepiece_encode.py", model.path("tokenizer.model")]
    ours, answers, built = [], [], None
    for _ in range(rounds):
        shutil.rmtree(home.artifacts / "token_shards")
        started = time.perf_counter()
        built = build(graph, home, shards)
        ours.append(time.perf_counter() - started)
        command = [str(part) for part in (*arguments, threads, home.root / "peer.parquet", *files)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        answers.append(json.loads(done.stdout))
    assert built is not None
    tokens = answers[-1]["tokens"]
    splits = built.summary["splits"].values()
    num_documents = sum(split["documents"] for split in splits)
    own_tokens = sum(split["tokens"] for split in splits) - 2 * num_documents
    # Of two paths with one probability ours may take the other; where sums of scores round, one of them is longer.
    assert abs(own_tokens - tokens) < 1e-5 * tokens, f"not the same work: {own_tokens} tokens, and {tokens}"
    size = sum(split["bytes"] for split in splits) / 1e6
    work = f"{num_documents} documents, {size:.1f} MB, {threads} threads; {own_tokens} tokens, and {tokens}"
    peers = {"Parquet to Parquet": "seconds", "encoding alone": "encoding_seconds"}
    best = {peer: min(answer[key] for answer in answers) for peer, key in peers.items()}
    return [
        {
            "name": f"{dataset}, {language}, beside sentencepiece {peer}",
            "ours": round(size / min(ours), 2),
            "peer": round(size / seconds, 2),
            "ratio": round(seconds / min(ours), 3),
            "unit": "MB/s",
            "work": work,
        }
        for peer, seconds in best.items()
    ]


def main() -> None:
    """Both algorithms on both languages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=ALGORITHMS, help="measure one algorithm and write no result")
    arguments = parser.parse_args()
    result = []
    for language, sets, more in (
        ("en", english(arguments.data), []),
        ("zh", chinese(arguments.data), more_chinese(arguments.data)),
    ):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "text").mkdir()
            texts = [text for documents in sets.values() for text in documents]
            write_text(folder / "text/documents.jsonl", texts + more)
            graph, home = declare(folder)
            for algorithm in [arguments.only] if arguments.only else ALGORITHMS:
                for line in compare(graph, home, algorithm, language, arguments.rounds):
                    result.append(line)
                    print(json.dumps(line), flush=True)
    if not arguments.only:
        write_result("tokenization", result)
        rows = [f"| {line['name']} | {line['ours']} | {line['peer']} | {line['ratio']} |" for line in result]
        head = ["| MB/s | ours | sentencepiece | ratio |", "|---|---:|---:|---:|"]
        replace_table(Path("docs/scale.md"), "tokenization", [*head, *rows])


if __name__ == "__main__":
    sys.exit(main())
