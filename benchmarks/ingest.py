"""How fast raw files become the asset `documents`, beside datatrove, and where the time goes.

    python benchmarks/ingest.py [--data ../shared/data] [--rounds 3] [--megabytes 4]

JSON lines to decided parts, one process, one thread: reading, hashing, normalisation, language, every statistic of the
filters, personal data, decisions and Parquet; of all documents, and of some megabytes of them, which datatrove reads as
well (`peers/ingest_datatrove.py`): the same filters, the same model of languages, no more of personal data than e-mail
and IP addresses. Prints one JSON line per comparison and writes `benchmarks/results/ingest.json` and the table of
`docs/filters.md`.
"""

import argparse
import cProfile
import json
import os
import pstats
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from filter_documents import chinese, english
from filters import PEER
from measuring import ROOT, cpu_seconds, peer_python, replace_table, write_result

from lm_pipeline.corpus.documents import clean_part, merge_summaries, plan_parts
from lm_pipeline.corpus.quality.decisions import decide_part
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.digests import digest_file
from lm_pipeline.specs.cleaning import Cleaning
from lm_pipeline.specs.corpus import CorpusSpec, PathSource

SPEC = CorpusSpec(
    source=PathSource(path="."),
    cleaning=Cleaning(rules=("gopher_quality", "gopher_repetition", "c4", "fineweb")),
)


def ingest(path: Path, out: Path) -> dict:
    """All parts of one file. Returns the corpus's summary."""
    file = RawFile(path.name, path.stat().st_size, digest_file(path), path)
    summaries = []
    for number, part in enumerate(plan_parts([file], SPEC)):
        folder = out / str(number)
        folder.mkdir(parents=True)
        summaries.append(clean_part("benchmark", part, {file.path: file}, SPEC, folder))
        summaries.append(decide_part(folder / "statistics.parquet", SPEC.cleaning, folder / "decisions.parquet"))
    return merge_summaries(summaries)


def child(source: str, rounds: str) -> None:
    """Time it in a process of its own, so that its one thread is all there is; the first run loads compiled code."""
    with tempfile.TemporaryDirectory() as name:
        warm = Path(name) / "warm.jsonl"
        warm.write_text(json.dumps({"text": "Load what is loaded once. 加载一次。"}) + "\n", "utf-8")
        ingest(warm, Path(name) / "warm")
        seconds = [
            cpu_seconds(lambda number=number: ingest(Path(source), Path(name) / str(number)))
            for number in range(int(rounds))
        ]
        profile = cProfile.Profile()
        summary = profile.runcall(ingest, Path(source), Path(name) / "profile")
    pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats("lm_pipeline", 20)
    counts = {key: summary[key] for key in ("records_in", "kept", "rejected", "quarantined")}
    print(json.dumps({"cpu_seconds": min(seconds), **counts}))


def ours(source: Path, rounds: int, *, profile: bool) -> dict:
    """What `child` prints."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", str(source), str(rounds)]
    stderr = None if profile else subprocess.DEVNULL
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def datatrove(source: Path, language: str, rounds: int) -> float:
    """The best round of the peer, in seconds of the processor."""
    script, seconds = ROOT / "benchmarks/peers/ingest_datatrove.py", []
    for number in range(rounds):
        command = [peer_python(*PEER), script, source, source.parent / f"peer-{number}.parquet", language]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        answer = json.loads(done.stdout.splitlines()[-1])
        with source.open("rb") as lines:
            assert answer["written"] >= 0.99 * sum(1 for _ in lines), "the peer dropped documents"
        seconds.append(answer["cpu_seconds"])
    return min(seconds)


def write_lines(path: Path, texts: list[str]) -> float:
    """Write them as JSON lines. Returns megabytes."""
    path.write_text("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts), "utf-8")
    return path.stat().st_size / 1e6


def main() -> None:
    """Measure both languages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=4.0, help="of documents that the peer reads")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    result = []
    with tempfile.TemporaryDirectory() as name:
        for language, sets in (("en", english(arguments.data)), ("zh", chinese(arguments.data))):
            texts = [text for documents in sets.values() for text in documents if text.strip()]
            source, some = Path(name) / f"{language}.jsonl", Path(name) / f"some-{language}.jsonl"
            size = write_lines(source, texts)
            random.Random(0).shuffle(texts)
            share = write_lines(some, texts[: round(len(texts) * arguments.megabytes / size)])
            whole = ours(source, arguments.rounds, profile=arguments.profile)
            part = ours(some, arguments.rounds, profile=False)
            peer = datatrove(some, language, arguments.rounds)
            work = "JSON lines to measured and decided documents, language included"
            result += [
                {
                    "name": f"documents asset, {language}",
                    "ours": round(size / whole["cpu_seconds"], 2),
                    "peer": None,
                    "ratio": None,
                    "unit": "MB/s/core",
                    "work": f"{whole['records_in']} records, {size:.1f} MB of {work}; {whole['kept']} kept,"
                    f" {whole['rejected']} rejected",
                },
                {
                    "name": f"documents asset, {language}, beside datatrove",
                    "ours": round(share / part["cpu_seconds"], 2),
                    "peer": round(share / peer, 3),
                    "ratio": round(peer / part["cpu_seconds"], 1),
                    "unit": "MB/s/core",
                    "work": f"{part['records_in']} records, {share:.1f} MB of {work}",
                },
            ]
            for line in result[-2:]:
                print(json.dumps(line))
    write_result("ingest", result)
    replace_table(Path("docs/filters.md"), "ingest", table(result))


def table(result: list[dict]) -> list[str]:
    """Markdown: a row a measurement."""
    lines = ["| MB/s/core | ours | datatrove | ratio |", "|---|---:|---:|---:|"]
    return [*lines, *(f"| {r['name']} | {r['ours']} | {r['peer'] or ''} | {r['ratio'] or ''} |" for r in result)]


if __name__ == "__main__":
    main()
