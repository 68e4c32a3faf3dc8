"""What every stage makes of a small fixed input, as a digest: the guard of the stages' version literals.

A case is a stage and a function from an empty folder to the digest of the stage's result. Heavy libraries are
imported inside the functions. Add a stage here, run `python tests/golden/update.py`, commit `digests.json`.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lm_pipeline.artifacts import Stage
from lm_pipeline.digests import digest_of
from lm_pipeline.stages import versions

DIGESTS = Path(__file__).with_name("digests.json")

ENGLISH = (
    "The river that runs through the town is old, and people have walked along it to work with their children for as"
    " long as anyone can remember. In spring it floods the lower streets, so the houses there stand on stone feet, and"
    " boats are kept in the gardens beside the apple trees."
)
CHINESE = (
    "这条河流过小镇已经有很多年了。人们每天沿着河边走去上班，孩子们在水里玩耍，老人坐在树下说话。"
    "春天的时候，河水会淹没低处的街道，所以那里的房子都建在石头上，花园里也放着小船。"
)


def document_part(folder: Path) -> str:
    """Clean and judge records in two languages: mended, masked, short, symbolic, empty and unreadable ones."""
    import polars as pl

    from lm_pipeline.corpus.documents import clean_part, plan_parts
    from lm_pipeline.corpus.quality.decisions import decide_part
    from lm_pipeline.corpus.raw.raw_files import RawFile
    from lm_pipeline.specs.cleaning import Cleaning, PersonalData
    from lm_pipeline.specs.corpus import CorpusSpec, Fields, PathSource

    rows = [
        {"text": f"\ufeff{ENGLISH}  \r\n\r\n\r\n\r\n\r\n    {ENGLISH}", "label": "a", "group": "river"},
        {"text": f"　　{CHINESE}\n　　cafe\u0301\0", "label": "b", "group": "河"},
        {"text": f"　　{CHINESE}\n　　cafe\u0301", "label": "b", "group": "河"},
        {"text": "Too short.", "label": "a", "group": "x"},
        {"text": "# … -- 123 ... " * 20, "label": "a", "group": "x"},
        {"text": "", "label": None, "group": None},
        {"text": f"{ENGLISH} cafÃ© ＡＢＣ (650) 253-0000", "label": "a", "group": "x"},
        {"text": f"{CHINESE}邮箱li@foo.cn，手机13800138000。", "label": "b", "group": "河"},
    ]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows) + b'{"text": \xff}\n\n{"other": 1}\n'
    path = folder / "input.jsonl"
    path.write_bytes(data)
    file = RawFile(path.name, len(data), hashlib.sha256(data).hexdigest(), path)
    cleaning = Cleaning(personal_data=PersonalData(email="hash", phone="mask"))
    spec = CorpusSpec(source=PathSource(path="."), fields=Fields(label="label", group="group"), cleaning=cleaning)
    (part,) = plan_parts([file], spec)
    out = folder / "out"
    out.mkdir()
    summary = clean_part("golden", part, {file.path: file}, spec, out)
    decided = decide_part(out / "statistics.parquet", spec.cleaning, out / "decisions.parquet")
    assert (decided["kept"], decided["rejected"], summary["quarantined"]) == (4, 3, 3), summary
    # Words of explanation and excerpts may get better without a new version; what was found where may not change.
    bad = pl.read_parquet(out / "quarantine.parquet").select("record", "byte_offset", "reason").rows()
    decisions = pl.read_parquet(out / "decisions.parquet").to_dicts()
    return digest_of([decided["row_digests"], decisions, [list(row) for row in bad]])


def _dataset(folder: Path) -> Path:
    """Ten documents in two corpora: two texts, their copies, near duplicates, quotations and short ones."""
    import polars as pl

    texts = [ENGLISH, CHINESE, ENGLISH, ENGLISH + " The end.", f"Quoted here.\n\n{ENGLISH[:150]}", CHINESE[:-1] + "！"]
    texts += ["一二三四五六七", "Only four words here", "Only four words here", f"序言\n{CHINESE[:70]}"]
    path = folder / "documents.parquet"
    pl.DataFrame(
        {
            "document_id": [f"{row:032x}" for row in range(len(texts))],
            "corpus": ["golden"] * 6 + ["other"] * 4,
            "file": ["f"] * len(texts),
            "record": range(len(texts)),
            "date": ["2024-05-01", None, "2023", "2025-01-01T00:00:00Z", *[None] * 6],
            "num_characters": [len(text) for text in texts],
            "text": texts,
            "target": pl.Series([None] * len(texts), dtype=pl.String),
            "group": ["a", "b", None, "c", "d", "e", "a", None, None, "b"],
            "num_bytes": [len(text.encode()) for text in texts],
        }
    ).write_parquet(path)
    return path


def _digest_rows(path: Path) -> str:
    """Of a table's rows as JSON, so that a new Parquet writer changes nothing."""
    import polars as pl

    return hashlib.sha256(pl.read_parquet(path).write_ndjson().encode()).hexdigest()


