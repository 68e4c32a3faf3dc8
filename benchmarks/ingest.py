"""How fast raw files become the asset `documents`, and where the time goes.

    python benchmarks/ingest.py [--data ../shared/data] [--rounds 3]

JSON lines to decided parts, one process, one thread: reading, hashing, normalisation, language, every statistic of the
filters, decisions and Parquet. Prints one JSON line per language and writes `benchmarks/results/ingest.json`.
"""

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
from pathlib import Path

from filter_documents import chinese, english
from measuring import ROOT, cpu_seconds, write_result

from lm_pipeline.corpus.decisions import decide_part
from lm_pipeline.corpus.documents import clean_part, merge_summaries, plan_parts
from lm_pipeline.corpus.raw_files import RawFile
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


def main() -> None:
    """Measure both languages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    result = []
    with tempfile.TemporaryDirectory() as name:
        for language, sets in (("en", english(arguments.data)), ("zh", chinese(arguments.data))):
            source = Path(name) / f"{language}.jsonl"
            texts = [text for documents in sets.values() for text in documents]
            source.write_text("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts), "utf-8")
            environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, "--child", str(source), str(arguments.rounds)]
            stderr = None if arguments.profile else subprocess.DEVNULL
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True, env=environment
            )
            measured = json.loads(done.stdout.splitlines()[-1])
            size = source.stat().st_size / 1e6
            result.append(
                {
                    "name": f"documents asset, {language}",
                    "ours": round(size / measured["cpu_seconds"], 2),
                    "peer": None,
                    "ratio": None,
                    "unit": "MB/s/core",
                    "work": f"{measured['records_in']} records, {size:.1f} MB of JSON lines to measured and decided"
                    f" documents, language included; {measured['kept']} kept, {measured['rejected']} rejected",
                }
            )
            print(json.dumps(result[-1]))
    write_result("ingest", result)


if __name__ == "__main__":
    main()
