"""A dataset, raw text to token shards, whose making can be killed with SIGKILL at any instant (see `killing.py`)."""

import csv
import gzip
import io
import json
import lzma
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import aiohttp  # noqa: F401 - as below: fsspec imports it where it needs it
import fsspec.implementations.http  # noqa: F401
import numpy as np
import pandas as pd  # noqa: F401 - by pyarrow, where it is installed
import polars as pl
import pyarrow.parquet as pq
import zstandard

from lm_pipeline.artifacts import Store
from lm_pipeline.corpus.contamination import decontamination  # noqa: F401 - a run imports it where it needs it, a server of forks before
from lm_pipeline.corpus.division import splits  # noqa: F401
from lm_pipeline.corpus.documents import clean, plan
from lm_pipeline.corpus.quality import (
    decisions,  # noqa: F401
    word_lists,  # noqa: F401
)
from lm_pipeline.corpus.raw import (
    digest_cache,
    downloads,
    sources,  # noqa: F401
    url_source,  # noqa: F401
)
from lm_pipeline.corpus.similarity import (
    duplicates,  # noqa: F401
    repeated_text,  # noqa: F401
    shingle_store,
)
from lm_pipeline.corpus.similarity.equal_keys import first_of_equal
from lm_pipeline.corpus.text import character_classes, scripts
from lm_pipeline.graph import Graph, materialize, upstream
from lm_pipeline.home import Home
from lm_pipeline.project import build_graph
from lm_pipeline.specs.declarations import load_declarations
from lm_pipeline.stages import parts
from lm_pipeline.tokenization import shard_writing, tokenizer
from tests.faults.killing import Killer, watch_files

# What the first call makes ready is made ready here, once; without a thread, for those do not survive a fork.
first_of_equal(np.zeros(2, np.uint64), np.zeros(2, np.uint64))
character_classes.character_classes()
scripts._classes()

ROOT = Path(__file__).resolve().parents[2]
DATASET = "mixed"
PART_BYTES = 40_000

DECLARATIONS = {
    "corpora/english": """\
type: assets.Corpus
attributes:
  description: Reviews, news, a novel and pages.
  source: {kind: path, path: TEXT/english}
  cleaning: {profile: none, min_characters: 60, rules: [gopher_repetition]}
""",
    "corpora/chinese": """\
type: assets.Corpus
attributes:
  description: Encyclopedia, a novel in GB18030 and restaurant reviews.
  source: {kind: path, path: TEXT/chinese}
  cleaning: {profile: none, min_characters: 12}
""",
    "corpora/web": """\
type: assets.Corpus
attributes:
  description: Chapters of both languages that a server has.
  source: {kind: url, url: "SERVER/", include: ["*.txt"]}
  format: {kind: text, unit: paragraph}
  cleaning: {profile: none, min_characters: 40}
""",
    "datasets/mixed": """\
type: assets.Dataset
attributes:
  description: Both languages.
  corpora: [english, chinese, web]
  duplicates: {repeated: {unit: line}}
  split: {validation_fraction: 0.15, test_fraction: 0.15}
  tokenizer: {algorithm: bpe, vocab_size: 1800, character_coverage: 0.98}
""",
}


def write_project(folder: Path, data: Path, server: str) -> None:
    """Declarations and real text, both languages, six formats; with records that cannot be read, and repeated ones.

    Args:
        folder: gets `defs/`, `text/`, `served/`: what the server has, and `arrival/`: files that come later.
        data: real corpora.
        server: address of the server of `served/`.
    """
    for name, text in DECLARATIONS.items():
        path = folder / "defs" / name / "defs.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text.replace("TEXT", str(folder / "text")).replace("SERVER", server), "utf-8")
    english, chinese, served, arrival = (
        folder / name for name in ("text/english", "text/chinese", "served", "arrival")
    )
    for each in (english, chinese, served, arrival):
        each.mkdir(parents=True, exist_ok=True)
    _write_english(english, data)
    _write_chinese(chinese, data)
    novel = (data / "large/zh-novels/水浒传.txt").read_text("utf-8")
    alice = (data / "small/lm/en/alice-in-wonderland.txt").read_text("utf-8")
    (served / "book").mkdir()
    (served / "book/水浒传.txt").write_text(novel[20_000:24_000], "utf-8")
    (served / "alice.txt").write_text(alice[20_000:28_000], "utf-8")
    (served / "small.txt").write_text(alice[30_000:31_000], "utf-8")
    paragraphs = _articles(data)[60:80]
    _write_lines(arrival / "later.jsonl", [*paragraphs, _articles(data)[3], _articles(data)[4] + "。", novel[:6000]])


