import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from assets.checks import CHECKS
from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.corpus.contamination.decontamination import MAX_NAMED
from lm_pipeline.corpus.division.cuts import without_cuts
from lm_pipeline.corpus.documents import clean_parts, read_documents
from lm_pipeline.errors import InputError, MissingArtifactError, SpecError
from lm_pipeline.freshness import status
from lm_pipeline.graph import materialize
from lm_pipeline.launch import supervise
from lm_pipeline.overview import overview
from lm_pipeline.project import Project
from lm_pipeline.stages.dataset import first_hits
from tests.conftest import TinyProject, chinese_text, english_text

FOOTER = "All rights reserved by the keepers of this page."
CHINESE_FOOTER = "本站内容版权所有未经许可不得转载"
TEXTS = (english_text, chinese_text)
OPTIONS = """\
  corpora: [tiny_english, tiny_chinese]
  duplicates: {keep: best_score, repeated: {unit: line}}
  quality: {good: [fine], bad: [spam], min_score: 0.5}
  decontamination: {against: [benchmark]}
"""


def spam(number: int) -> str:
    return f"buy {number} click {number} now 点击下载 {number} free 免费 {number * 7}"


@pytest.fixture
def rich(tiny_fresh: TinyProject) -> TinyProject:
    """The tiny dataset with every option on, and text for each of them to find."""
    texts = {
        "english": [english_text(0) + "\n" + FOOTER, english_text(200) + "\n" + FOOTER, FOOTER + "\n" + FOOTER.upper()],
        "chinese": [chinese_text(0) + "\n" + CHINESE_FOOTER, chinese_text(200) + "\n" + CHINESE_FOOTER],
    }
    for name, lines in texts.items():
        lines += [spam(ord(name[0])) * 3, "\n".join([english_text(300), chinese_text(300)])]
        path = tiny_fresh.text / name / "b.jsonl"
        path.write_text("".join(json.dumps({"text": text, "book": None}) + "\n" for text in lines), "utf-8")
    extra = {
        "fine": [english_text(n) for n in range(400, 440)] + [chinese_text(n) for n in range(400, 440)],
        "spam": [spam(number) for number in range(60)],
        "benchmark": [f"Question {n}: {english_text(n)}" for n in range(20, 23)] + [chinese_text(n) for n in (20, 21)],
    }
    for name, lines in extra.items():
        declare_texts(tiny_fresh, name, lines)
    tiny_fresh.edit("tiny", "  corpora: [tiny_english, tiny_chinese]\n", OPTIONS)
    return tiny_fresh


def declare_texts(project: TinyProject, name: str, texts: list[str]) -> None:
    """A corpus of these texts, of which cleaning keeps all."""
    folder = project.home.raw / name
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    declared = project.defs / "corpora" / name
    declared.mkdir()
    attributes = f"  source: {{kind: path, path: {folder}}}\n  cleaning: {{profile: none}}\n"
    (declared / "defs.yaml").write_text(f"type: assets.Corpus\nattributes:\n{attributes}")


def build(project: TinyProject, *stages: str) -> dict[str, Artifact]:
    for asset in project.graph:
        if asset.startswith(("raw_documents/", "documents/")):
            project.materialize(asset)
    return {stage: project.materialize(f"tiny/{stage}").artifact for stage in stages}


def test_a_dataset_with_every_option_accounts_for_every_document(rich: TinyProject) -> None:
    made = build(rich, "quality_model", "unique_documents", "splits", "tokenizer", "token_shards")
    for stage, artifact in made.items():
        for check in CHECKS[stage]:
            passed, seen = check.examine(artifact)
            assert passed, (stage, check.name, seen)
    unique, splits = made["unique_documents"].summary, made["splits"].summary
    assert unique["low_quality"] >= 2
    assert unique["repeated"] == 1
    assert splits["repeated_text"]["units"] >= 2
    account = overview(Project(rich.home, rich.declarations, rich.graph))["datasets"]["tiny"]
    assert account["holds"]
    assert account["low_quality"] == unique["low_quality"]

    hits = pl.read_parquet(made["splits"].path("contamination.parquet"))
    named = hits.filter(pl.col("evaluation_corpus") == "benchmark")
    assert named["evaluation_document_id"].n_unique() >= 3
    assert splits["contaminated"] >= 3
    cleaned = pl.concat(_documents(rich, corpus) for corpus in ("tiny_english", "tiny_chinese"))
    table = pl.read_parquet(made["splits"].path("splits.parquet")).filter(pl.col("split").is_not_null())
    with_split = cleaned.join(table, on="document_id")
    trained_on = with_split.filter(pl.col("split") == "train")["text"]
    for text in (english_text(20), english_text(21), english_text(22), chinese_text(20), chinese_text(21)):
        assert not trained_on.str.contains(text, literal=True).any()

    shards = made["token_shards"].summary["splits"]
    assert sum(shard["bytes"] for shard in shards.values()) == sum(splits["bytes"].values())
    assert sum(splits["bytes"].values()) < with_split["num_bytes"].sum()  # the footers are gone


