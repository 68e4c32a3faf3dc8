"""Near-duplicate removal, Parquet to Parquet, beside datatrove and rensa; and what one percent of new documents costs.

    python benchmarks/minhash.py [--data ../shared/data] [--documents 25000] [--rounds 1] [--without-peers]

The peers run from `build/peers/minhash`, which is set up where it is absent. All read the same Parquet files, use
5-grams of words in 14 bands of 8 rows and write the documents that are kept to Parquet; ours alone verifies every
candidate pair by its true Jaccard similarity. (rensa's bulk interface flags every member of a cluster, so it keeps
fewer.) Imports and compilation are left out everywhere. Ours and the peers take turns. Prints one JSON line a
comparison and writes `benchmarks/results/minhash.json`.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import xxhash
from measuring import ROOT, peer_python, write_result

from lm_pipeline.corpus.document_tables import DOCUMENTS, TableWriter
from lm_pipeline.corpus.similarity.duplicates import Part, find_duplicates
from lm_pipeline.corpus.similarity.minhash import write_signatures
from lm_pipeline.specs.dataset import Duplicates

SPEC = Duplicates()
NUM_PARTS = 2  # datatrove's unit of parallel work is a file
# datatrove 0.10.1 crashes with xxhash 4.
PEERS = ("minhash", "datatrove[io,processing]==0.10.1", "xxhash==3.8.2", "spacy", "rensa==0.5.0", "pyarrow")


def documents(data: Path, num: int) -> list[str]:
    """IMDB's reviews, of which every tenth comes a second time with some words changed."""
    with gzip.open(data / "large/imdb/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    generator = np.random.default_rng(0)
    for text in texts[::10]:
        words = text.split(" ")
        for place in generator.choice(len(words), 1 + len(words) // 60):
            words[place] = f"w{generator.integers(1000)}"
        texts.append(" ".join(words))
    return [texts[row] for row in generator.permutation(len(texts))[:num]]


def write_part(folder: Path, texts: list[str]) -> Part:
    """A part as cleaning leaves it."""
    folder.mkdir(parents=True)
    rows = pl.DataFrame(
        {
            "document_id": [xxhash.xxh3_128_hexdigest(f"{folder.name}-{row}".encode()) for row in range(len(texts))],
            "corpus": "imdb",
            "file": folder.name,
            "record": range(len(texts)),
            "text": texts,
        }
    )
    with TableWriter(folder / "documents.parquet", DOCUMENTS) as file:
        for batch in rows.iter_slices(8192):
            absent = [pl.lit(None, dtype).alias(name) for name, dtype in DOCUMENTS.items() if name not in rows.columns]
            file.write(batch.with_columns(absent).cast(dict(DOCUMENTS)))
    pl.DataFrame({"kept": [True] * len(texts)}).write_parquet(folder / "decisions.parquet")
    return Part(*(folder / f"{name}.parquet" for name in ("documents", "decisions", "signatures")))


def ours(parts: list[Part], out: Path) -> tuple[float, int]:
    """Seconds, and how many documents are kept."""
    out.mkdir()
    started = time.perf_counter()
    for part in parts:
        write_signatures(part.documents, SPEC.near, part.signatures.parent)
    find_duplicates({"imdb": parts}, SPEC, out)
    kept = pl.read_parquet(out / "unique.parquet", columns=["document_id", "kept"])
    keep = kept.filter("kept")["document_id"].implode()
    for part in parts:
        chosen = pl.scan_parquet(part.documents).filter(pl.col("document_id").is_in(keep))
        chosen.sink_parquet(out / f"{part.documents.parent.name}.parquet", compression="zstd")
    return time.perf_counter() - started, len(keep[0])


def peer(name: str, folder: Path, out: Path) -> tuple[float, int]:
    """The same by a peer, in a process of its own."""
    python = peer_python(*PEERS)
    script = ROOT / f"benchmarks/peers/minhash_{name}.py"
    done = subprocess.run([python, script, folder, out], capture_output=True, text=True, check=False, cwd=out.parent)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return answer["seconds"], answer["kept"]


def compare(texts: list[str], num_rounds: int, scratch: Path) -> list[dict[str, object]]:
    """Ours, then each peer, and again; the best round of each counts."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    cut = -(-len(texts) // NUM_PARTS)
    rounds: dict[str, list[tuple[float, int]]] = {"ours": [], "datatrove": [], "rensa": []}
    for number in range(num_rounds):
        folder = scratch / f"round-{number}"
        parts = [write_part(folder / f"{n:05}", texts[n * cut : (n + 1) * cut]) for n in range(NUM_PARTS)]
        rounds["ours"].append(ours(parts, scratch / f"ours-{number}"))
        for name in ("rensa", "datatrove"):
            rounds[name].append(peer(name, folder, scratch / f"{name}-{number}"))
    own_seconds, own_kept = min(rounds["ours"])
    lines = []
    for name in ("datatrove", "rensa"):
        seconds, kept = min(rounds[name])
        lines.append(
            {
                "name": f"minhash, beside {name}",
                "ours": round(size / own_seconds, 2),
                "peer": round(size / seconds, 2),
                "ratio": round(seconds / own_seconds, 2),
                "unit": "MB/s",
                "work": f"{len(texts)} reviews, {size:.1f} MB; kept {own_kept}, {name} {kept}",
            }
        )
    return lines


def grow(texts: list[str], fresh: list[str], scratch: Path) -> dict[str, object]:
    """The cost of one percent more, a tenth of which nearly repeats old documents; and of everything from nothing."""
    num_new = len(texts) // 100
    parts = [
        write_part(scratch / f"grow-{n}", texts[n * 25000 : (n + 1) * 25000]) for n in range(-(-len(texts) // 25000))
    ]
    latest = [f"{texts[row]} New." if row % 10 == 0 else fresh[row] for row in range(num_new)]
    new = write_part(scratch / "grow-new", latest)
    whole, before, after = (scratch / name for name in ("whole", "before", "after"))
    for out in (whole, before, after):
        out.mkdir(parents=True)

    def timed(
        described: list[Part], present: list[Part], out: Path, verdicts: Path | None = None
    ) -> tuple[float, float]:
        wall, processor = time.perf_counter(), time.process_time()
        for part in described:
            write_signatures(part.documents, SPEC.near, part.signatures.parent)
        find_duplicates({"imdb": present}, SPEC, out, verdicts)
        return time.perf_counter() - wall, time.process_time() - processor

    timed(parts, parts, before)
    added = timed([new], [*parts, new], after, before / "verdicts.parquet")
    full = timed([*parts, new], [*parts, new], whole)
    same = (whole / "unique.parquet").read_bytes() == (after / "unique.parquet").read_bytes()
    assert same, "one by one and all at once differ"
    size = sum(len(text.encode()) for text in texts) / 1e6
    return {
        "name": "one percent of new documents",
        "ours": round(added[0], 3),
        "peer": round(full[0], 3),
        "ratio": round(added[0] / full[0], 4),
        "unit": "s, and of a full run",
        "work": f"{len(texts)} documents, {size:.0f} MB; by processor time {added[1]:.2f} of {full[1]:.2f} s,"
        f" {added[1] / full[1]:.2%}",
    }


def warm_up(texts: list[str], scratch: Path) -> None:
    """Search as is measured afterwards, so that everything is compiled and loaded: of old documents and of new ones."""
    old = write_part(scratch / "warm", [*texts, f"{texts[0]} Again."])
    ours([old], scratch / "warm-out")
    new = write_part(scratch / "warm-new", [f"{texts[1]} New."])
    write_signatures(new.documents, SPEC.near, new.signatures.parent)
    (scratch / "warm-again").mkdir()
    find_duplicates({"imdb": [old, new]}, SPEC, scratch / "warm-again", scratch / "warm-out/verdicts.parquet")


def longer(texts: list[str], num: int) -> list[str]:
    """Documents of 40 sentences of different reviews each, of about 5 kB, as pages are: few of them are alike."""
    sentences = [sentence for text in texts for sentence in text.split(". ")]
    generator = np.random.default_rng(1)
    return [". ".join(sentences[row] for row in rows) for rows in generator.integers(0, len(sentences), (num, 40))]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--documents", type=int, default=25_000)
    parser.add_argument(
        "--grown", type=int, default=100_000, help="documents of the incremental run; half as many go first"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args()
    texts = documents(options.data, options.documents)
    lines: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        warm_up(texts[:200], scratch)
        if not options.without_peers:
            lines += compare(texts, options.rounds, scratch)
        for grown in (options.grown // 2, options.grown):
            drawn = longer(texts, grown + grown // 100)
            lines.append(grow(drawn[:grown], drawn[grown:], scratch / f"grown-{grown}"))
    for line in lines:
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    write_result("minhash", lines)


if __name__ == "__main__":
    main()
