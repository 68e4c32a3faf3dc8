"""Real documents, English and Chinese, for `filters.py` and `ingest.py`: from the folder of development data."""

import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from lm_pipeline.corpus.text.normalisation import normalised


def english(data: Path) -> dict[str, list[str]]:
    """By set."""
    large = data / "large"
    with gzip.open(large / "imdb/train.jsonl.gz", "rt", encoding="utf-8") as file:
        imdb = [json.loads(line)["text"] for line in file]
    with gzip.open(large / "bbc-news/bbc.csv.gz", "rt", encoding="utf-8", newline="") as file:
        bbc = [row["text"] for row in csv.DictReader(file)]
    with gzip.open(large / "newsgroups-mini/mini_newsgroups.jsonl.gz", "rt", encoding="utf-8") as file:
        newsgroups = [json.loads(line)["text"] for line in file]
    with zipfile.ZipFile(large / "nltk/webtext.zip") as archive:
        web = [archive.read(name).decode("latin-1") for name in archive.namelist() if name.endswith(".txt")]
    return {
        "IMDB reviews": imdb,
        "BBC news": bbc,
        "newsgroups": newsgroups,
        "web text": [piece for text in web for piece in _pieces(text, 3000)],
        "Debian pages": list(_pages(large / "debian-html/reference-en-zh.tar.xz", ".en.html")),
    }


def chinese(data: Path) -> dict[str, list[str]]:
    """By set."""
    large = data / "large"
    questions = json.loads((large / "cmrc2018/cmrc2018_dev.json").read_text("utf-8"))
    articles = [paragraph["context"] for article in questions["data"] for paragraph in article["paragraphs"]]
    with (large / "zh-sentiment/waimai_10k.csv").open(encoding="utf-8", newline="") as file:
        reviews = [row["review"] for row in csv.DictReader(file)]
    with lzma.open(large / "zh-classical-modern/pairs.jsonl.xz", "rt", encoding="utf-8") as file:
        chapters: dict[str, list[str]] = {}
        for line in file:
            pair = json.loads(line)
            chapters.setdefault(f"{pair['book']} {pair['chapter']}", []).append(pair["modern"])
    novel = (large / "zh-novels/水浒传.txt").read_text("utf-8")
    return {
        "Wikipedia paragraphs": articles,
        "restaurant reviews": reviews,
        "modern prose": ["\n".join(lines) for lines in chapters.values()],
        "a novel": [novel[at : at + 1500] for at in range(0, len(novel), 1500)],
        "Debian pages": list(_pages(large / "debian-html/reference-en-zh.tar.xz", ".zh-cn.html")),
    }


def table(sets: dict[str, list[str]]) -> pl.DataFrame:
    """All documents, normalised and not empty: `id`, `set`, `text`."""
    rows = pl.concat(
        pl.DataFrame({"set": [name] * len(texts), "text": texts}, schema={"set": pl.String, "text": pl.String})
        for name, texts in sets.items()
    )
    clean = rows.with_columns(normalised(pl.col("text"), "ascii")).filter(pl.col("text") != "")
    return clean.with_row_index("id").with_columns(pl.col("id").cast(pl.String))


def _pieces(text: str, characters: int) -> Iterator[str]:
    """Consecutive lines together, each piece of at least so many characters, but for the last."""
    piece = io.StringIO()
    for line in text.splitlines(keepends=True):
        piece.write(line)
        if piece.tell() >= characters:
            yield piece.getvalue()
            piece = io.StringIO()
    if piece.tell():
        yield piece.getvalue()


def _pages(archive: Path, ending: str) -> Iterator[str]:
    """The visible text of pages, menus and all: what a filter is for."""
    from resiliparse.extract.html2text import extract_plain_text

    with tarfile.open(archive) as members:
        for member in members:
            file = members.extractfile(member) if member.name.endswith(ending) else None
            if file is not None:
                yield extract_plain_text(file.read().decode("utf-8", "replace"))