def test_a_paragraph_whose_first_document_is_contaminated_stays_in_the_next_one(tiny_fresh: TinyProject) -> None:
    shared = [english_text(500), chinese_text(500)]
    questions = [english_text(501), chinese_text(501)]
    declare_texts(tiny_fresh, "benchmark", questions)
    first = [
        "\n\n".join([text(511), question, own]) for text, question, own in zip(TEXTS, questions, shared, strict=True)
    ]
    later = [
        "\n\n".join([text(n), own, text(n + 50)])
        for n in range(520, 524)
        for text, own in zip(TEXTS, shared, strict=True)
    ]
    declare_texts(tiny_fresh, "pages", first + later)
    options = "  corpora: [pages, tiny_english]\n  duplicates: {repeated: {unit: paragraph}}\n"
    options += "  decontamination: {against: [benchmark]}\n"
    tiny_fresh.edit("tiny", "  corpora: [tiny_english, tiny_chinese]\n", options)
    made = build(tiny_fresh, "unique_documents", "splits", "tokenizer", "token_shards")
    for stage, artifact in made.items():
        for check in CHECKS[stage]:
            passed, seen = check.examine(artifact)
            assert passed, (stage, check.name, seen)

    splits = made["splits"]
    table = pl.read_parquet(splits.path("splits.parquet"))
    assert table["exclusion"][:2].to_list() == ["contaminated"] * 2
    cleaned = pl.concat(_documents(tiny_fresh, corpus) for corpus in ("pages", "tiny_english"))
    left = without_cuts(cleaned.lazy(), pl.scan_parquet(splits.path("repeated.parquet"))).collect()
    in_a_split = left.filter(table["split"].is_not_null())["text"]
    for own in shared:
        assert in_a_split.str.count_matches(own, literal=True).sum() == 1
    assert sum(splits.summary["bytes"].values()) == in_a_split.str.len_bytes().sum()


def test_a_rule_about_dates_says_that_documents_have_none(tiny_fresh: TinyProject) -> None:
    tiny_fresh.edit("tiny", "  corpora: [tiny_english", "  duplicates: {keep: oldest}\n  corpora: [tiny_english")
    build(tiny_fresh)
    said: list[str] = []
    materialize(tiny_fresh.graph, tiny_fresh.home, "tiny/unique_documents", supervise, log=said.append)
    assert any("have no date that can be read" in line for line in said), said


def _documents(project: TinyProject, corpus: str) -> pl.DataFrame:
    store = Store(project.home.artifacts)
    artifact = store.ref(f"documents/{corpus}")
    assert artifact is not None
    return read_documents(clean_parts(artifact, store.open_parts(artifact))).collect()


def test_a_second_search_reuses_verdicts_and_what_parts_have(rich: TinyProject) -> None:
    build(rich, "quality_model", "unique_documents")
    signatures = {path.parent for path in rich.home.artifacts.glob("signatures/*/manifest.json")}
    path = rich.text / "english" / "c.jsonl"
    path.write_text(json.dumps({"text": english_text(5) + " More.", "book": None}) + "\n", "utf-8")
    made = build(rich, "unique_documents")
    grown = {path.parent for path in rich.home.artifacts.glob("signatures/*/manifest.json")}
    assert signatures < grown
    assert len(grown - signatures) == 1
    assert made["unique_documents"].summary["near"] > 0


def test_a_raised_version_concerns_the_datasets_that_use_the_part_and_is_named_alone(rich: TinyProject) -> None:
    build(rich, "quality_model", "unique_documents")
    node = rich.graph["tiny/unique_documents"]
    assert [part.name for part in node.stage.parts] == ["signatures", "text_units", "quality_scores"]
    for part in node.stage.parts:
        raised = tuple(replace(p, version=p.version + (p == part)) for p in node.stage.parts)
        graph = {**rich.graph, node.asset: replace(node, stage=replace(node.stage, parts=raised))}
        state = status(graph, rich.home)[node.asset]
        assert (state.status, state.reason) == ("stale", f"made of parts by an earlier version of {part.name}")
    rich.edit("tiny", "{keep: best_score, repeated: {unit: line}}", "{keep: best_score}")
    assert [part.name for part in rich.graph[node.asset].stage.parts] == ["signatures", "quality_scores"]
    rich.edit("tiny", "  duplicates: {keep: best_score}\n", "")
    rich.edit("tiny", "  quality: {good: [fine], bad: [spam], min_score: 0.5}\n", "")
    assert [part.name for part in rich.graph[node.asset].stage.parts] == ["signatures"]