def _write_english(folder: Path, data: Path) -> None:
    with gzip.open(data / "large/imdb/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        reviews = [json.loads(line)["text"] for line, _ in zip(lines, range(50), strict=False)]
    _write_lines(folder / "reviews.jsonl", [*reviews, reviews[7], reviews[8] + " The end.", "short"], bad="{not json")
    with gzip.open(data / "large/bbc-news/bbc.csv.gz", "rt", encoding="utf-8", newline="") as file:
        news = [row["text"] for row, _ in zip(csv.DictReader(file), range(12), strict=False)]
    table = io.StringIO()
    csv.writer(table).writerows([["text"], *([text] for text in news)])
    (folder / "news.csv.xz").write_bytes(lzma.compress(table.getvalue().encode()))
    alice = (data / "small/lm/en/alice-in-wonderland.txt").read_text("utf-8")
    pages = sorted((data / "small/web/html").rglob("*.html"))
    with zipfile.ZipFile(folder / "books.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("alice.txt", alice[2000:9000])
        archive.writestr("page.html", pages[0].read_bytes())


def _write_chinese(folder: Path, data: Path) -> None:
    paragraphs = _articles(data)[:30]
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in [*paragraphs, paragraphs[2]])
    (folder / "encyclopedia.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    novel = (data / "large/zh-novels/水浒传.txt").read_text("utf-8")
    (folder / "novel.txt").write_bytes(novel[:6000].encode("gb18030", "replace"))
    with (data / "large/zh-sentiment/waimai_10k.csv").open(encoding="utf-8", newline="") as file:
        reviews = [row["review"] for row, _ in zip(csv.DictReader(file), range(150), strict=False)]
    pl.DataFrame({"text": reviews}).write_parquet(folder / "reviews.parquet")
    (folder / "reviews.parquet.gz").write_bytes(gzip.compress((folder / "reviews.parquet").read_bytes(), mtime=0))
    (folder / "reviews.parquet").unlink()


def _articles(data: Path) -> list[str]:
    articles = json.loads((data / "large/cmrc2018/cmrc2018_dev.json").read_text("utf-8"))["data"]
    return [paragraph["context"] for article in articles[:100] for paragraph in article["paragraphs"]]


def _write_lines(path: Path, texts: list[str], bad: str = "") -> None:
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    path.write_text("\n".join([*lines[:5], *filter(None, [bad]), *lines[5:]]) + "\n", "utf-8")


def half_table(real, writer, table, *rest, **more):
    real(writer, table.slice(0, len(table) // 2), *rest, **more)


def half_frame(real, frame, path, **more):
    real(frame[: len(frame) // 2], path, **more)
    os.truncate(path, Path(path).stat().st_size // 2)


def half_split(real, writer, frame, tokens, sizes, num_bytes):
    rows = len(frame) // 2
    real(writer, frame[:rows], tokens[: sizes[:rows].sum()], sizes[:rows], num_bytes[:rows])


def half_download(_, system, item, complete):
    content = system.cat_file(item.path)
    with complete.with_name(f"{complete.name}.part").open("wb") as file:
        file.write(content[: len(content) // 2])


def half_digests(real, fresh, connection):
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT OR REPLACE INTO digests VALUES (1, 2, 3, 4, 5, 'wrong')")


def half_shingles(real, store, rows):
    real(store, rows[: len(rows) // 2])


def watch(killer: Killer) -> None:
    """Put instants around every call by which a dataset's making changes the disk, and around its steps."""
    watch_files(killer)
    killer.around(Path, "write_bytes", "binary file")
    killer.around(Path, "mkdir", "folder")
    killer.around(Path, "unlink", "unlink")
    killer.around(tempfile, "mkdtemp", "temporary folder")
    killer.around(pq.ParquetWriter, "__init__", "table opened")
    killer.around(pq.ParquetWriter, "write_table", "rows", half_table)
    killer.around(pq.ParquetWriter, "close", "table closed")
    killer.around(pq, "write_table", "table")
    killer.around(pl.DataFrame, "write_parquet", "frame", half_frame)
    killer.around(digest_cache, "_write", "digest cache", half_digests)
    killer.around(downloads, "_get", "download", half_download)
    killer.around(clean, "clean_records", "batch")
    killer.around(shingle_store.ShingleStore, "add", "shingles", half_shingles)
    killer.around(tokenizer.sentencepiece.SentencePieceTrainer, "train", "tokenizer")
    killer.around(shard_writing._SplitWriter, "write", "tokens", half_split)
    killer.around(shard_writing._SplitWriter, "close", "index")
    _watch_opening(killer)


def _watch_opening(killer: Killer) -> None:
    """Around the opening of files to be written; what is only read is no instant."""
    real = Path.open
    counted = killer.counted(real, "file opened")

    def opened(path, mode="r", *rest, **more):
        return (real if mode in ("r", "rb") else counted)(path, mode, *rest, **more)

    Path.open = opened


def assets(graph: Graph) -> list[str]:
    """All of the corpora's and the dataset's assets but those that need torch, in the order in which they are made."""
    left_out = tuple(f"{DATASET}/{name}" for name in ("statistics", "baselines", "leaderboard"))
    return upstream(graph, {asset for asset in graph if not asset.startswith(("corpus_statistics/", *left_out))})


def note_builds(log: Path) -> None:
    """Append the address of each artifact to a file when its making begins."""
    real, write = Store._write, os.write

    def noted(store, stage, key, *rest):
        with log.open("ab", buffering=0) as file:
            write(file.fileno(), f"{stage.name}/{key}\n".encode())
        return real(store, stage, key, *rest)

    Store._write = noted


def build_and_die(project: Path, folder: Path, at: int, processes: bool = False, only: Sequence[str] = ()) -> None:
    """Make the project's dataset in `folder` until the instant with this number (0 never comes).

    Args:
        project: what `write_project` wrote.
        folder: gets `home/`, `tmp/`, `built.log` and, by a run that comes to its end, `seen.json`: the instants.
        at: number of the instant.
        processes: whether the parts are cleaned in processes of their own. Then instants are those of these processes.
        only: the assets to make; all that the dataset needs if none.
    """
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    (folder / "tmp").mkdir(exist_ok=True)
    home = Home(folder / "home")
    home.raw.mkdir(parents=True, exist_ok=True)
    plan.PART_BYTES = PART_BYTES
    downloads.NUM_THREADS = 1  # instants come in one order
    note_builds(folder / "built.log")
    graph = build_graph(load_declarations([project / "defs"], home.raw))
    killer = Killer(0 if processes else at)
    if processes:
        clean_in_processes(folder, at)
    else:
        watch(killer)
    log = killer.counted(lambda _: None, "log call")
    for asset in only or assets(graph):
        materialize(graph, home, asset, lambda _: None, log=log)
    seen = list(killer.seen)
    if not processes:
        (folder / "seen.json").open("w").write(json.dumps(seen))


def clean_in_processes(folder: Path, at: int) -> None:
    """Have parts cleaned by the children that clean large corpora, with instants in them (see `clean_child.py`)."""
    os.environ |= {"LM_PIPELINE_WORKERS": "2", "KILL_FOLDER": str(folder), "KILL_AT": str(at)}
    os.environ |= {"KILL_MAIN": str(os.getpid()), "PYTHONPATH": str(ROOT)}
    parts.PARALLEL_BYTES = 0
    real = parts.supervise

    def supervise(argv, *rest, **more):
        assert argv[1:4] == ["-m", "lm_pipeline", "clean"]
        real([argv[0], "-m", "tests.faults.clean_child", *argv[4:]], *rest, **more)

    parts.supervise = supervise
