import csv
import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from lm_pipeline.corpus.quality.quality_model import Scorer, train_quality_model, write_scores
from lm_pipeline.errors import InputError
from lm_pipeline.specs.dataset import QualityModel

SPEC = QualityModel(good=("g",), bad=("b",))


def write(path: Path, texts: list[str]) -> pl.LazyFrame:
    columns = {"document_id": [f"{path.stem}{row}" for row in range(len(texts))], "text": texts}
    pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).write_parquet(path)
    return pl.scan_parquet(path)


def imdb(shared_data: Path) -> tuple[list[str], list[str]]:
    """Favourable and unfavourable reviews: harder than any good and bad text of two sources."""
    with gzip.open(shared_data / "large" / "imdb" / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    first, second = sorted({row["label"] for row in rows})
    return tuple([row["text"] for row in rows if row["label"] == label][:4000] for label in (second, first))


def waimai(shared_data: Path) -> tuple[list[str], list[str]]:
    path = shared_data / "large" / "zh-sentiment" / "waimai_10k.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple([row["review"] for row in rows if row["label"] == label] for label in "10")


def newsgroups(shared_data: Path) -> tuple[list[str], list[str]]:
    """Reviews against posts with raw headers."""
    with gzip.open(shared_data / "large" / "newsgroups-mini" / "mini_newsgroups.jsonl.gz", "rt", encoding="utf-8") as f:
        return imdb(shared_data)[0][:1500], [json.loads(line)["text"] for line in f]


def abstracts(shared_data: Path) -> tuple[list[str], list[str]]:
    """Abstracts of papers against restaurant reviews."""
    lines = (shared_data / "large" / "csl-zh" / "dev.tsv").read_text("utf-8").splitlines()
    return [line.split("\t")[1] for line in lines], waimai(shared_data)[1][:2000]


@pytest.mark.parametrize(
    ("read", "least"),
    [(imdb, 0.94), (waimai, 0.93), (newsgroups, 0.999), (abstracts, 0.999)],
    ids=["imdb", "waimai", "newsgroups", "abstracts"],
)
def test_unseen_text_of_both_languages_is_ranked(shared_data: Path, tmp_path: Path, read, least: float) -> None:
    good, bad = read(shared_data)
    seen = [write(tmp_path / f"{side}.parquet", texts[::2]) for side, texts in (("good", good), ("bad", bad))]
    summary = train_quality_model(*seen, SPEC, tmp_path)
    unseen = [*good[1::2], *bad[1::2]]
    labels = np.repeat([1, 0], [len(good[1::2]), len(bad[1::2])])
    scores = Scorer.load(tmp_path / "model.safetensors").scores(unseen)
    auc = roc_auc_score(labels, scores)
    assert auc >= least
    assert summary["auc"] == pytest.approx(auc, abs=0.02)
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert summary["quantiles"]["bad"][2] < 0.5 < summary["quantiles"]["good"][2]


def sides(folder: Path) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    folder.mkdir(exist_ok=True)
    good = [f"The river of year {row} runs through 这座古老的小镇 {row}." for row in range(40)]
    bad = [f"buy {row} now click 点击下载 {row} free" for row in range(30)]
    return write(folder / "good.parquet", good), write(folder / "bad.parquet", bad)


def test_the_same_examples_in_any_order_give_the_same_model_and_another_seed_another(tmp_path: Path) -> None:
    good, bad = sides(tmp_path / "whole")
    shuffled = pl.concat([good.slice(13), good.head(13)])
    models = []
    for name, examples, seed in (("one", good, 0), ("two", shuffled, 0), ("three", good, 1)):
        (tmp_path / name).mkdir()
        train_quality_model(examples, bad, SPEC.model_copy(update={"seed": seed}), tmp_path / name)
        models.append((tmp_path / name / "model.safetensors").read_bytes())
    assert models[0] == models[1] != models[2]


def test_every_document_of_a_part_gets_its_score_whatever_its_length(tmp_path: Path) -> None:
    good, bad = sides(tmp_path / "sides")
    train_quality_model(good, bad, SPEC, tmp_path)
    scorer = Scorer.load(tmp_path / "model.safetensors")
    text = "The river runs through 这座古老的小镇."
    write(tmp_path / "documents.parquet", [text, "", "click 点击下载", "\n".join([text] * 3000)])
    assert write_scores(tmp_path / "documents.parquet", scorer, tmp_path)["documents"] == 4
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    assert len(scores) == 4
    assert scores["score"][0] > 0.7
    assert scores["score"][2] < 0.3
    assert scores["score"][3] == pytest.approx(scores["score"][0], abs=0.1)


def test_too_few_examples_are_refused_by_name(tmp_path: Path) -> None:
    good, _ = sides(tmp_path)
    few = write(tmp_path / "few.parquet", ["x"] * 19)
    with pytest.raises(InputError, match=r"quality.bad: the corpora \['b'\] have 19 documents.*at least 20"):
        train_quality_model(good, few, SPEC, tmp_path)