def test_the_first_hits_are_had_without_the_rest_of_the_table(tmp_path: Path) -> None:
    lengths = [MAX_NAMED] * 19 + [3, 1] + [MAX_NAMED] * 400
    rows = [(f"t{number}", f"e{named}", "文" * named) for number, num in enumerate(lengths) for named in range(num)]
    table = pl.DataFrame(rows, ["document_id", "evaluation_document_id", "ngram"], orient="row")
    path = tmp_path / "contamination.parquet"
    table.write_parquet(path, row_group_size=1000, compression="uncompressed")
    expected = [{"document_id": f"t{number}", "evaluation_document_id": "e0", "ngram": ""} for number in range(20)]
    assert first_hits(path, 20) == expected
    # What lies behind is not looked at: it may be damaged.
    group = pq.ParquetFile(path).metadata.row_group(2)
    begin = min(
        group.column(column).dictionary_page_offset or group.column(column).data_page_offset for column in range(3)
    )
    end = pq.ParquetFile(path).metadata.row_group(40).column(0).data_page_offset
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(b"\xff" * (end - begin))
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_parquet(path)
    assert first_hits(path, 20) == expected


def declare(project: TinyProject, name: str, lines: list[bytes]) -> None:
    """A corpus of JSON lines that is cleaned as every corpus is by default."""
    folder, declared = project.home.raw / name, project.defs / "corpora" / name
    for made in (folder, declared):
        made.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    attributes = f"  source: {{kind: path, path: {folder}}}\n  fields: {{text: question, target: answer}}\n"
    (declared / "defs.yaml").write_text(f"type: assets.Corpus\nattributes:\n{attributes}")


def test_evaluation_text_is_searched_for_whether_cleaning_keeps_it_or_not(tiny_fresh: TinyProject) -> None:
    question, chinese = " ".join(english_text(20).split()[:35]), chinese_text(20)[:35]
    answer = " ".join(english_text(30).split()[:20])
    rows = [(question, "no"), (chinese, "不"), ("Which one?", answer)]
    lines = [json.dumps({"question": text, "answer": target}).encode() for text, target in rows]
    declare(tiny_fresh, "benchmark", [*lines, b'{"question": \xff}'])
    tiny_fresh.edit("tiny", "attributes:\n", "attributes:\n  decontamination: {against: [benchmark]}\n")
    splits = build(tiny_fresh, "unique_documents", "splits")["splits"]
    benchmark = Store(tiny_fresh.home.artifacts).ref("documents/benchmark")
    assert benchmark is not None
    assert (benchmark.summary["kept"], benchmark.summary["rejected"], benchmark.summary["quarantined"]) == (0, 3, 1)
    items = pl.read_parquet(splits.path("evaluation_documents.parquet")).filter(corpus="benchmark")
    assert items.select("searchable", pl.col("num_documents") > 0).rows() == [(True, True)] * 3
    assert any("evaluation corpus 'benchmark' that could not be read" in line for line in splits.summary["warnings"])
    # One question more is another search, although the corpus has kept what it kept before: nothing.
    more = json.dumps({"question": " ".join(english_text(22).split()[:35]), "answer": "no"}).encode()
    (tiny_fresh.home.raw / "benchmark" / "a.jsonl").write_bytes(b"\n".join([*lines, more]))
    again = build(tiny_fresh, "splits")["splits"]
    items = pl.read_parquet(again.path("evaluation_documents.parquet")).filter(corpus="benchmark")
    assert items.select("searchable", pl.col("num_documents") > 0).rows() == [(True, True)] * 4
    assert "tiny/splits" not in tiny_fresh.not_current()


@pytest.mark.parametrize("lines", [[b""], [b'{"question": \xff}', b"{}"]])
def test_an_evaluation_corpus_without_a_document_is_an_error(tiny_fresh: TinyProject, lines: list[bytes]) -> None:
    declare(tiny_fresh, "benchmark", lines)
    tiny_fresh.edit("tiny", "attributes:\n", "attributes:\n  decontamination: {against: [benchmark]}\n")
    with pytest.raises(InputError, match="'benchmark', which has no document"):
        build(tiny_fresh, "unique_documents", "splits")


def test_evaluation_text_that_no_search_can_find_is_told(tiny_fresh: TinyProject) -> None:
    declare(tiny_fresh, "benchmark", [b'{"question": "Why?", "answer": "Yes"}'])
    tiny_fresh.edit("tiny", "attributes:\n", "attributes:\n  decontamination: {against: [benchmark]}\n")
    splits = build(tiny_fresh, "unique_documents", "splits")["splits"]
    assert any("Nothing of the evaluation corpus 'benchmark'" in line for line in splits.summary["warnings"])


def test_unknown_corpora_are_named(rich: TinyProject) -> None:
    rich.edit("tiny", "against: [benchmark]", "against: [benchmrak]")
    build(rich, "quality_model", "unique_documents")
    with pytest.raises(MissingArtifactError, match=r"tiny/splits reads the corpus 'benchmrak'.*'benchmark'"):
        rich.materialize("tiny/splits")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("against: [benchmark]", "against: [tiny_chinese]", r"against names \['tiny_chinese'\]"),
        ("bad: [spam]", "bad: [fine]", r"both name \['fine'\]"),
        ("  quality: {good: [fine], bad: [spam], min_score: 0.5}\n", "", "best_score, but there is no `quality`"),
    ],
)
def test_contradictions_are_refused(rich: TinyProject, old: str, new: str, message: str) -> None:
    rich.edit("tiny", old, new)
    with pytest.raises(SpecError, match=message):
        _ = rich.graph
