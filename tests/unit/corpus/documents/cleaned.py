"""Corpora of a few texts, cleaned and decided on, for tests."""

import json

from lm_pipeline.corpus.documents import CleanPart, clean_part, merge_summaries, plan_parts
from lm_pipeline.corpus.quality.decisions import decide_part
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.digests import digest_file
from lm_pipeline.specs.cleaning import Cleaning
from lm_pipeline.specs.corpus import CorpusSpec, PathSource, TextFormat

ENGLISH = (
    "The river that runs through the town is old, and people have walked along it to work with their children. " * 3
)
CHINESE = "这条河流过小镇已经有很多年了。人们每天沿着河边走去上班，孩子们在水里玩耍，老人坐在树下说话。" * 2
SPEC = CorpusSpec(source=PathSource(path="."))
LINES = CorpusSpec(source=PathSource(path="."), format=TextFormat(unit="line"), cleaning=Cleaning(profile="none"))
PART_FILES = ("documents", "statistics", "decisions")


def raw(folder, **contents):
    """Raw files `<name>.txt`, or `<name>.jsonl` for lists of texts, with these contents, by path."""
    files = {}
    for name, content in contents.items():
        suffix, data = ("jsonl", json_lines(content)) if isinstance(content, list) else ("txt", content)
        path = folder / f"{name}.{suffix}"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        files[path.name] = RawFile(path.name, path.stat().st_size, digest_file(path), path)
    return files


def json_lines(texts):
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


def cleaned(files, spec, folder, parts=None):
    """Clean all parts and decide on their documents. Returns their folders and the merged summary."""
    folders, summaries = [], []
    for number, part in enumerate(parts or plan_parts(list(files.values()), spec)):
        folders.append(folder / str(number))
        folders[-1].mkdir(parents=True)
        summaries.append(clean_part("notes", part, files, spec, folders[-1]))
        statistics, decisions = folders[-1] / "statistics.parquet", folders[-1] / "decisions.parquet"
        summaries.append(decide_part(statistics, spec.cleaning, decisions))
    return folders, merge_summaries(summaries)


def table(folders, name="documents"):
    return [folder / f"{name}.parquet" for folder in folders]


def parts_of(folders):
    return [CleanPart(*(folder / f"{name}.parquet" for name in PART_FILES)) for folder in folders]