def signatures(folder: Path) -> str:
    """Sketch documents in English and Chinese, and ones too short for a shingle."""
    from lm_pipeline.corpus.similarity.minhash import write_signatures
    from lm_pipeline.specs.dataset import NearDuplicates

    write_signatures(_dataset(folder), NearDuplicates(), folder)
    return _digest_rows(folder / "signatures.parquet")


def unique_documents(folder: Path) -> str:
    """Find an exact, a short exact and two near duplicates."""
    import polars as pl

    from lm_pipeline.corpus.document_tables import TableWriter
    from lm_pipeline.corpus.similarity.duplicates import Part, find_duplicates
    from lm_pipeline.corpus.similarity.minhash import write_signatures
    from lm_pipeline.corpus.similarity.repeated_text import UnitFiles, find_repeated_text, write_units
    from lm_pipeline.specs.dataset import Duplicates, NearDuplicates, RepeatedText

    documents = pl.read_parquet(_dataset(folder))
    parts, units = {}, []
    for (corpus,), own in documents.group_by("corpus", maintain_order=True):
        part = folder / str(corpus)
        part.mkdir()
        with TableWriter(part / "documents.parquet", own.schema) as file:
            file.write(own)
        own.with_columns(kept=pl.lit(value=True)).select("kept").write_parquet(part / "decisions.parquet")
        write_signatures(part / "documents.parquet", NearDuplicates(), part)
        write_units(part / "documents.parquet", RepeatedText(), part)
        parts[str(corpus)] = [Part(*(part / f"{name}.parquet" for name in ("documents", "decisions", "signatures")))]
        units.append([UnitFiles(*(part / f"{name}.parquet" for name in ("units", "counts", "decisions")))])
    summary = find_duplicates(parts, Duplicates(), folder)
    assert (summary["kept"], summary["exact"], summary["near"]) == (6, 2, 2), summary
    unique = _digest_rows(folder / "unique.parquet")
    cut = folder / "cut"
    cut.mkdir()
    shutil.copyfile(folder / "unique.parquet", cut / "unique.parquet")
    assert find_repeated_text(units, cut) == {"repeated": 0}
    return unique + _digest_rows(cut / "repeated_units.parquet")


def text_units(folder: Path) -> str:
    """Hash the paragraphs of the same documents."""
    from lm_pipeline.corpus.similarity.repeated_text import write_units
    from lm_pipeline.specs.dataset import RepeatedText

    write_units(_dataset(folder), RepeatedText(), folder)
    return _digest_rows(folder / "units.parquet") + _digest_rows(folder / "counts.parquet")


def quality_model(folder: Path) -> str:
    """Train on sentences in both languages against lists; scores to three decimals."""
    import polars as pl

    from lm_pipeline.corpus.quality.quality_model import Scorer, train_quality_model
    from lm_pipeline.specs.dataset import QualityModel

    _examples(folder)
    train_quality_model(
        pl.scan_parquet(folder / "good.parquet"),
        pl.scan_parquet(folder / "bad.parquet"),
        QualityModel(good=("g",), bad=("b",)),
        folder,
    )
    scorer = Scorer.load(folder / "model.safetensors")
    return digest_of([f"{score:.3f}" for score in scorer.scores([ENGLISH, CHINESE, "buy 1 2 3", "点击 下载", ""])])


def _examples(folder: Path) -> None:
    import polars as pl

    good = [f"{text[row:]}" for row in range(25) for text in (ENGLISH, CHINESE)]
    bad = [f"{row} buy now {row} click here {row * 7} 点击下载 {row}" for row in range(50)]
    for side, texts in (("good", good), ("bad", bad)):
        ids = [f"{side}{row}" for row in range(len(texts))]
        pl.DataFrame({"document_id": ids, "text": texts}).write_parquet(folder / f"{side}.parquet")


def quality_scores(folder: Path) -> str:
    """Score the documents of the dataset by that model."""
    import polars as pl

    from lm_pipeline.corpus.quality.quality_model import Scorer, write_scores

    quality_model(folder)
    write_scores(_dataset(folder), Scorer.load(folder / "model.safetensors"), folder)
    scores = pl.read_parquet(folder / "scores.parquet").with_columns(pl.col("score").round(3))
    return hashlib.sha256(scores.write_ndjson().encode()).hexdigest()


def _split(folder: Path) -> None:
    import polars as pl

    from lm_pipeline.corpus.division.splits import split_documents
    from lm_pipeline.specs.dataset import Decontamination, Split

    unique_documents(folder)
    spec = Split(validation_fraction=0.2, test_fraction=0.4, seed=1)
    documents = pl.scan_parquet(folder / "documents.parquet")
    split_documents(folder / "unique.parquet", documents, None, spec, Decontamination(), folder)


def splits(folder: Path) -> str:
    """Split six documents, two of which repeat evaluation text, and record the witnesses."""
    from lm_pipeline.corpus.contamination.decontamination import TABLES

    _split(folder)
    return "".join(_digest_rows(folder / f"{name}.parquet") for name in ("splits", *TABLES))


def split_ledger(folder: Path) -> str:
    """Enter what was decided, groups and removed duplicates included."""
    _split(folder)
    return _digest_rows(folder / "ledger.parquet")


def _tokenizer_in(folder: Path, algorithm: Literal["unigram", "bpe"] = "unigram") -> Path:
    from lm_pipeline.specs.dataset import Tokenizer
    from lm_pipeline.tokenization.tokenizer import train_tokenizer

    folder.mkdir()
    spec = Tokenizer(algorithm=algorithm, vocab_size=380, max_training_bytes=1000)
    train_tokenizer([ENGLISH, f"{CHINESE}\n\t▁\0", f"def f():\n    {ENGLISH}\n"], spec, folder)
    return folder / "tokenizer.model"


def tokenizer(folder: Path) -> str:
    """Train both algorithms on a sample of English, Chinese and code; scores to three decimals."""
    from lm_pipeline.tokenization.tokenizer import Tokenizer

    lines = []
    for algorithm in ("unigram", "bpe"):
        trained = Tokenizer.load(_tokenizer_in(folder / algorithm, algorithm))
        lines += [f"{trained.piece(i)}\t{trained.score(i):.3f}" for i in range(trained.vocab_size)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _shards_in(folder: Path) -> Path:
    import polars as pl

    from lm_pipeline.tokenization.shard_writing import write_shards
    from lm_pipeline.tokenization.tokenizer import Tokenizer

    splits = ["train", "validation", "test", None, "train"]
    texts = [ENGLISH, CHINESE, "", "excluded", f"{CHINESE}\t▁ </s>\n{ENGLISH}"]
    columns = {"document_id": list("abcde"), "corpus": ["golden"] * 5, "file": ["f"] * 5, "record": range(5)}
    offsets = [0, 10, None, 30, 40]
    frame = pl.DataFrame({**columns, "byte_offset": offsets, "byte_length": offsets, "text": texts, "split": splits})
    out = folder / "shards"
    out.mkdir()
    summary = write_shards(iter([frame]), Tokenizer.load(_tokenizer_in(folder / "tokenizer", "bpe")), out)
    assert (summary["round_trip_failures"], summary["excluded"]) == (0, 1), summary
    return out


def token_shards(folder: Path) -> str:
    """Write three splits and an excluded document; tables by their rows, since Parquet's bytes vary with its writer."""
    import polars as pl

    digest = hashlib.sha256()
    for path in sorted(_shards_in(folder).iterdir()):
        table = path.suffix == ".parquet"
        digest.update(
            path.name.encode() + (pl.read_parquet(path).write_json().encode() if table else path.read_bytes())
        )
    return digest.hexdigest()


def checkpoint(folder: Path) -> str:
    """Count a trigram model, the one family whose weights do not vary with threads and instruction set."""
    from lm_pipeline.models.ngram import NgramModel
    from lm_pipeline.tokenization.shards import Shard

    model = NgramModel.train(Shard.open(_shards_in(folder), "train", 380), 3, 380)
    model.save(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def base(folder: Path) -> str:
    """Import a Llama whose weights are counted up, with more rows than its tokenizer has ids."""
    import torch

    from lm_pipeline.models.huggingface.model import export_model
    from lm_pipeline.models.huggingface.request import import_from_request
    from lm_pipeline.models.language_model import build_model
    from lm_pipeline.specs.model import TransformerModel

    model = build_model(TransformerModel(form="llama", width=8, num_heads=2, mlp_ratio=2), 11, 8)
    for number, parameter in enumerate(model.parameters()):
        parameter.data = torch.arange(parameter.numel(), dtype=torch.float32).view_as(parameter) / 64 + number
    (folder / "theirs").mkdir()
    (folder / "ours").mkdir()
    export_model(model, folder / "theirs")
    request = {"folder": str(folder / "theirs"), "vocab_size": 10, "output_dir": str(folder / "ours")}
    (folder / "request.json").write_text(json.dumps(request))
    import_from_request(folder / "request.json")
    return hashlib.sha256(
        b"".join((folder / "ours" / name).read_bytes() for name in ("config.json", "model.safetensors"))
    ).hexdigest()


CASES: dict[str, tuple[Stage, Callable[[Path], str]]] = {
    "document_part": (versions.DOCUMENT_PART, document_part),
    "tokenizer": (versions.TOKENIZER, tokenizer),
    "token_shards": (versions.TOKEN_SHARDS, token_shards),
    "base": (versions.BASE, base),
    "checkpoint": (versions.CHECKPOINT, checkpoint),
    "signatures": (versions.SIGNATURES, signatures),
    "text_units": (versions.TEXT_UNITS, text_units),
    "quality_model": (versions.QUALITY_MODEL, quality_model),
    "quality_scores": (versions.QUALITY_SCORES, quality_scores),
    "unique_documents": (versions.UNIQUE_DOCUMENTS, unique_documents),
    "splits": (versions.SPLITS, splits),
    "split_ledger": (versions.SPLIT_LEDGER, split_ledger),
}
"""By the stage's name."""


def key(stage: Stage) -> str:
    """The stage's key in `digests.json`."""
    return f"{stage.name}/{stage.version}"


def recorded() -> dict[str, str]:
    """The digests on record, by `key`."""
    return json.loads(DIGESTS.read_text("utf-8")) if DIGESTS.is_file() else {}
